"""Who is inside the segment that a journey is entered by, and whose date comes when. Nothing here commits.

`journey_watched` has a row of each contact that matters. Its `next_at`: NULL where the contact is inside a segment and
has come in; a time at which the contact enters; '-infinity' where the time is yet to be found out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import class_row
from pydantic import TypeAdapter

from waypost.journeys.entries import DateEntry, Entry, ScheduleEntry, SegmentEntry
from waypost.messaging.zones import known_zone, zone_names
from waypost.segments.rules import SegmentRule
from waypost.store.audiences import audience_query, compiler_of

Connection = AsyncConnection[Any]

_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


async def patiently(connection: Connection) -> None:
    """From here on the transaction may take as long as a million rows do."""
    await connection.execute("SET LOCAL statement_timeout = '10min'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """A journey that people are watched for, as its latest version says. Times are the database's."""

    now: datetime
    tenant: UUID
    journey: UUID
    state: str
    tenant_state: str
    said: Any
    """The version's `entry`."""
    journey_zone: str | None
    tenant_zone: str
    opened_at: datetime
    """Not before it was published, be it out of the archive; nothing of before brings anybody in."""
    next_entry_at: datetime | None

    @property
    def entry(self) -> Entry:
        """How people come in."""
        return _ENTRY.validate_python(self.said)

    @property
    def zone(self) -> str:
        """The clock of contacts that have none."""
        return known_zone(self.journey_zone, self.tenant_zone)

    @property
    def is_open(self) -> bool:
        """Whether people come in: those who do while it is paused wait at its beginning."""
        return self.state in ("active", "paused") and self.tenant_state == "active"


_WATCHING = """
SELECT waypost_now() AS now, j.tenant_id AS tenant, j.id AS journey, j.state, t.state AS tenant_state,
       v.definition -> 'entry' AS said, v.definition ->> 'time_zone' AS journey_zone, t.time_zone AS tenant_zone,
       j.updated_at AS opened_at, j.next_entry_at
FROM journeys j JOIN tenants t ON t.id = j.tenant_id
JOIN journey_versions v ON v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number = j.entering
"""

_OF_TENANT = (
    _WATCHING + "WHERE j.tenant_id = %s AND t.state = 'active' AND j.state IN ('active', 'paused')"
    " AND j.entry_kind IN ('segment', 'contact_date') AND j.watches_contacts ORDER BY j.id"
)


async def watching(connection: Connection, *, tenant: UUID) -> list[Watching]:
    """The tenant's journeys that a change of a contact may bring somebody into; none of a tenant that is closing."""
    async with connection.cursor(row_factory=class_row(Watching)) as cursor:
        await cursor.execute(_OF_TENANT, (tenant,))
        return await cursor.fetchall()


_ONE = _WATCHING + "WHERE j.tenant_id = %s AND j.id = %s"


async def watching_for(connection: Connection, *, tenant: UUID, journey: UUID) -> Watching | None:
    """One journey; None where none of its versions is published."""
    async with connection.cursor(row_factory=class_row(Watching)) as cursor:
        await cursor.execute(_ONE, (tenant, journey))
        return await cursor.fetchone()


# Publishing


_PREVIOUS = """
SELECT p.definition -> 'entry', p.definition ->> 'time_zone' FROM journeys j
JOIN journey_versions p ON p.tenant_id = j.tenant_id AND p.journey_id = j.id AND p.number = j.entering - 1
WHERE j.tenant_id = %s AND j.id = %s
"""

_FORGET = "DELETE FROM journey_watched WHERE tenant_id = %s AND journey_id = %s"

_DATED = """
INSERT INTO journey_watched (tenant_id, journey_id, contact_id, next_at)
SELECT c.tenant_id, %(journey)s, c.id, '-infinity' FROM contacts c
WHERE c.tenant_id = %(tenant)s AND jsonb_typeof(c.attributes #> %(path)s) = 'string'
ORDER BY c.id ON CONFLICT DO NOTHING
"""


async def baseline(connection: Connection, *, tenant: UUID, journey: UUID, anew: bool = False) -> None:
    """The journey's latest version was just published: who is inside its segment by now does not enter.

    Where people come in as they did in the version before, it knows already; not so out of the archive (`anew`).
    Raises `AudienceError` for a segment that is not there.
    """
    found = await watching_for(connection, tenant=tenant, journey=journey)
    before = await (await connection.execute(_PREVIOUS, (tenant, journey))).fetchone()
    if found is None or (before == (found.said, found.journey_zone) and not anew):
        return
    await patiently(connection)
    await connection.execute(_FORGET, (tenant, journey))
    match found.entry:
        case SegmentEntry():
            await watch_segment(connection, found, enters=False)
        case DateEntry() as entry:
            values = {"tenant": tenant, "journey": journey, "path": entry.attribute.split(".")}
            await connection.execute(_DATED, values)
        case _:
            pass


