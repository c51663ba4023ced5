"""When something of a tenant's journeys is due next, and whether anything is under way: what a simulation waits for.

Role waypost_relay.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """`under_way` counts what should be done now; `next_at` is when something is due by itself, None: nothing is."""

    under_way: int
    next_at: datetime | None
    open: int


_DUE = """
SELECT (SELECT count(*) FROM enrollments e WHERE e.tenant_id = %(tenant)s AND e.state = 'open' AND (e.started_at IS NULL
          OR e.decided_at IS NULL))
       + (SELECT count(*) FROM enrollment_inbox i JOIN enrollments e ON e.tenant_id = i.tenant_id
          AND e.id = i.enrollment_id WHERE i.tenant_id = %(tenant)s AND e.state = 'open' AND NOT (i.detail ? 'held')
          AND (e.awaits_any OR i.kind <> ALL(%(kinds)s) OR (
              SELECT true FROM contact_events c WHERE c.tenant_id = i.tenant_id AND c.id = i.event_id
              AND c.month = i.event_month AND c.name = ANY(e.awaits) LIMIT 1)))
       + (SELECT count(*) FROM enrollments e WHERE e.tenant_id = %(tenant)s AND e.state = 'open' AND e.paused_at IS NULL
          AND e.wakes_at <= waypost_now())
       + (SELECT count(*) FROM outbox)
       + (SELECT count(*) FROM contact_changes WHERE tenant_id = %(tenant)s)
       + (SELECT count(*) FROM journey_watched w JOIN journeys j ON j.tenant_id = w.tenant_id AND j.id = w.journey_id
          AND j.entry_kind IS NOT NULL WHERE w.tenant_id = %(tenant)s AND w.next_at <= waypost_now())
       + (SELECT count(*) FROM journey_pauses WHERE tenant_id = %(tenant)s AND woken_until IS NOT NULL)
       + (SELECT count(*) FROM messages m JOIN enrollments e ON e.tenant_id = m.tenant_id AND e.id = m.enrollment_id
          WHERE m.tenant_id = %(tenant)s AND m.outcome IS NULL AND (m.phase = 'dispatched'
            OR m.phase = 'ready' AND m.due_at <= waypost_now()
            OR m.phase = 'waiting' AND m.due_at <= waypost_now() AND e.paused_at IS NULL)) AS under_way,
       LEAST(
           (SELECT min(wakes_at) FROM enrollments
            WHERE tenant_id = %(tenant)s AND state = 'open' AND paused_at IS NULL),
           (SELECT min(due_at) FROM messages WHERE tenant_id = %(tenant)s AND source = 'journey' AND outcome IS NULL
            AND due_at > waypost_now()),
           (SELECT min(next_at) FROM journey_watched WHERE tenant_id = %(tenant)s AND next_at > waypost_now()),
           (SELECT min(next_entry_at) FROM journeys WHERE tenant_id = %(tenant)s AND state = 'active'
            AND entry_kind = 'schedule')) AS next_at,
       (SELECT count(*) FROM enrollments WHERE tenant_id = %(tenant)s AND state = 'open') AS open
"""


async def due(connection: Connection, *, tenant: UUID) -> Due:
    """What a tenant's journeys are about to do."""
    async with connection.cursor(row_factory=class_row(Due)) as cursor:
        await cursor.execute(_DUE, {"tenant": tenant, "kinds": ["event", "look", "receipt"]})
        found = await cursor.fetchone()
    assert found is not None
    return found
