"""Rows whose time has come without anybody noticing: expired, left behind, or of a tenant that is gone (waypost_relay).

Each function takes a bounded batch with SKIP LOCKED and never commits; any number of processes may run them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.values import Outcome

Connection = AsyncConnection[Any]
Key = tuple[UUID, UUID]
"""(tenant id, message id)."""

# Only rows that are rows: what may have been sent is `held`, and a `dispatched` row's execution asks the gate. That
# there is no reason of an outcome is what the index says, in its words.
_EXPIRED = """
SELECT tenant_id, id FROM messages
WHERE expires_at <= waypost_now() AND outcome_reason IS NULL AND phase IN ('ready', 'waiting')
ORDER BY expires_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
"""


async def end_expired(connection: Connection, *, limit: int) -> int:
    """Ready and waiting messages past their expiry get that outcome; how many."""
    rows = await (await connection.execute(_EXPIRED, (limit,))).fetchall()
    return await _end(connection, rows, outcome=Outcome.EXPIRED, reason="expired")


# Closed tenants are looked at for another day, for what raced with the closing commit.
_OF_CLOSED_TENANTS = """
WITH found AS MATERIALIZED (
    SELECT m.tenant_id, m.id FROM tenants t CROSS JOIN LATERAL (
        (SELECT tenant_id, id FROM messages
         WHERE lane = 'fast' AND tenant_id = t.id AND phase = 'ready' AND run_id IS NULL
         LIMIT %(limit)s)
        UNION ALL
        (SELECT tenant_id, id FROM messages
         WHERE lane = 'bulk' AND tenant_id = t.id AND phase = 'ready' AND run_id IS NULL
         LIMIT %(limit)s)
        UNION ALL
        (SELECT tenant_id, id FROM messages WHERE tenant_id = t.id AND phase = 'waiting' LIMIT %(limit)s)) m
    WHERE t.state = 'closing' OR (t.state = 'closed' AND t.state_changed_at > waypost_now() - interval '1 day')
    LIMIT %(limit)s
)
SELECT m.tenant_id, m.id FROM found f JOIN messages m ON m.tenant_id = f.tenant_id AND m.id = f.id
WHERE m.phase IN ('ready', 'waiting')
FOR NO KEY UPDATE OF m SKIP LOCKED
"""


async def cancel_of_closed_tenants(connection: Connection, *, limit: int) -> int:
    """Every ready or waiting message of a tenant that is closing or closed is cancelled; how many."""
    rows = await (await connection.execute(_OF_CLOSED_TENANTS, {"limit": limit})).fetchall()
    return await _end(connection, rows, outcome=Outcome.CANCELLED, reason="tenant_closed")


# A fallback that waits for such a message is due at once; its gate says what becomes of it (a journey's is ready from
# then on, and meant for then: nobody waits with it). A row may have an attempt
# that is out there after all (a login code's first try that was given up, an orphan's): then it is maybe_sent. The rows
# are locked by now, so that no claim comes in between.
_END = """
WITH ended AS (
    UPDATE messages m SET phase = 'closed', outcome_reason = %(reason)s, outcome_at = waypost_now(),
           hold_reason = NULL, due_at = COALESCE(m.due_at, waypost_now()),
           outcome = CASE WHEN EXISTS (SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
                                       AND a.month = waypost_month(m.created_at)
                                       AND a.state NOT IN ('void', 'rejected'))
                     THEN 'maybe_sent' ELSE %(outcome)s END
    FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[]) AS s (tenant_id, id)
    WHERE m.tenant_id = s.tenant_id AND m.id = s.id
    RETURNING m.tenant_id, m.id, m.outcome
), due AS (
    UPDATE messages f SET due_at = waypost_now(),
           phase = CASE WHEN f.enrollment_id IS NULL THEN f.phase ELSE 'ready' END,
           send_at = CASE WHEN f.enrollment_id IS NULL THEN f.send_at ELSE waypost_now() END
    FROM ended e
    WHERE f.tenant_id = e.tenant_id AND f.primary_id = e.id AND f.phase = 'waiting'
      AND NOT f.id = ANY(%(messages)s::uuid[])
)
INSERT INTO verdicts (tenant_id, message_id, verdict, reason, outcome)
SELECT tenant_id, id, 'refuse', %(reason)s, outcome FROM ended
"""


async def _end(connection: Connection, rows: Sequence[tuple[Any, ...]], *, outcome: Outcome, reason: str) -> int:
    if rows:
        values = {
            "tenants": [row[0] for row in rows],
            "messages": [row[1] for row in rows],
            "outcome": outcome.value,
            "reason": reason,
        }
        await connection.execute(_END, values)
    return len(rows)


# The execution that waited with it has ended or is gone, or a journey's that should have sent it: the dispatcher starts
# one of its own, under its own id.
# Tenant by tenant, for so the index has them.
_LOST_FALLBACKS = """
WITH found AS MATERIALIZED (
    SELECT w.tenant_id, w.id FROM tenants t CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM messages
        WHERE tenant_id = t.id AND phase = 'waiting' AND due_at < waypost_now() - %(grace)s LIMIT %(limit)s) w
    LIMIT %(limit)s
), lost AS (
    SELECT m.tenant_id, m.id FROM found f JOIN messages m ON m.tenant_id = f.tenant_id AND m.id = f.id
    WHERE m.phase = 'waiting' AND m.due_at < waypost_now() - %(grace)s FOR NO KEY UPDATE OF m SKIP LOCKED
), taken AS (
    UPDATE messages m SET phase = 'ready' FROM lost l WHERE m.tenant_id = l.tenant_id AND m.id = l.id RETURNING m.id
)
SELECT count(*) FROM taken
"""


async def take_over_fallbacks(connection: Connection, *, grace: timedelta, limit: int) -> int:
    """Waiting fallbacks and journeys' messages that nobody sent `grace` after they were due become ready; how many."""
    return await _count(connection, _LOST_FALLBACKS, {"grace": grace, "limit": limit})


