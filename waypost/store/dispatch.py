"""Which rows become executions now: due, of an active tenant, on an open account, within the window."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.messaging.values import Lane

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A message that has just become `dispatched` and wants its execution started."""

    tenant_id: UUID
    id: UUID
    placement: str
    source: str
    channel: str
    class_: str
    dispatches: int
    attempts: int


# One dispatcher a lane picks at a time, so that two cannot fill the same window twice.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('waypost/dispatch/' || %s, 0))"

# A loose index scan finds the (tenant, account) pairs that have ready rows, one index probe a pair: a held backlog of a
# million rows costs nothing. Then each pair's due rows, up to what its tenant's window still takes.
_PICK = """
WITH RECURSIVE pairs AS (
    (SELECT tenant_id, account_id FROM messages WHERE phase = 'ready' AND run_id IS NULL AND lane = %(lane)s
     ORDER BY tenant_id, account_id LIMIT 1)
    UNION ALL
    SELECT n.tenant_id, n.account_id FROM pairs p CROSS JOIN LATERAL (
        SELECT tenant_id, account_id FROM messages
        WHERE phase = 'ready' AND run_id IS NULL AND lane = %(lane)s
          AND (tenant_id, account_id) > (p.tenant_id, p.account_id)
        ORDER BY tenant_id, account_id LIMIT 1) n
), rooms AS MATERIALIZED (
    SELECT p.tenant_id, p.account_id, t.placement,
           CASE %(lane)s WHEN 'fast' THEN t.window_fast ELSE t.window_bulk END
           - (SELECT count(*) FROM messages d
              WHERE d.phase = 'dispatched' AND d.run_id IS NULL AND d.lane = %(lane)s
                AND d.tenant_id = p.tenant_id) AS room
    FROM pairs p
    JOIN tenants t ON t.id = p.tenant_id AND t.state = 'active'
    JOIN provider_accounts a ON a.id = p.account_id AND a.state = 'open'
), due AS MATERIALIZED (
    SELECT r.placement, r.room, m.tenant_id, m.id, m.due_at
    FROM rooms r CROSS JOIN LATERAL (
        SELECT tenant_id, id, due_at FROM messages
        WHERE phase = 'ready' AND run_id IS NULL AND lane = %(lane)s
          AND tenant_id = r.tenant_id AND account_id = r.account_id AND due_at <= waypost_now() + %(ahead)s
        ORDER BY due_at LIMIT LEAST(GREATEST(r.room, 0), %(batch)s) FOR NO KEY UPDATE SKIP LOCKED) m
), chosen AS (
    SELECT * FROM (
        SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY due_at) AS place FROM due) ranked
    WHERE place <= room ORDER BY place LIMIT %(batch)s
)
UPDATE messages m SET phase = 'dispatched', dispatched_at = waypost_now(), dispatches = m.dispatches + 1,
       hold_reason = NULL
FROM chosen c WHERE m.tenant_id = c.tenant_id AND m.id = c.id
RETURNING m.tenant_id, m.id, c.placement, m.source, m.channel, m.class AS class_, m.dispatches, m.attempts
"""


async def pick(connection: Connection, *, lane: Lane, ahead: timedelta, batch: int) -> list[Due]:
    """Mark up to `batch` due rows as dispatched, fairly over tenants; none while another process is picking."""
    locked = await (await connection.execute(_LOCK, (lane,))).fetchone()
    if locked is None or not locked[0]:
        return []
    async with connection.cursor(row_factory=class_row(Due)) as cursor:
        await cursor.execute(_PICK, {"lane": lane, "ahead": ahead, "batch": batch})
        return await cursor.fetchall()


# Only while nothing came of it: a start that timed out may have succeeded, and its execution may have claimed, put the
# row back or even been started again since.
_RETURN = """
UPDATE messages m SET phase = 'ready', due_at = GREATEST(m.due_at, waypost_now() + %(wait)s), dispatched_at = NULL
FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[], %(dispatches)s::int[], %(attempts)s::int[])
    AS r (tenant_id, id, dispatches, attempts)
WHERE m.tenant_id = r.tenant_id AND m.id = r.id AND m.phase = 'dispatched' AND m.outcome IS NULL
  AND m.dispatches = r.dispatches AND m.attempts = r.attempts
"""


async def return_to_rows(connection: Connection, *, messages: list[Due], wait: timedelta) -> None:
    """Their executions could not be started: the rows wait and will be picked again."""
    values = {
        "tenants": [message.tenant_id for message in messages],
        "messages": [message.id for message in messages],
        "dispatches": [message.dispatches for message in messages],
        "attempts": [message.attempts for message in messages],
        "wait": wait,
    }
    await connection.execute(_RETURN, values)
