"""Where what contacts did leads: into journeys that begin with it, and to enrollments that watch for it.

Nothing here commits. Whoever stores events tells OUTBOX_CHANNEL after the commit where somebody was woken, and
JOURNEYS_CHANNEL where somebody entered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.journeys.entering import enters, entry_key
from waypost.journeys.entries import EventEntry
from waypost.messaging.values import Mode
from waypost.segments.people import Deed
from waypost.store.entering import Entered, Entrance, enter

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event that was just stored."""

    id: UUID
    month: date
    contact: UUID
    name: str
    properties: Mapping[str, Any] = field(repr=False)
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """How many people entered, how many notes were left with enrollments, and how many of these were woken for them."""

    entered: int = 0
    told: int = 0
    woken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A journey that an event of this name may lead into, and what its people watch for."""

    journey: UUID
    entry: EventEntry
    watches: frozenset[str]


# Where no version of the tenant watches for any of the names, nobody is looked for. Else the contact's own open
# enrollments are, never all that wait. They are locked before it is read what they await: a decision that is being made
# meanwhile either is seen with what it waits for, or sees what it is told.
_TELL = """
WITH given AS MATERIALIZED (
    SELECT g.* FROM unnest(%(events)b::uuid[], %(months)b::date[], %(contacts)b::uuid[], %(names)b::text[])
        WITH ORDINALITY AS g (event, month, contact, name, n)
), versions AS MATERIALIZED (
    SELECT v.id, v.watches FROM journey_versions v WHERE v.tenant_id = %(tenant)s AND v.watches && %(distinct)s::text[]
), found AS MATERIALIZED (
    SELECT g.n, g.event, g.month, g.name, e.id FROM given g
    CROSS JOIN LATERAL (
        SELECT e.id, e.version_id FROM enrollments e
        WHERE e.tenant_id = %(tenant)s AND e.contact_id = g.contact AND e.state = 'open'
          AND (e.mode = %(mode)s::text OR %(mode)s::text IS NULL) OFFSET 0) e
    JOIN versions v ON v.id = e.version_id AND g.name = ANY(v.watches)
    WHERE (SELECT true FROM versions LIMIT 1) AND g.name IN (SELECT unnest(watches) FROM versions)
), locked AS MATERIALIZED (
    SELECT e.id, e.awaits, e.awaits_any FROM enrollments e
    WHERE e.tenant_id = %(tenant)s AND e.id IN (SELECT id FROM found) AND e.state = 'open' ORDER BY e.id FOR SHARE
), told AS (
    INSERT INTO enrollment_inbox (tenant_id, enrollment_id, kind, event_id, event_month)
    SELECT %(tenant)s, f.id, 'event', f.event, f.month FROM found f JOIN locked l ON l.id = f.id ORDER BY f.n
    RETURNING id
), moved AS MATERIALIZED (
    SELECT DISTINCT l.id FROM found f JOIN locked l ON l.id = f.id WHERE l.awaits_any OR f.name = ANY(l.awaits)
), woken AS MATERIALIZED (
    SELECT waypost_wake(array_agg(id)), count(*) AS n FROM moved HAVING count(*) > 0
)
SELECT waypost_now(), (SELECT count(*) FROM told), COALESCE((SELECT n FROM woken), 0)
"""

_WAYS = """
SELECT j.id, v.definition -> 'entry', v.watches FROM journeys j
JOIN journey_versions v ON v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number = j.entering
WHERE j.tenant_id = %(tenant)s AND j.entry_event = ANY(%(distinct)s::text[])
  AND (j.mode = %(mode)s::text OR %(mode)s::text IS NULL)