# Whoever ended the primary should have dated its fallback; this is for what was interrupted in between. Each primary is
# looked up by its key (LIMIT 1): a plan for thousands that wait would read all messages there are instead.
_UNDATED_FALLBACKS = """
WITH waiting AS MATERIALIZED (
    SELECT w.* FROM tenants t CROSS JOIN LATERAL (
        SELECT tenant_id, id, primary_id FROM messages
        WHERE tenant_id = t.id AND phase = 'waiting' AND due_at IS NULL OFFSET 0) w
), found AS MATERIALIZED (
    SELECT w.tenant_id, w.id, p.* FROM waiting w CROSS JOIN LATERAL (
        SELECT outcome, outcome_at, fallback_after FROM messages
        WHERE tenant_id = w.tenant_id AND id = w.primary_id LIMIT 1) p
    WHERE p.outcome IS NOT NULL LIMIT %(limit)s
), undated AS (
    SELECT f.tenant_id, f.id,
           CASE WHEN p.outcome IN ('sent', 'maybe_sent') THEN p.outcome_at + p.fallback_after
                ELSE waypost_now() END AS due_at
    FROM found p JOIN messages f ON f.tenant_id = p.tenant_id AND f.id = p.id
    WHERE f.phase = 'waiting' AND f.due_at IS NULL FOR NO KEY UPDATE OF f SKIP LOCKED
), dated AS (
    UPDATE messages f SET due_at = u.due_at,
           phase = CASE WHEN f.enrollment_id IS NULL THEN f.phase ELSE 'ready' END,
           send_at = CASE WHEN f.enrollment_id IS NULL THEN f.send_at ELSE u.due_at END
    FROM undated u
    WHERE f.tenant_id = u.tenant_id AND f.id = u.id RETURNING f.id
)
SELECT count(*) FROM dated
"""


async def date_fallbacks(connection: Connection, *, limit: int) -> int:
    """Fallbacks whose primary has ended get their due time; how many."""
    return await _count(connection, _UNDATED_FALLBACKS, {"limit": limit})


# Held for an attempt that was resolved in the same moment: nothing is out there, so there is nothing to wait for. What
# is held (tenant by tenant, for so its index has it; OFFSET 0 keeps it so) and what is open are read from indexes; the
# row is locked and looked at again.
_HELD_FOR_NOTHING = """
WITH held AS MATERIALIZED (
    SELECT m.tenant_id, m.id, m.month FROM tenants t CROSS JOIN LATERAL (
        SELECT tenant_id, id, waypost_month(created_at) AS month FROM messages
        WHERE tenant_id = t.id AND phase = 'held' OFFSET 0) m
), found AS MATERIALIZED (
    SELECT tenant_id, id FROM held h WHERE NOT EXISTS (
        SELECT FROM attempts a WHERE a.tenant_id = h.tenant_id AND a.message_id = h.id AND a.month = h.month
          AND a.state IN ('in_flight', 'unknown', 'accepted', 'assumed_sent'))
    LIMIT %(limit)s
), freed AS (
    SELECT m.tenant_id, m.id FROM found f JOIN messages m ON m.tenant_id = f.tenant_id AND m.id = f.id
    WHERE m.phase = 'held' FOR NO KEY UPDATE OF m SKIP LOCKED
), ready AS (
    UPDATE messages m SET phase = 'ready', hold_reason = NULL, due_at = GREATEST(m.due_at, waypost_now())
    FROM freed f WHERE m.tenant_id = f.tenant_id AND m.id = f.id RETURNING m.id
)
SELECT count(*) FROM ready
"""


