"""What contacts did in the tenant's product. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from waypost.messaging import ids
from waypost.store.conversions import note_conversions


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactEvent:
    """An event as it is told. `id` is the tenant's own; without `occurred_at` it is now."""

    id: str
    contact: str
    name: str
    properties: dict[str, Any] = field(default_factory=dict, repr=False)
    occurred_at: datetime | None = None


class Taken(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    UNKNOWN_CONTACT = "unknown_contact"


# Contacts are locked against their deletion, in one order, before anything is written. An id that is there already is
# the same event, whatever else is said of it: also one of another month.
_INSERT = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(events)s::jsonb) AS given (
        id uuid, contact uuid, name text, properties jsonb, occurred_at timestamptz)
), known AS MATERIALIZED (
    SELECT c.id FROM contacts c WHERE c.tenant_id = %(tenant)s AND c.id IN (SELECT contact FROM given)
    ORDER BY c.id FOR KEY SHARE
), added AS (
    INSERT INTO contact_events (tenant_id, id, contact_id, name, properties, occurred_at, month)
    SELECT %(tenant)s, g.id, g.contact, g.name, g.properties, o.at, waypost_month(o.at)
    FROM given g JOIN known k ON k.id = g.contact
    CROSS JOIN LATERAL (SELECT COALESCE(g.occurred_at, waypost_now()) AS at) o
    WHERE NOT EXISTS (SELECT FROM contact_events e WHERE e.tenant_id = %(tenant)s AND e.id = g.id)
    ORDER BY g.id
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT g.id, k.id IS NOT NULL, a.id IS NOT NULL
FROM given g LEFT JOIN known k ON k.id = g.contact LEFT JOIN added a ON a.id = g.id
"""


async def add_events(
    connection: AsyncConnection[Any], tenant: UUID, events: Sequence[ContactEvent]
) -> list[tuple[UUID, Taken]]:
    """Store events, each id once. Our id of each and what became of it, in order."""
    rows: dict[UUID, dict[str, Any]] = {}
    order = []
    for event in events:
        row = ids.contact_event_id(tenant=tenant, key=event.id)
        order.append((row, row in rows))
        rows.setdefault(row, _row(tenant, row, event))
    values = {"tenant": tenant, "events": orjson.dumps(list(rows.values())).decode()}
    found = await (await connection.execute(_INSERT, values)).fetchall()
    taken = {row[0]: _taken(known=row[1], added=row[2]) for row in found}
    new = [row for row, what in taken.items() if what is Taken.ACCEPTED]
    await note_conversions(connection, tenant=tenant, events=new)
    return [
        (row, Taken.DUPLICATE if repeated and taken[row] is Taken.ACCEPTED else taken[row]) for row, repeated in order
    ]


def _row(tenant: UUID, row: UUID, event: ContactEvent) -> dict[str, Any]:
    return {
        "id": row,
        "contact": ids.contact_id(tenant=tenant, external_id=event.contact),
        "name": event.name,
        "properties": event.properties,
        "occurred_at": event.occurred_at,
    }


def _taken(*, known: bool, added: bool) -> Taken:
    if not known:
        return Taken.UNKNOWN_CONTACT
    return Taken.ACCEPTED if added else Taken.DUPLICATE
