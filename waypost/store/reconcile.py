"""Attempts whose result is not known: found, held, and resolved by proof or by the end of waiting (waypost_relay).

Every function takes a bounded batch with SKIP LOCKED, locks attempts before messages, and never commits: any number of
processes may run them. What a void means for the message is decided in one place, `settle_voided`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.store.caps import give_back_caps_of_voided

Connection = AsyncConnection[Any]
Key = tuple[UUID, UUID]
"""(tenant id, message id)."""

LATER_ATTEMPTS = 3
"""K: events of at least this many attempts claimed later must have come before silence says anything."""

LOOK_BACK = timedelta(days=1)
"""A Send event that is missing for longer no longer holds up the proof; the horizon has ended everything by then."""

# A worker that died, or could not record: nobody knows what the provider did. A login code's execution goes on driving
# it (it is tried once more), so its row stays dispatched.
_LOSE = """
WITH lost AS (
    SELECT tenant_id, id, message_id FROM attempts
    WHERE state = 'in_flight' AND claimed_at < waypost_now() - %(age)s
    ORDER BY claimed_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE attempts a SET state = 'unknown', code = COALESCE(a.code, 'not_recorded')
    FROM lost l WHERE a.tenant_id = l.tenant_id AND a.id = l.id
    RETURNING a.tenant_id, a.message_id
), held AS (
    UPDATE messages m SET phase = 'held', hold_reason = 'attempt_unknown', dispatched_at = NULL
    FROM marked k WHERE m.tenant_id = k.tenant_id AND m.id = k.message_id AND m.outcome IS NULL
      AND NOT (m.class = 'login_code' AND m.attempts = 1)
)
SELECT count(*) FROM marked
"""


async def lose_in_flight(connection: Connection, *, age: timedelta, limit: int) -> int:
    """Attempts in flight for longer than any call can take become unknown, their messages held; how many."""
    return await _count(connection, _LOSE, {"age": age, "limit": limit})


# What a void leaves of its message: it is tried again, unless it must not be. A primary whose fallback waits still has
# its execution, which is told by a signal instead of the dispatcher (a journey's never has).
_SETTLE_VOIDED = """
WITH voided AS (
    SELECT * FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[]) AS v (tenant_id, message_id)
), endings AS (
    SELECT m.tenant_id, m.id, CASE
               WHEN t.state IN ('closing', 'closed') OR m.cancel_requested_at IS NOT NULL THEN 'cancelled'
               WHEN m.expires_at <= waypost_now() THEN 'expired' END AS outcome,
           CASE WHEN t.state IN ('closing', 'closed') THEN 'tenant_closed'
                WHEN m.cancel_requested_at IS NOT NULL THEN 'cancelled_by_caller'
                WHEN m.expires_at <= waypost_now() THEN 'expired' END AS reason,
           EXISTS (SELECT FROM messages f WHERE f.tenant_id = m.tenant_id AND f.primary_id = m.id
                   AND f.phase = 'waiting') AND m.enrollment_id IS NULL AS driven
    FROM voided v
    JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.message_id
    JOIN tenants t ON t.id = m.tenant_id
    ORDER BY m.tenant_id, m.id FOR NO KEY UPDATE OF m
), settled AS (
    UPDATE messages m
    SET phase = CASE WHEN e.outcome IS NOT NULL THEN 'closed' WHEN e.driven THEN 'dispatched' ELSE 'ready' END,
        outcome = e.outcome, outcome_reason = e.reason,
        outcome_at = CASE WHEN e.outcome IS NOT NULL THEN waypost_now() END,
        hold_reason = NULL, due_at = GREATEST(m.due_at, waypost_now()),
        dispatched_at = CASE WHEN e.outcome IS NULL AND e.driven THEN waypost_now() END
    FROM endings e
    WHERE m.tenant_id = e.tenant_id AND m.id = e.id AND m.outcome IS NULL AND m.phase IN ('held', 'dispatched')
    RETURNING m.id, e.driven
)
INSERT INTO outbox (workflow_id, signal) SELECT 'message/' || id, %(signal)s FROM settled WHERE driven
"""


async def settle_voided(connection: Connection, messages: Sequence[Key], *, signal: str) -> None:
    """Let the messages of attempts that were just voided go on, or end as what has happened meanwhile says."""
    if messages:
        await give_back_caps_of_voided(connection, messages)
        values = {
            "tenants": [tenant for tenant, _ in messages],
            "messages": [message for _, message in messages],
            "signal": signal,
        }
        await connection.execute(_SETTLE_VOIDED, values)


# Proof of absence on a durable feed (DESIGN "Attempts"). For an unknown attempt `u` of an account:
#   * `until`, later than any call: a margin after it the queue held nothing, and nobody held anything of it; so what
#     came by then has had that long to be followed by u's own event;
#   * K attempts or probes claimed after u had their first event in by `until`; `kth` is when the K-th was claimed;
#   * no attempt or probe that is known to be accepted and was claimed before `kth` lacks its first event;
#   * no event at all of u has been stored, applied or not, and nothing unreadable came since its claim.
_PROVE = """
WITH accounts AS (
    SELECT a.id, f.last_empty_at - %(margin)s::interval AS until
    FROM provider_accounts a JOIN feeds f ON f.account_id = a.id
    WHERE a.kind = 'ses' AND a.feed = 'durable' AND a.queue_url IS NOT NULL AND f.last_empty_at IS NOT NULL
), candidates AS (
    SELECT c.tenant_id, c.id, c.account_id, c.claimed_at, a.until
    FROM accounts a CROSS JOIN LATERAL (
        SELECT tenant_id, id, account_id, claimed_at FROM attempts
        WHERE account_id = a.id AND state IN ('in_flight', 'unknown', 'abandoned') AND state = 'unknown'
          AND claimed_at + %(call)s < a.until
        ORDER BY claimed_at LIMIT %(limit)s) c
), proven AS (
    SELECT c.tenant_id, c.id FROM candidates c CROSS JOIN LATERAL (
        SELECT claimed_at AS kth FROM (
            SELECT b.claimed_at FROM attempts b
            WHERE b.account_id = c.account_id AND b.claimed_at > c.claimed_at AND b.claimed_at < c.until
              AND b.send_event_at IS NOT NULL
              AND EXISTS (SELECT FROM provider_events e WHERE e.attempt_id = b.id AND e.account_id = b.account_id
                          AND e.kind IN ('send', 'reject', 'rendering_failure') AND e.received_at <= c.until)
            UNION ALL
            SELECT p.claimed_at FROM probes p
            WHERE p.account_id = c.account_id AND p.claimed_at > c.claimed_at AND p.claimed_at < c.until
              AND p.send_event_at IS NOT NULL
              AND EXISTS (SELECT FROM provider_events e WHERE e.attempt_id = p.id AND e.account_id = p.account_id
                          AND e.received_at <= c.until)
            ORDER BY claimed_at LIMIT %(later)s) later
        ORDER BY claimed_at OFFSET %(later)s - 1) k
    WHERE NOT EXISTS (SELECT FROM provider_events e WHERE e.attempt_id = c.id)
      AND NOT EXISTS (SELECT FROM attempts g WHERE g.account_id = c.account_id AND g.claimed_at < k.kth
                      AND g.claimed_at > waypost_now() - %(look_back)s AND g.state = 'accepted'
                      AND g.send_event_at IS NULL)
      AND NOT EXISTS (SELECT FROM probes g WHERE g.account_id = c.account_id AND g.claimed_at < k.kth
                      AND g.claimed_at > waypost_now() - %(look_back)s AND g.state = 'accepted'
                      AND g.send_event_at IS NULL)
      AND NOT EXISTS (SELECT FROM provider_events e WHERE e.account_id = c.account_id
                      AND (e.kind = 'unparsable' OR e.apply_error IS NOT NULL) AND e.received_at > c.claimed_at)
), locked AS (
    SELECT a.tenant_id, a.id FROM proven p JOIN attempts a ON a.tenant_id = p.tenant_id AND a.id = p.id
    WHERE a.state = 'unknown' ORDER BY a.tenant_id, a.message_id, a.number FOR NO KEY UPDATE OF a SKIP LOCKED
), voided AS (
    UPDATE attempts a SET state = 'void', resolution = 'absence', resolved_at = waypost_now()
    FROM locked l WHERE a.tenant_id = l.tenant_id AND a.id = l.id
    RETURNING a.tenant_id, a.message_id
)
SELECT tenant_id, message_id FROM voided
"""


async def void_absent(connection: Connection, *, margin: timedelta, call: timedelta, limit: int, signal: str) -> int:
    """Void the unknown attempts that a durable feed proves were never accepted; how many.

    Their messages are ready again, or end as what has happened meanwhile says. `margin` is at least what an event may
    take from provider to queue, `call` the longest that a call takes: its request may be accepted until then.
    """
    values = {
        "margin": margin,
        "call": call,
        "limit": limit,
        "later": LATER_ATTEMPTS,
        "look_back": LOOK_BACK,
    }
    voided = await (await connection.execute(_PROVE, values)).fetchall()
    await settle_voided(connection, [(tenant, message) for tenant, message in voided], signal=signal)
    return len(voided)


# The end of waiting: such a message may have arrived, so it is never sent again. A campaign's on an account whose feed
# can prove nothing ends at once, as it does where the call itself came to nothing (failures.consequence).
_ASSUME = """
WITH given_up AS (
    SELECT a.tenant_id, a.id, CASE
        WHEN t.state IN ('closing', 'closed') THEN 'tenant_closed'
        WHEN COALESCE(m.unknown_policy, t.unknown_policy) = 'at_most_once' THEN 'at_most_once'
        WHEN m.run_id IS NOT NULL AND o.feed <> 'durable' THEN 'at_most_once'
        WHEN a.claimed_at < waypost_now() - %(horizon)s THEN 'horizon'
        ELSE 'expiry' END AS why
    FROM attempts a
    JOIN messages m ON m.tenant_id = a.tenant_id AND m.id = a.message_id
    JOIN tenants t ON t.id = a.tenant_id
    JOIN provider_accounts o ON o.id = a.account_id
    WHERE a.state IN ('in_flight', 'unknown', 'abandoned') AND a.state = 'unknown'
      AND (a.claimed_at < waypost_now() - %(horizon)s OR m.expires_at <= waypost_now()
           OR m.run_id IS NOT NULL AND o.feed <> 'durable'
           OR t.state IN ('closing', 'closed') OR COALESCE(m.unknown_policy, t.unknown_policy) = 'at_most_once')
    ORDER BY a.claimed_at LIMIT %(limit)s FOR NO KEY UPDATE OF a SKIP LOCKED
), assumed AS (
    UPDATE attempts a SET state = 'assumed_sent', resolution = g.why, resolved_at = waypost_now()
    FROM given_up g WHERE a.tenant_id = g.tenant_id AND a.id = g.id
    RETURNING a.tenant_id, a.message_id, g.why
), closed AS (
    UPDATE messages m SET phase = 'closed', outcome = 'maybe_sent', outcome_reason = s.why,
           outcome_at = waypost_now(), hold_reason = NULL
    FROM assumed s WHERE m.tenant_id = s.tenant_id AND m.id = s.message_id AND m.outcome IS NULL
    RETURNING m.tenant_id, m.id, m.fallback_after
), started AS (
    UPDATE messages f SET due_at = waypost_now() + c.fallback_after,
           phase = CASE WHEN f.enrollment_id IS NULL THEN f.phase ELSE 'ready' END,
           send_at = CASE WHEN f.enrollment_id IS NULL THEN f.send_at ELSE waypost_now() + c.fallback_after END
    FROM closed c
    WHERE f.tenant_id = c.tenant_id AND f.primary_id = c.id AND f.phase = 'waiting' AND f.due_at IS NULL
)
SELECT count(*) FROM assumed
"""


async def assume_sent(connection: Connection, *, horizon: timedelta, limit: int) -> int:
    """End the waiting for unknown attempts past the horizon, expired, of closed tenants or at-most-once; how many."""
    return await _count(connection, _ASSUME, {"horizon": horizon, "limit": limit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How many attempts are unresolved now, for /metrics."""

    in_flight: int
    unknown: int
    abandoned: int


_OVERVIEW = """
SELECT count(*) FILTER (WHERE state = 'in_flight'), count(*) FILTER (WHERE state = 'unknown'),
       count(*) FILTER (WHERE state = 'abandoned')
FROM attempts WHERE state IN ('in_flight', 'unknown', 'abandoned')
"""


async def overview(connection: Connection) -> Overview:
    """Counts of unresolved attempts."""
    row = await (await connection.execute(_OVERVIEW)).fetchone()
    assert row is not None
    return Overview(in_flight=row[0], unknown=row[1], abandoned=row[2])


async def _count(connection: Connection, statement: str, values: dict[str, Any]) -> int:
    row = await (await connection.execute(statement, values)).fetchone()
    assert row is not None
    count: int = row[0]
    return count
