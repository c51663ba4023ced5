"""Which enrollments want an execution, or one again, and whom the end of a pause wakes (role waypost_relay)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToStart:
    """An enrollment whose execution is asked for."""

    tenant_id: UUID
    id: UUID
    version_id: UUID
    number: int
    plan: str
    placement: str
    source: str


# Fairly over tenants would cost a sort of all that wait; the oldest first, and starting is quick. Suspended tenants'
# people wait too.
_TO_START = """
WITH chosen AS MATERIALIZED (
    SELECT e.tenant_id, e.id FROM enrollments e JOIN tenants t ON t.id = e.tenant_id AND t.state = 'active'
    WHERE e.state = 'open' AND e.started_at IS NULL
    ORDER BY e.entered_at LIMIT %s FOR NO KEY UPDATE OF e SKIP LOCKED
), asked AS (
    UPDATE enrollments e SET started_at = waypost_now() FROM chosen c
    WHERE e.tenant_id = c.tenant_id AND e.id = c.id
    RETURNING e.tenant_id, e.id, e.version_id, e.source
)
SELECT a.tenant_id, a.id, a.version_id, a.source, v.number, v.plan, t.placement FROM asked a
JOIN journey_versions v ON v.tenant_id = a.tenant_id AND v.id = a.version_id
JOIN tenants t ON t.id = a.tenant_id
"""


async def enrollments_to_start(connection: Connection, *, limit: int) -> list[ToStart]:
    """Enrollments that no execution was asked for, marked as asked for; the oldest first."""
    async with connection.cursor(row_factory=class_row(ToStart)) as cursor:
        await cursor.execute(_TO_START, (limit,))
        return await cursor.fetchall()


_NOT_STARTED = """
UPDATE enrollments e SET started_at = NULL
FROM unnest(%(tenants)s::uuid[], %(ids)s::uuid[]) AS n (tenant_id, id)
WHERE e.tenant_id = n.tenant_id AND e.id = n.id AND e.state = 'open'
"""

Key = tuple[UUID, UUID]
"""(tenant, enrollment)."""


async def ask_again(connection: Connection, enrollments: Sequence[Key]) -> None:
    """Their executions could not be started, or are gone: they are asked for anew."""
    values = {"tenants": [tenant for tenant, _ in enrollments], "ids": [one for _, one in enrollments]}
    await connection.execute(_NOT_STARTED, values)


# Something should have been decided a while ago: a wake, a first decision, something that it was told. Only Temporal
# knows whether an execution is there to do so.
_OVERDUE = """
SELECT DISTINCT tenant_id, id FROM (
    (SELECT tenant_id, id FROM enrollments
     WHERE state = 'open' AND started_at IS NOT NULL AND wakes_at < waypost_now() - %(age)s
     ORDER BY wakes_at LIMIT %(limit)s)
    UNION ALL
    (SELECT tenant_id, id FROM enrollments
     WHERE state = 'open' AND decided_at IS NULL AND started_at < waypost_now() - %(age)s
     ORDER BY started_at LIMIT %(limit)s)
    UNION ALL
    (SELECT i.tenant_id, i.enrollment_id FROM enrollment_inbox i
     JOIN enrollments e ON e.tenant_id = i.tenant_id AND e.id = i.enrollment_id
     WHERE NOT (i.detail ? 'held') AND i.at < waypost_now() - %(age)s AND e.state = 'open'
       AND e.started_at < waypost_now() - %(age)s
     ORDER BY i.at LIMIT %(limit)s)
) overdue LIMIT %(limit)s
"""


async def overdue_enrollments(connection: Connection, *, age: timedelta, limit: int) -> list[Key]:
    """Enrollments that may have no execution any more."""
    rows = await (await connection.execute(_OVERDUE, {"age": age, "limit": limit})).fetchall()
    return [(row[0], row[1]) for row in rows]


_WAKE_OVERDUE = "SELECT waypost_wake(%s)"


async def wake(connection: Connection, enrollments: Sequence[UUID]) -> None:
    """Hint at all of them: a hint may have been lost."""
    await connection.execute(_WAKE_OVERDUE, (list(enrollments),))


# The pauses that were ended, one at a time, and a batch of those whom it held: first those whose fallback it put off,
# who may have taken no note of it themselves. What the pause put off of people who are through already has nobody to
# date it again but this.
_WAKING = """
WITH ended AS MATERIALIZED (
    SELECT tenant_id, journey_id, number, woken_until, policy, resumed_at - paused_at AS lasted FROM journey_pauses
    WHERE woken_until IS NOT NULL ORDER BY resumed_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
), put_off AS MATERIALIZED (
    SELECT m.tenant_id, m.id, m.enrollment_id, e.state FROM ended o
    JOIN messages m ON m.tenant_id = o.tenant_id AND m.hold_reason = 'journey_paused'
    JOIN enrollments e ON e.tenant_id = m.tenant_id AND e.id = m.enrollment_id AND e.journey_id = o.journey_id
    WHERE o.woken_until = %(first)s AND m.outcome IS NULL AND m.phase = 'ready'
), held AS MATERIALIZED (
    SELECT e.id FROM ended o CROSS JOIN LATERAL (
        SELECT id FROM enrollments
        WHERE tenant_id = o.tenant_id AND journey_id = o.journey_id AND state = 'open' AND paused_at IS NOT NULL
          AND id > o.woken_until
        ORDER BY id LIMIT %(limit)s) e
), place AS (
    UPDATE journey_pauses p
    SET woken_until = CASE WHEN (SELECT count(*) FROM held) = %(limit)s THEN (SELECT max(id::text)::uuid FROM held) END
    FROM ended o WHERE p.tenant_id = o.tenant_id AND p.journey_id = o.journey_id AND p.number = o.number
), due AS (
    UPDATE messages m SET
        due_at = GREATEST(m.send_at + CASE o.policy WHEN 'shift' THEN o.lasted ELSE interval '0' END, waypost_now()),
        send_at = m.send_at + CASE o.policy WHEN 'shift' THEN o.lasted ELSE interval '0' END,
        metadata = COALESCE(m.metadata, '{}') || jsonb_build_object(
            'late_policy', CASE o.policy WHEN 'skip_late' THEN 'skip' ELSE 'send' END)
    FROM ended o, put_off f WHERE f.state = 'ended' AND m.tenant_id = f.tenant_id AND m.id = f.id AND m.outcome IS NULL
), woken AS (
    SELECT id FROM held UNION SELECT enrollment_id FROM put_off WHERE state = 'open'
)
SELECT waypost_wake(array_agg(id)), (SELECT count(*) FROM held) FROM woken HAVING count(*) > 0
"""

_FIRST = UUID(int=0)


async def wake_resumed(connection: Connection, *, limit: int) -> int:
    """Wake a batch of those whom a pause that is over has held; how many."""
    row = await (await connection.execute(_WAKING, {"limit": limit, "first": _FIRST})).fetchone()
    return 0 if row is None else int(row[1])


_END_OF_CLOSED = """
WITH gone AS MATERIALIZED (
    SELECT e.tenant_id, e.id FROM tenants t JOIN enrollments e ON e.tenant_id = t.id AND e.state = 'open'
    WHERE t.state IN ('closing', 'closed') LIMIT %(limit)s FOR NO KEY UPDATE OF e SKIP LOCKED
), ended AS (
    UPDATE enrollments e SET state = 'ended', how = 'tenant_closed', reason = 'tenant_closed', ended_at = waypost_now(),
           wakes_at = NULL, awaits = '{}', awaits_any = false, place = '{}'
    FROM gone g WHERE e.tenant_id = g.tenant_id AND e.id = g.id RETURNING e.tenant_id, e.id
), told AS (
    DELETE FROM enrollment_inbox i USING ended e WHERE i.tenant_id = e.tenant_id AND i.enrollment_id = e.id
)
SELECT waypost_wake(array_agg(id)), count(*) FROM ended HAVING count(*) > 0
"""


async def end_of_closed_tenants(connection: Connection, *, limit: int) -> int:
    """A dead tenant has nobody under way; how many were."""
    row = await (await connection.execute(_END_OF_CLOSED, {"limit": limit})).fetchone()
    return 0 if row is None else int(row[1])