# Segments. A rule's SQL has everything it says as literals, and runs without parameters.


_WHOLE = """
WITH inside AS MATERIALIZED ({audience}), gone AS (
    DELETE FROM journey_watched w WHERE w.tenant_id = {tenant} AND w.journey_id = {journey}
      AND NOT EXISTS (SELECT FROM inside i WHERE i.id = w.contact_id)
)
INSERT INTO journey_watched (tenant_id, journey_id, contact_id, next_at)
SELECT {tenant}, {journey}, i.id, {at} FROM inside i
WHERE NOT EXISTS (
    SELECT FROM journey_watched w WHERE w.tenant_id = {tenant} AND w.journey_id = {journey} AND w.contact_id = i.id)
ORDER BY i.id ON CONFLICT DO NOTHING
"""


async def watch_segment(connection: Connection, found: Watching, *, enters: bool) -> None:
    """Look at everybody: who has come to be inside enters or, at the beginning, was there before."""
    assert isinstance(found.entry, SegmentEntry)
    audience = await audience_query(connection, tenant=found.tenant, audience={"segment": found.entry.segment})
    await connection.execute(
        sql.SQL(_WHOLE).format(
            audience=audience,
            tenant=sql.Literal(found.tenant),
            journey=sql.Literal(found.journey),
            at=sql.SQL("waypost_now()" if enters else "NULL::timestamptz"),
        )
    )


_SOME = """
WITH inside AS MATERIALIZED (
    SELECT c.id FROM contacts c WHERE c.tenant_id = {tenant} AND c.id = ANY({contacts}) AND {condition}
), gone AS (
    DELETE FROM journey_watched w WHERE w.tenant_id = {tenant} AND w.journey_id = {journey}
      AND w.contact_id = ANY({contacts}) AND w.contact_id NOT IN (SELECT id FROM inside)
)
INSERT INTO journey_watched (tenant_id, journey_id, contact_id)
SELECT {tenant}, {journey}, i.id FROM inside i ORDER BY i.id ON CONFLICT DO NOTHING RETURNING contact_id
"""


async def come_inside(connection: Connection, found: Watching, *, contacts: Sequence[UUID]) -> list[UUID]:
    """Which of these contacts have come to be inside the segment; those who left it are forgotten.

    Raises `AudienceError` for a segment that is not there.
    """
    assert isinstance(found.entry, SegmentEntry)
    rule = SegmentRule(kind="segment", key=found.entry.segment)
    compiler = await compiler_of(connection, tenant=found.tenant, rule=rule)
    cursor = await connection.execute(
        sql.SQL(_SOME).format(
            condition=compiler.condition(rule),
            tenant=sql.Literal(found.tenant),
            journey=sql.Literal(found.journey),
            contacts=sql.Literal(list(contacts)),
        )
    )
    return [row[0] for row in await cursor.fetchall()]


# Schedules


_SCHEDULED = """
INSERT INTO journey_watched (tenant_id, journey_id, contact_id, next_at)
SELECT c.tenant_id, {journey}, c.id, waypost_now() FROM ({audience}) a (id)
JOIN contacts c ON c.tenant_id = {tenant} AND c.id = a.id
WHERE {everybody} OR c.time_zone = ANY({zones})
   OR ({others} AND (c.time_zone IS NULL OR c.time_zone <> ALL({known})))
ORDER BY c.id ON CONFLICT DO NOTHING
"""


async def watch_scheduled(connection: Connection, found: Watching, *, zones: frozenset[str] | None) -> None:
    """A schedule's time has come, for contacts of these zones or (None) all: who is in its audience now enters.

    Raises `AudienceError` for a segment or list that is not there.
    """
    entry = found.entry
    assert isinstance(entry, ScheduleEntry)
    audience = await audience_query(
        connection, tenant=found.tenant, audience={"segment": entry.segment, "list": entry.list}
    )
    await connection.execute(
        sql.SQL(_SCHEDULED).format(
            audience=audience,
            tenant=sql.Literal(found.tenant),
            journey=sql.Literal(found.journey),
            everybody=sql.Literal(zones is None),
            zones=sql.Literal(sorted(zones or ())),
            others=sql.Literal(zones is not None and found.zone in zones),
            known=sql.Literal(sorted(zone_names())),
        )
    )