ORDER BY j.id
"""


async def route(
    connection: Connection, *, tenant: UUID, events: Sequence[StoredEvent], mode: Mode | None = None, depth: int = 0
) -> Routed:
    """Lead events on, in the order of receipt.

    `mode`: the journeys that they concern, a test key's those that send nothing for real; None: both. `depth`: how many
    journeys led to these events, one by another.
    """
    if not events:
        return Routed()
    values = {
        "tenant": tenant,
        "mode": mode,
        "events": [event.id for event in events],
        "months": [event.month for event in events],
        "contacts": [event.contact for event in events],
        "names": [event.name for event in events],
        "distinct": sorted({event.name for event in events}),
    }
    telling = await connection.execute(_TELL, values)
    asking = await connection.execute(_WAYS, values)
    row = await telling.fetchone()
    assert row is not None
    now, told, woken = row
    ways = [
        _Way(journey=journey, entry=EventEntry.model_validate(entry), watches=frozenset(watches))
        for journey, entry, watches in await asking.fetchall()
    ]
    entered, also = await _let_in(connection, tenant, events, ways, now=now, depth=depth)
    return Routed(entered=entered, told=told + also, woken=woken)


async def _let_in(
    connection: Connection,
    tenant: UUID,
    events: Sequence[StoredEvent],
    ways: Sequence[_Way],
    *,
    now: datetime,
    depth: int,
) -> tuple[int, int]:
    """How many entered, and of how many later events of the same batch they were told."""
    if not ways:
        return 0, 0
    coming = list(_entrances(events, ways, now=now, depth=depth))
    answers = await enter(connection, tenant=tenant, entrances=[entrance for _, _, entrance in coming])
    notes = [
        (answer.enrollment, event)
        for (place, way, _), answer in zip(coming, answers, strict=True)
        if isinstance(answer, Entered)
        for event in events[place + 1 :]
        if event.contact == answer.entrance.contact and event.name in way.watches
    ]
    await _leave_notes(connection, tenant, notes)
    return sum(isinstance(answer, Entered) for answer in answers), len(notes)


def _entrances(
    events: Sequence[StoredEvent], ways: Sequence[_Way], *, now: datetime, depth: int
) -> Iterator[tuple[int, _Way, Entrance]]:
    for place, event in enumerate(events):
        deed = Deed(name=event.name, occurred_at=event.occurred_at, properties=event.properties)
        for way in ways:
            if enters(way.entry, deed, now=now):
                yield (
                    place,
                    way,
                    Entrance(
                        journey=way.journey,
                        contact=event.contact,
                        source="event",
                        key=entry_key(way.entry, deed) or "",
                        data=event.properties,
                        depth=depth,
                    ),
                )


# Of those who have just entered: their executions begin after the commit, and need no waking.
_NOTES = """
INSERT INTO enrollment_inbox (tenant_id, enrollment_id, kind, event_id, event_month)
SELECT %s, n.enrollment, 'event', n.event, n.month
FROM unnest(%s::uuid[], %s::uuid[], %s::date[]) WITH ORDINALITY AS n (enrollment, event, month, place) ORDER BY n.place
"""


async def _leave_notes(connection: Connection, tenant: UUID, notes: Sequence[tuple[UUID, StoredEvent]]) -> None:
    if notes:
        people = [enrollment for enrollment, _ in notes]
        events, months = [event.id for _, event in notes], [event.month for _, event in notes]
        await connection.execute(_NOTES, (tenant, people, events, months))


_READ = """
SELECT e.id, e.month, e.contact_id, e.name, e.properties, e.occurred_at
FROM unnest(%s::uuid[]) WITH ORDINALITY AS o (id, n)
JOIN contact_events e ON e.tenant_id = %s AND e.id = o.id ORDER BY o.n
"""


async def route_events(
    connection: Connection, *, tenant: UUID, events: Sequence[UUID], mode: Mode | None = None, depth: int = 0
) -> Routed:
    """The same for events that are known by their ids alone."""
    rows = await (await connection.execute(_READ, (list(events), tenant))).fetchall()
    stored = [
        StoredEvent(id=row[0], month=row[1], contact=row[2], name=row[3], properties=row[4], occurred_at=row[5])
        for row in rows
    ]
    return await route(connection, tenant=tenant, events=stored, mode=mode, depth=depth)
