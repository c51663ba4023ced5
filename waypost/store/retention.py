"""What is old enough to be forgotten: events, inbound texts, verdicts, and closed messages with all they have.

As waypost_relay. Each function takes a bounded batch with SKIP LOCKED and never commits; any number of processes may
run them. `days` counts from `waypost_now()`; 0 keeps for ever.
"""

from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

# The oldest by id, which is the order they came in: the key finds them, and no index has to be kept for it. An account
# with an attempt of that age whose fate is open keeps its events: any of them forbids the proof that it never arrived.
_EVENTS = """
WITH undecided AS MATERIALIZED (
    SELECT DISTINCT account_id FROM attempts
    WHERE state IN ('in_flight', 'unknown', 'abandoned') AND state <> 'abandoned'
      AND claimed_at < waypost_now() - make_interval(days => %(days)s)
), oldest AS (
    SELECT id, received_at FROM provider_events WHERE account_id NOT IN (SELECT account_id FROM undecided)
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM provider_events e USING oldest o
    WHERE e.id = o.id AND o.received_at < waypost_now() - make_interval(days => %(days)s)
    RETURNING e.id
)
SELECT count(*) FROM gone
"""


async def forget_events(connection: Connection, *, days: int, limit: int) -> int:
    """Provider events that came that long ago; how many."""
    return await _forget(connection, _EVENTS, days=days, limit=limit)


_INBOUND = """
WITH gone AS (
    DELETE FROM inbound_messages WHERE (account_id, provider_message_id) IN (
        SELECT account_id, provider_message_id FROM inbound_messages
        WHERE received_at < waypost_now() - make_interval(days => %(days)s)
        ORDER BY received_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def forget_inbound(connection: Connection, *, days: int, limit: int) -> int:
    """Inbound texts that came that long ago; what a STOP did stays. How many."""
    return await _forget(connection, _INBOUND, days=days, limit=limit)


_VERDICTS = """
WITH gone AS (
    DELETE FROM verdicts WHERE (tenant_id, message_id, id) IN (
        SELECT tenant_id, message_id, id FROM verdicts
        WHERE at < waypost_now() - make_interval(days => %(days)s)
        ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def forget_verdicts(connection: Connection, *, days: int, limit: int) -> int:
    """The gate's verdicts of that long ago; an outcome and its reason stay with the message. How many."""
    return await _forget(connection, _VERDICTS, days=days, limit=limit)


# Each tenant's oldest, by the index that lists them. A message goes only when it, and the fallback that may still read
# it, ended that long ago; while its idempotency key is kept (a request's id is its messages' source_id) a repeated
# request must find it; and an attempt of which nobody knows what became of it is never forgotten.
_MESSAGES = """
WITH old AS MATERIALIZED (
    SELECT o.tenant_id, o.id FROM tenants t CROSS JOIN LATERAL (
        SELECT m.tenant_id, m.id FROM messages m
        WHERE m.tenant_id = t.id AND m.created_at < waypost_now() - make_interval(days => %(days)s)
          AND m.phase = 'closed' AND m.outcome_at < waypost_now() - make_interval(days => %(days)s)
          AND NOT EXISTS (SELECT FROM requests r WHERE r.tenant_id = m.tenant_id AND r.id = m.source_id)
          AND NOT EXISTS (SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
                          AND a.state IN ('in_flight', 'unknown', 'abandoned'))
          AND NOT EXISTS (SELECT FROM messages f WHERE f.tenant_id = m.tenant_id AND f.primary_id = m.id
                          AND f.outcome IS NULL)
        ORDER BY m.created_at, m.id LIMIT %(limit)s) o
    LIMIT %(limit)s
)
SELECT m.tenant_id, m.id FROM old o JOIN messages m ON m.tenant_id = o.tenant_id AND m.id = o.id
FOR UPDATE OF m SKIP LOCKED
"""

# Foreign keys are checked when the statement ends: by then all of it is gone. Attempts are looked at once more, for
# evidence may have come before the lock.
_MESSAGES_GONE = """
WITH chosen AS (
    SELECT c.tenant_id, c.id FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[]) AS c (tenant_id, id)
    WHERE NOT EXISTS (SELECT FROM attempts a WHERE a.tenant_id = c.tenant_id AND a.message_id = c.id
                      AND a.state IN ('in_flight', 'unknown', 'abandoned'))
), attempts_gone AS (
    DELETE FROM attempts a USING chosen c WHERE a.tenant_id = c.tenant_id AND a.message_id = c.id RETURNING a.id
), events_gone AS (
    DELETE FROM provider_events e USING attempts_gone a WHERE e.attempt_id = a.id
), verdicts_gone AS (
    DELETE FROM verdicts v USING chosen c WHERE v.tenant_id = c.tenant_id AND v.message_id = c.id
), gone AS (
    DELETE FROM messages m USING chosen c WHERE m.tenant_id = c.tenant_id AND m.id = c.id RETURNING m.id
)
SELECT count(*) FROM gone
"""


async def forget_messages(connection: Connection, *, days: int, limit: int) -> int:
    """Messages that were made and ended that long ago, with their attempts, events and verdicts; how many."""
    if days == 0:
        return 0
    rows = await (await connection.execute(_MESSAGES, {"days": days, "limit": limit})).fetchall()
    if not rows:
        return 0
    values = {"tenants": [row[0] for row in rows], "messages": [row[1] for row in rows]}
    return await _count(connection, _MESSAGES_GONE, values)


async def _forget(connection: Connection, statement: str, *, days: int, limit: int) -> int:
    return await _count(connection, statement, {"days": days, "limit": limit}) if days else 0


async def _count(connection: Connection, statement: str, values: dict[str, Any]) -> int:
    row = await (await connection.execute(statement, values)).fetchone()
    assert row is not None
    count: int = row[0]
    return count
