"""Recurring campaigns whose next time has come, and their next runs (waypost_relay). Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurring:
    """A campaign whose next time has come, locked, with the run before: the last one that was no resend."""

    now: datetime
    tenant_id: UUID
    campaign_id: UUID
    state: str
    last_run: int
    next_at: datetime
    previous: UUID
    frozen: dict[str, Any] = field(repr=False)
    """The `definition` of the run before."""


_DUE = """
SELECT waypost_now() AS now, c.tenant_id, c.id AS campaign_id, c.state, c.last_run, c.next_at, p.id AS previous,
       p.definition AS frozen
FROM campaigns c JOIN tenants t ON t.id = c.tenant_id AND t.state = 'active'
CROSS JOIN LATERAL (
    SELECT r.id, r.definition FROM campaign_runs r
    WHERE r.tenant_id = c.tenant_id AND r.campaign_id = c.id AND r.kind <> 'resend' ORDER BY r.number DESC LIMIT 1) p
WHERE c.next_at <= waypost_now()
ORDER BY c.next_at LIMIT %(limit)s FOR NO KEY UPDATE OF c SKIP LOCKED
"""


async def due_recurrences(connection: Connection, *, limit: int) -> list[Recurring]:
    """Campaigns of active tenants whose next time has come; another scheduler passes over them meanwhile."""
    async with connection.cursor(row_factory=class_row(Recurring)) as cursor:
        await cursor.execute(_DUE, {"limit": limit})
        return await cursor.fetchall()


_VERSIONS = "SELECT id, current_version FROM templates WHERE tenant_id = %s AND id = ANY(%s)"


async def current_versions(connection: Connection, *, tenant: UUID, templates: Sequence[UUID]) -> dict[UUID, int]:
    """What templates say today."""
    rows = await (await connection.execute(_VERSIONS, (tenant, list(templates)))).fetchall()
    return dict(rows)


# As the run before, but for its time and what templates and sender are by now.
_INSERT = """
WITH made AS (
    INSERT INTO campaign_runs (tenant_id, id, campaign_id, number, kind, based_on, mode, definition, channel, sender_id,
        account_id, topic_id, scheduled_at, throttle_per_minute)
    SELECT r.tenant_id, %(run)s, r.campaign_id, %(number)s, 'recurrence', r.id, r.mode, %(definition)s, r.channel,
           r.sender_id, s.account_id, r.topic_id, %(at)s, r.throttle_per_minute
    FROM campaign_runs r JOIN senders s ON s.tenant_id = r.tenant_id AND s.id = r.sender_id
    WHERE r.tenant_id = %(tenant)s AND r.id = %(previous)s
    ON CONFLICT DO NOTHING RETURNING campaign_id
), moved AS (
    UPDATE campaigns c SET last_run = %(number)s, state = 'scheduled', updated_at = waypost_now() FROM made
    WHERE c.tenant_id = %(tenant)s AND c.id = made.campaign_id RETURNING c.id
)
SELECT count(*), pg_notify('waypost_campaigns', '') FROM moved
"""


async def insert_recurrence(connection: Connection, found: Recurring, *, run: UUID, frozen: dict[str, Any]) -> bool:
    """The campaign's next run; False where somebody else made it. (tenant, campaign, number) is unique."""
    values = {
        "tenant": found.tenant_id,
        "run": run,
        "number": found.last_run + 1,
        "previous": found.previous,
        "definition": Jsonb(frozen),
        "at": found.next_at,
    }
    row = await (await connection.execute(_INSERT, values)).fetchone()
    return row is not None and row[0] == 1


_NEXT = "UPDATE campaigns SET next_at = %s WHERE tenant_id = %s AND id = %s"


async def set_next(connection: Connection, found: Recurring, at: datetime) -> None:
    """When the campaign runs again after this time."""
    await connection.execute(_NEXT, (at, found.tenant_id, found.campaign_id))
