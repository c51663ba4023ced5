"""Whose time has come to enter a journey, and which journeys are to be looked at (waypost_relay). None commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]

Place = tuple[UUID, UUID]
"""(tenant, journey)."""

# Suspended tenants' people enter once they go on.
_WITH_SOMEBODY = """
SELECT j.tenant_id, j.id FROM journeys j JOIN tenants t ON t.id = j.tenant_id AND t.state <> 'suspended'
WHERE j.entry_kind IN ('segment', 'contact_date', 'schedule') AND (
    SELECT true FROM journey_watched w WHERE w.tenant_id = j.tenant_id AND w.journey_id = j.id
      AND w.next_at <= waypost_now() LIMIT 1)
ORDER BY random() LIMIT %s
"""


async def journeys_with_somebody(connection: Connection, *, limit: int) -> list[Place]:
    """Journeys into which somebody's time has come, or is to be found out; any of them first."""
    return list(await (await connection.execute(_WITH_SOMEBODY, (limit,))).fetchall())


_TO_LOOK_AT = """
SELECT j.tenant_id, j.id FROM journeys j JOIN tenants t ON t.id = j.tenant_id AND t.state = 'active'
WHERE j.next_entry_at <= waypost_now() AND j.state IN ('active', 'paused') ORDER BY j.next_entry_at LIMIT %s
"""


async def journeys_to_look_at(connection: Connection, *, limit: int) -> list[Place]:
    """Journeys whose entries are to be looked at as a whole by now."""
    return list(await (await connection.execute(_TO_LOOK_AT, (limit,))).fetchall())


# Who publishes meanwhile has it looked at anew.
_LOOKED_AT = """
UPDATE journeys SET next_entry_at = %(next)s
WHERE tenant_id = %(tenant)s AND id = %(journey)s AND next_entry_at = %(before)s
"""


