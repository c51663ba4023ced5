"""What is old enough to be forgotten: events, inbound texts, verdicts, and closed messages with all they have.

What whole months hold is dropped (months.py); here goes what must go before, and what is in no month. As waypost_relay.
Each function takes a bounded batch with SKIP LOCKED and never commits; any number of processes may run them. `days`
counts from `waypost_now()`, 0 keeps for ever; a tenant's own retention goes before it.
"""

from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

# In the order of their ids, which is the order they came in: the key finds them, and no index has to be kept for it.
# Halving finds the id up to which all are older than the shortest retention; of those, some tenants keep theirs longer.
# An account with an attempt of that age whose fate is open keeps its events: any of them forbids the proof that it
# never arrived.
_EVENTS = """
WITH RECURSIVE shortest AS MATERIALIZED (
    SELECT waypost_now() - make_interval(days => LEAST(min(event_retention_days), NULLIF(%(days)s, 0))) AS cut
    FROM tenants
), halving (low, high) AS (
    SELECT min(id), max(id) + 1 FROM provider_events
    UNION ALL
    SELECT CASE WHEN m.received_at < s.cut THEN m.id + 1 ELSE h.low END,
           CASE WHEN m.received_at < s.cut THEN h.high ELSE (h.low + h.high) / 2 END
    FROM halving h CROSS JOIN shortest s CROSS JOIN LATERAL (
        SELECT id, received_at FROM provider_events WHERE id >= (h.low + h.high) / 2 ORDER BY id LIMIT 1) m
    WHERE h.low < h.high
), undecided AS MATERIALIZED (
    SELECT DISTINCT account_id FROM attempts
    WHERE state IN ('in_flight', 'unknown', 'abandoned') AND state <> 'abandoned'
      AND claimed_at < (SELECT cut FROM shortest)
), oldest AS (
    SELECT e.id, e.month FROM provider_events e LEFT JOIN tenants t ON t.id = e.tenant_id
    WHERE e.id < (SELECT max(low) FROM halving) AND e.account_id NOT IN (SELECT account_id FROM undecided)
      AND e.received_at < waypost_now() - make_interval(days => COALESCE(t.event_retention_days, NULLIF(%(days)s, 0)))
    ORDER BY e.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
), gone AS (
    DELETE FROM provider_events e USING oldest o WHERE e.id = o.id AND e.month = o.month RETURNING e.id
)
SELECT count(*) FROM gone
"""


async def forget_events(connection: Connection, *, days: int, limit: int) -> int:
    """Provider events that came that long ago; how many."""
    return await _forget(connection, _EVENTS, days=days, limit=limit)