async def free_held(connection: Connection, *, limit: int) -> int:
    """Held messages without an open attempt are ready again, for their gate to decide; how many."""
    return await _count(connection, _HELD_FOR_NOTHING, {"limit": limit})


_FORGET_REQUESTS = """
WITH gone AS (
    DELETE FROM requests WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM requests WHERE expires_at <= waypost_now()
        ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id
)
SELECT count(*) FROM gone
"""


async def forget_requests(connection: Connection, *, limit: int) -> int:
    """Idempotency keys past their retention are free again; how many."""
    return await _count(connection, _FORGET_REQUESTS, {"limit": limit})


_FORGET_PROBES = """
WITH gone AS (
    DELETE FROM probes WHERE id IN (
        SELECT id FROM probes WHERE claimed_at < waypost_now() - interval '2 days'
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id
)
SELECT count(*) FROM gone
"""


async def forget_probes(connection: Connection, *, limit: int) -> int:
    """Probes that no proof can rest on any more; how many."""
    return await _count(connection, _FORGET_PROBES, {"limit": limit})


_FORGET_ALERTS = """
WITH gone AS (
    DELETE FROM alerts WHERE id IN (
        SELECT id FROM alerts WHERE ended_at < waypost_now() - interval '90 days'
        ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id
)
SELECT count(*) FROM gone
"""


async def forget_alerts(connection: Connection, *, limit: int) -> int:
    """Alerts that ended 90 days ago; how many."""
    return await _count(connection, _FORGET_ALERTS, {"limit": limit})


# Dispatched, and no call under way. A login code whose first attempt is unknown is driven by its execution too. From a
# place on, so that a round comes to every row however many there are.
_SUSPECTS = """
SELECT m.tenant_id, m.id, m.dispatched_at FROM messages m
WHERE m.phase = 'dispatched' AND m.run_id IS NULL AND m.lane = %(lane)s AND m.dispatched_at < waypost_now() - %(age)s
  AND (%(at)s::timestamptz IS NULL OR (m.dispatched_at, m.id) > (%(at)s, %(after)s::uuid))
  AND NOT EXISTS (SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
                  AND a.month = waypost_month(m.created_at) AND a.state = 'in_flight')
ORDER BY m.dispatched_at, m.id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A message that may have no execution, and its place in the round."""

    key: Key
    dispatched_at: datetime


async def suspected_orphans(
    connection: Connection, *, lane: str, age: timedelta, after: Suspect | None, limit: int
) -> list[Suspect]:
    """Dispatched messages of a lane that may have no execution; only Temporal knows. The oldest come first."""
    values = {
        "lane": lane,
        "age": age,
        "at": after.dispatched_at if after else None,
        "after": after.key[1] if after else None,
        "limit": limit,
    }
    rows = await (await connection.execute(_SUSPECTS, values)).fetchall()
    return [Suspect(key=(row[0], row[1]), dispatched_at=row[2]) for row in rows]


_RETURN_ORPHANS = """
WITH returned AS (
    UPDATE messages m
    SET phase = 'ready', due_at = GREATEST(m.due_at, waypost_now()), dispatched_at = NULL, hold_reason = 'orphaned'
    FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[]) AS o (tenant_id, id)
    WHERE m.tenant_id = o.tenant_id AND m.id = o.id AND m.phase = 'dispatched' AND m.outcome IS NULL
      AND m.dispatched_at < waypost_now() - %(age)s
      AND NOT EXISTS (SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
                      AND a.month = waypost_month(m.created_at) AND a.state = 'in_flight')
    RETURNING m.id
)
SELECT count(*) FROM returned
"""


async def return_orphans(connection: Connection, orphans: Sequence[Key], *, age: timedelta) -> int:
    """Rows whose execution Temporal says is closed or gone wait again, to be started under the same id; how many."""
    values = {"tenants": [tenant for tenant, _ in orphans], "messages": [message for _, message in orphans], "age": age}
    return await _count(connection, _RETURN_ORPHANS, values)


async def _count(connection: Connection, statement: str, values: dict[str, Any]) -> int:
    row = await (await connection.execute(statement, values)).fetchone()
    assert row is not None
    count: int = row[0]
    return count