async def set_next_look(
    connection: Connection, *, tenant: UUID, journey: UUID, before: datetime | None, following: datetime | None
) -> None:
    """The journey was looked at: when that is due again."""
    values = {"tenant": tenant, "journey": journey, "before": before, "next": following}
    await connection.execute(_LOOKED_AT, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A contact of a journey that is watched for a date. `last`: when its date brought it in the last time."""

    contact: UUID
    next_at: datetime | None
    zone: str | None
    attributes: dict[str, Any] = field(repr=False)
    last: datetime | None


_DUE = """
SELECT w.contact_id, w.next_at FROM journey_watched w
WHERE w.tenant_id = %s AND w.journey_id = %s AND w.next_at > '-infinity' AND w.next_at <= waypost_now()
ORDER BY w.next_at LIMIT %s FOR UPDATE
"""


async def whose_time_came(connection: Connection, place: Place, *, limit: int) -> dict[UUID, datetime]:
    """The contacts who are to enter by now, and since when."""
    return dict(await (await connection.execute(_DUE, (*place, limit))).fetchall())


_UNKNOWN = """
SELECT contact_id FROM journey_watched
WHERE tenant_id = %s AND journey_id = %s AND next_at = '-infinity' LIMIT %s FOR UPDATE
"""


async def whose_time_is_unknown(connection: Connection, place: Place, *, limit: int) -> list[UUID]:
    """Contacts of whom it is to be found out when they enter."""
    return [row[0] for row in await (await connection.execute(_UNKNOWN, (*place, limit))).fetchall()]


# Contacts are locked against their deletion, in one order. Each is looked up by itself: the planner would read all that
# are watched. It is the contact that finds its enrollments, as an index could do nothing with the rest: with statistics
# of before a journey grew the planner would read everybody's of it.
_DATED = """
WITH people AS MATERIALIZED (
    SELECT c.id, c.time_zone, c.attributes FROM contacts c
    WHERE c.tenant_id = %(tenant)s AND c.id = ANY(%(contacts)s) ORDER BY c.id FOR KEY SHARE
)
SELECT p.id AS contact, NULLIF(w.next_at, '-infinity') AS next_at, p.time_zone AS zone, p.attributes, e.last
FROM people p
LEFT JOIN LATERAL (
    SELECT next_at FROM journey_watched
    WHERE tenant_id = %(tenant)s AND journey_id = %(journey)s AND contact_id = p.id LIMIT 1) w ON true
CROSS JOIN LATERAL (
    SELECT max(o.entered_at) FILTER (WHERE o.source = 'contact_date') AS last FROM (
        SELECT entered_at, source FROM enrollments
        WHERE tenant_id = %(tenant)s AND contact_id = p.id AND journey_id IS NOT DISTINCT FROM %(journey)s::uuid) o) e
"""


async def read_dated(connection: Connection, place: Place, *, contacts: Sequence[UUID]) -> list[Dated]:
    """These contacts, as far as they are there."""
    values = {"tenant": place[0], "journey": place[1], "contacts": list(contacts)}
    async with connection.cursor(row_factory=class_row(Dated)) as cursor:
        await cursor.execute(_DATED, values)
        return await cursor.fetchall()


_SET = """
INSERT INTO journey_watched (tenant_id, journey_id, contact_id, next_at)
SELECT %(tenant)s, %(journey)s, n.contact, n.at
FROM unnest(%(contacts)s::uuid[], %(times)s::timestamptz[]) AS n (contact, at)
ORDER BY n.contact
ON CONFLICT (tenant_id, journey_id, contact_id) DO UPDATE SET next_at = excluded.next_at
"""

_DROP = "DELETE FROM journey_watched WHERE tenant_id = %s AND journey_id = %s AND contact_id = ANY(%s)"


async def set_times(connection: Connection, place: Place, times: Mapping[UUID, datetime | None]) -> None:
    """When each contact enters next; None: it does not."""
    known = {contact: at for contact, at in times.items() if at is not None}
    if known:
        values = {"tenant": place[0], "journey": place[1], "contacts": list(known), "times": list(known.values())}
        await connection.execute(_SET, values)
    await forget(connection, place, contacts=[contact for contact, at in times.items() if at is None])


async def forget(connection: Connection, place: Place, *, contacts: Sequence[UUID]) -> None:
    """These contacts are watched no more."""
    if contacts:
        await connection.execute(_DROP, (*place, list(contacts)))


_INSIDE = """
UPDATE journey_watched SET next_at = NULL WHERE tenant_id = %s AND journey_id = %s AND contact_id = ANY(%s)
"""


async def note_inside(connection: Connection, place: Place, *, contacts: Sequence[UUID]) -> None:
    """These contacts have come in, and are inside the segment."""
    await connection.execute(_INSIDE, (*place, list(contacts)))


_FORGET_ALL = """
DELETE FROM journey_watched WHERE (tenant_id, journey_id, contact_id) IN (
    SELECT tenant_id, journey_id, contact_id FROM journey_watched WHERE tenant_id = %s AND journey_id = %s LIMIT %s)
"""


async def forget_some(connection: Connection, place: Place, *, limit: int) -> None:
    """Nobody enters this journey any more: so many are not watched for it from now on."""
    await connection.execute(_FORGET_ALL, (*place, limit))


_DRAINED = """
UPDATE journeys j SET version = j.entering, updated_at = waypost_now()
WHERE j.version <> j.entering AND NOT EXISTS (
    SELECT FROM journey_versions v JOIN enrollments e ON e.tenant_id = v.tenant_id AND e.version_id = v.id
        AND e.state = 'open'
    WHERE v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number < j.entering)
RETURNING j.id
"""


async def open_drained(connection: Connection, *, limit: int) -> int:
    """Where everybody has left the versions before, people enter the latest one from now on. How many journeys."""
    del limit  # they are few
    return len(await (await connection.execute(_DRAINED)).fetchall())
