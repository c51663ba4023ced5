"""What contacts did in the tenant's product, stored and led to the journeys that it concerns. Nothing here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from waypost.messaging import ids
from waypost.messaging.values import Mode
from waypost.store.conversions import note_conversions
from waypost.store.event_routing import Routed, StoredEvent, route


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Our id of each event and what became of it, in order, and where the new ones led."""

    events: Sequence[tuple[UUID, Taken]]
    routed: Routed


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
    ON CONFLICT DO NOTHING RETURNING id, occurred_at, month
)
SELECT g.id, k.id IS NOT NULL, a.month, a.occurred_at
FROM given g LEFT JOIN known k ON k.id = g.contact LEFT JOIN added a ON a.id = g.id
"""


async def receive_events(
    connection: AsyncConnection[Any],
    *,
    tenant: UUID,
    events: Sequence[ContactEvent],
    mode: Mode | None = None,
    depth: int = 0,
) -> Received:
    """Store events, each id once, and lead them on. Whoever calls this tells the channels that `routed` concerns.

    `mode`: of the journeys that they may concern, the key's that tells them; None: of both. `depth`: how many journeys
    led to these events, one by another.
    """
    rows: dict[UUID, dict[str, Any]] = {}
    order = []
    for event in events:
        row = ids.contact_event_id(tenant=tenant, key=event.id)
        order.append((row, row in rows))
        rows.setdefault(row, _row(tenant, row, event))
    values = {"tenant": tenant, "events": orjson.dumps(list(rows.values())).decode()}
    cursor = await connection.execute(_INSERT, values)
    found = {row[0]: row for row in await cursor.fetchall()}
    new = [_stored(rows[row], found[row]) for row in rows if found[row][2] is not None]
    await note_conversions(connection, tenant=tenant, events=[event.id for event in new])
    routed = await route(connection, tenant=tenant, events=new, mode=mode, depth=depth)
    taken = [(row, Taken.DUPLICATE if repeated and found[row][1] else _taken(found[row])) for row, repeated in order]
    return Received(events=taken, routed=routed)


def _stored(given: Mapping[str, Any], found: Sequence[Any]) -> StoredEvent:
    return StoredEvent(
        id=given["id"],
        month=found[2],
        contact=given["contact"],
        name=given["name"],
        properties=given["properties"],
        occurred_at=found[3],
    )


def _row(tenant: UUID, row: UUID, event: ContactEvent) -> dict[str, Any]:
    return {
        "id": row,
        "contact": ids.contact_id(tenant=tenant, external_id=event.contact),
        "name": event.name,
        "properties": event.properties,
        "occurred_at": event.occurred_at,
    }


def _taken(found: Sequence[Any]) -> Taken:
    _, known, month, _ = found
    if not known:
        return Taken.UNKNOWN_CONTACT
    return Taken.ACCEPTED if month is not None else Taken.DUPLICATE
