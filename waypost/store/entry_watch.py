"""Who is inside the segment that a journey is entered by, and whose date comes when. Nothing here commits.

`journey_watched` has a row of each contact that matters. Its `next_at`: NULL where the contact is inside a segment and
has come in; a time at which the contact enters; '-infinity' where the time is yet to be found out.
"""

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql
from pydantic import TypeAdapter

from waypost.journeys.entries import DateEntry, Entry, SegmentEntry
from waypost.store.audiences import audience_query

Connection = AsyncConnection[Any]

_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)

# As long as a million rows take.
_PATIENT = "SET LOCAL statement_timeout = '10min'"

_PUBLISHED = """
SELECT v.definition -> 'entry', v.definition ->> 'time_zone', p.definition -> 'entry', p.definition ->> 'time_zone'
FROM journeys j
JOIN journey_versions v ON v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number = j.entering
LEFT JOIN journey_versions p ON p.tenant_id = j.tenant_id AND p.journey_id = j.id AND p.number = j.entering - 1
WHERE j.tenant_id = %s AND j.id = %s
"""

_FORGET = "DELETE FROM journey_watched WHERE tenant_id = %s AND journey_id = %s"


async def baseline(connection: Connection, *, tenant: UUID, journey: UUID) -> None:
    """The journey's latest version was just published: who is inside its segment by now does not enter.

    Where people come in as they did in the version before, it knows already. Raises `AudienceError` for a segment that
    is not there.
    """
    row = await (await connection.execute(_PUBLISHED, (tenant, journey))).fetchone()
    if row is None or row[:2] == row[2:]:
        return
    await connection.execute(_PATIENT)
    await connection.execute(_FORGET, (tenant, journey))
    match _ENTRY.validate_python(row[0]):
        case SegmentEntry() as entry:
            await _inside(connection, tenant=tenant, journey=journey, segment=entry.segment)
        case DateEntry() as entry:
            await _dated(connection, tenant=tenant, journey=journey, path=entry.attribute)
        case _:
            pass


_INSIDE = """
INSERT INTO journey_watched (tenant_id, journey_id, contact_id)
SELECT {tenant}, {journey}, a.id FROM ({audience}) a ORDER BY 3 ON CONFLICT DO NOTHING
"""


async def _inside(connection: Connection, *, tenant: UUID, journey: UUID, segment: str) -> None:
    audience = await audience_query(connection, tenant=tenant, audience={"segment": segment})
    await connection.execute(
        sql.SQL(_INSIDE).format(tenant=sql.Literal(tenant), journey=sql.Literal(journey), audience=audience)
    )


_DATED = """
INSERT INTO journey_watched (tenant_id, journey_id, contact_id, next_at)
SELECT c.tenant_id, %(journey)s, c.id, '-infinity' FROM contacts c
WHERE c.tenant_id = %(tenant)s AND jsonb_typeof(c.attributes #> %(path)s) = 'string'
ORDER BY c.id ON CONFLICT DO NOTHING
"""


async def _dated(connection: Connection, *, tenant: UUID, journey: UUID, path: str) -> None:
    """Everybody who has the attribute: a loop finds out when its date comes."""
    await connection.execute(_DATED, {"tenant": tenant, "journey": journey, "path": path.split(".")})