_INBOUND = """
WITH shortest AS MATERIALIZED (
    SELECT waypost_now() - make_interval(days => LEAST(min(event_retention_days), NULLIF(%(days)s, 0))) AS cut
    FROM tenants
), gone AS (
    DELETE FROM inbound_messages WHERE (account_id, provider_message_id) IN (
        SELECT i.account_id, i.provider_message_id FROM inbound_messages i LEFT JOIN tenants t ON t.id = i.tenant_id
        WHERE i.received_at < (SELECT cut FROM shortest)
          AND i.received_at < waypost_now() - make_interval(
              days => COALESCE(t.event_retention_days, NULLIF(%(days)s, 0)))
        ORDER BY i.received_at LIMIT %(limit)s FOR UPDATE OF i SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def forget_inbound(connection: Connection, *, days: int, limit: int) -> int:
    """Inbound texts that came that long ago; what a STOP did stays. How many."""
    return await _forget(connection, _INBOUND, days=days, limit=limit)


_CONTACT_EVENTS = """
WITH shortest AS MATERIALIZED (
    SELECT waypost_now() - make_interval(days => LEAST(min(event_retention_days), NULLIF(%(days)s, 0))) AS cut
    FROM tenants
), oldest AS (
    SELECT e.tenant_id, e.id, e.month FROM contact_events e JOIN tenants t ON t.id = e.tenant_id
    WHERE e.received_at < (SELECT cut FROM shortest)
      AND e.received_at < waypost_now() - make_interval(days => COALESCE(t.event_retention_days, NULLIF(%(days)s, 0)))
    ORDER BY e.received_at LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
), gone AS (
    DELETE FROM contact_events e USING oldest o
    WHERE e.tenant_id = o.tenant_id AND e.id = o.id AND e.month = o.month RETURNING e.id
)
SELECT count(*) FROM gone
"""


async def forget_contact_events(connection: Connection, *, days: int, limit: int) -> int:
    """Events of contacts that were told that long ago, whenever they happened; how many."""
    return await _forget(connection, _CONTACT_EVENTS, days=days, limit=limit)


_VERDICTS = """
WITH shortest AS MATERIALIZED (
    SELECT waypost_now() - make_interval(days => LEAST(min(event_retention_days), NULLIF(%(days)s, 0))) AS cut
    FROM tenants
), gone AS (
    DELETE FROM verdicts WHERE (tenant_id, message_id, id) IN (
        SELECT v.tenant_id, v.message_id, v.id FROM verdicts v JOIN tenants t ON t.id = v.tenant_id
        WHERE v.at < (SELECT cut FROM shortest)
          AND v.at < waypost_now() - make_interval(days => COALESCE(t.event_retention_days, NULLIF(%(days)s, 0)))
        ORDER BY v.at LIMIT %(limit)s FOR UPDATE OF v SKIP LOCKED)
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
        SELECT waypost_now() - make_interval(
            days => COALESCE(t.message_retention_days, NULLIF(%(days)s, 0))) AS cut) k CROSS JOIN LATERAL (
        SELECT m.tenant_id, m.id FROM messages m
        WHERE m.tenant_id = t.id AND m.created_at < k.cut AND m.phase = 'closed' AND m.outcome_at < k.cut
          AND NOT EXISTS (SELECT FROM requests r WHERE r.tenant_id = m.tenant_id AND r.id = m.source_id)
          AND NOT EXISTS (SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
                          AND a.month = waypost_month(m.created_at)
                          AND a.state IN ('in_flight', 'unknown', 'abandoned'))
          AND NOT EXISTS (SELECT FROM messages f WHERE f.tenant_id = m.tenant_id AND f.primary_id = m.id
                          AND f.outcome IS NULL)
        ORDER BY m.created_at, m.id LIMIT %(limit)s) o
    LIMIT %(limit)s
)
SELECT m.tenant_id, m.id, waypost_month(m.created_at)
FROM old o JOIN messages m ON m.tenant_id = o.tenant_id AND m.id = o.id
FOR UPDATE OF m SKIP LOCKED
"""

# Attempts are looked at once more, for evidence may have come before the lock. Those of a tenant that keeps its
# messages about as long as anybody does go with their month, which is dropped when it is past everybody's retention;
# those of others, and those in no month, are deleted. Foreign keys are checked when the statement ends.
_MESSAGES_GONE = """
WITH chosen AS (
    SELECT c.tenant_id, c.id, c.month,
           COALESCE(t.message_retention_days, %(days)s) < k.longest - 31 OR %(days)s = 0 AS before_others
    FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[], %(months)s::date[]) AS c (tenant_id, id, month)
    JOIN tenants t ON t.id = c.tenant_id
    CROSS JOIN (SELECT GREATEST(max(message_retention_days), %(days)s) AS longest FROM tenants) k
    WHERE NOT EXISTS (SELECT FROM attempts a WHERE a.tenant_id = c.tenant_id AND a.message_id = c.id
                      AND a.month = c.month AND a.state IN ('in_flight', 'unknown', 'abandoned'))
), attempts_over AS MATERIALIZED (
    SELECT a.* FROM chosen c CROSS JOIN LATERAL (
        SELECT tenant_id, id, month, c.before_others OR tableoid = 'attempts_default'::regclass AS deleted FROM attempts
        WHERE tenant_id = c.tenant_id AND message_id = c.id AND month = c.month OFFSET 0) a
), attempts_gone AS (
    DELETE FROM attempts a USING attempts_over o
    WHERE o.deleted AND a.tenant_id = o.tenant_id AND a.id = o.id AND a.month = o.month
), events_gone AS (
    DELETE FROM provider_events e USING attempts_over a WHERE e.attempt_id = a.id
), verdicts_gone AS (
    DELETE FROM verdicts v USING chosen c WHERE v.tenant_id = c.tenant_id AND v.message_id = c.id
), gone AS (
    DELETE FROM messages m USING chosen c WHERE m.tenant_id = c.tenant_id AND m.id = c.id RETURNING m.id
)
SELECT count(*) FROM gone
"""


async def forget_messages(connection: Connection, *, days: int, limit: int) -> int:
    """Messages that were made and ended that long ago, with their events and verdicts; how many."""
    rows = await (await connection.execute(_MESSAGES, {"days": days, "limit": limit})).fetchall()
    if not rows:
        return 0
    tenants, messages, months = zip(*rows, strict=True)
    values = {"tenants": list(tenants), "messages": list(messages), "months": list(months), "days": days}
    return await _count(connection, _MESSAGES_GONE, values)


# Of what a contact walked the last run of each journey and key stays as an empty row: by it nobody comes in once more
# who may not, and no identifier comes twice. It goes when the contact is gone. Its messages may still want the rest.
_ENROLLMENTS = """
WITH old AS MATERIALIZED (
    SELECT o.tenant_id, o.id FROM tenants t CROSS JOIN LATERAL (
        SELECT e.tenant_id, e.id FROM enrollments e
        WHERE e.tenant_id = t.id AND e.state = 'ended' AND (e.visits > 0 OR e.data <> '{}')
          AND e.ended_at < waypost_now() - make_interval(
              days => COALESCE(t.message_retention_days, NULLIF(%(days)s, 0)))
          AND NOT EXISTS (SELECT FROM messages m WHERE m.tenant_id = e.tenant_id AND m.enrollment_id = e.id
                          AND m.outcome IS NULL)
        ORDER BY e.ended_at LIMIT %(limit)s) o
    LIMIT %(limit)s
), locked AS MATERIALIZED (
    SELECT e.tenant_id, e.id, e.contact_id, e.journey_id, e.entry_key, e.number
    FROM old o JOIN enrollments e ON e.tenant_id = o.tenant_id AND e.id = o.id FOR UPDATE OF e SKIP LOCKED
), judged AS MATERIALIZED (
    SELECT l.tenant_id, l.id,
           EXISTS (SELECT FROM contacts c WHERE c.tenant_id = l.tenant_id AND c.id = l.contact_id)
           AND NOT EXISTS (SELECT FROM enrollments n WHERE n.tenant_id = l.tenant_id AND n.contact_id = l.contact_id
                           AND n.journey_id = l.journey_id AND n.entry_key = l.entry_key AND n.number > l.number)
           AS stays
    FROM locked l
), visits_gone AS (
    DELETE FROM enrollment_visits v USING judged j WHERE v.tenant_id = j.tenant_id AND v.enrollment_id = j.id
), emptied AS (
    UPDATE enrollments e SET data = '{}', visits = 0 FROM judged j
    WHERE j.stays AND e.tenant_id = j.tenant_id AND e.id = j.id
), gone AS (
    DELETE FROM enrollments e USING judged j WHERE NOT j.stays AND e.tenant_id = j.tenant_id AND e.id = j.id
)
SELECT count(*) FROM judged
"""


async def forget_enrollments(connection: Connection, *, days: int, limit: int) -> int:
    """What enrollments that ended that long ago carried, and their visits; how many enrollments."""
    return await _forget(connection, _ENROLLMENTS, days=days, limit=limit)


# In the order of their ids, journey by journey.
_JOURNEY_AUDIT = """
WITH oldest AS (
    SELECT o.tenant_id, o.journey_id, o.id FROM journeys j JOIN tenants t ON t.id = j.tenant_id CROSS JOIN LATERAL (
        SELECT a.tenant_id, a.journey_id, a.id, a.at FROM journey_audit a
        WHERE a.tenant_id = j.tenant_id AND a.journey_id = j.id ORDER BY a.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) o
    WHERE o.at < waypost_now() - make_interval(days => COALESCE(t.message_retention_days, NULLIF(%(days)s, 0)))
    LIMIT %(limit)s
), gone AS (
    DELETE FROM journey_audit a USING oldest o
    WHERE a.tenant_id = o.tenant_id AND a.journey_id = o.journey_id AND a.id = o.id RETURNING a.id
)
SELECT count(*) FROM gone
"""


async def forget_journey_audit(connection: Connection, *, days: int, limit: int) -> int:
    """What was done to journeys and enrollments that long ago; how many deeds."""
    return await _forget(connection, _JOURNEY_AUDIT, days=days, limit=limit)


async def _forget(connection: Connection, statement: str, *, days: int, limit: int) -> int:
    return await _count(connection, statement, {"days": days, "limit": limit})


async def _count(connection: Connection, statement: str, values: dict[str, Any]) -> int:
    row = await (await connection.execute(statement, values)).fetchone()
    assert row is not None
    count: int = row[0]
    return count
