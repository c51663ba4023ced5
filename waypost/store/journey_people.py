"""The people in a journey, many at once: moved to another version, taken out, counted. Nothing here commits.

A batch is a transaction of the caller's; what was interrupted is finished by asking again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from waypost.journeys.document import Journey, read_journey
from waypost.journeys.versions import Way
from waypost.messaging import ids
from waypost.store.enrollment_inbox import tell
from waypost.store.errors import NotFoundError

Connection = AsyncConnection[Any]

BATCH = 500

_DEFINITION = """
SELECT definition FROM journey_versions WHERE tenant_id = %s AND journey_id = %s AND number = %s
"""


async def read_version(connection: Connection, *, tenant: UUID, journey: UUID, number: int) -> Journey:
    """A published version. Raises `NotFoundError`."""
    row = await (await connection.execute(_DEFINITION, (tenant, journey, number))).fetchone()
    if row is None:
        raise NotFoundError("version of this journey")
    return read_journey(row[0])


_AT_STEPS = """
SELECT step, count(*) FROM enrollments WHERE tenant_id = %s AND version_id = %s AND state = 'open' GROUP BY step
"""


async def count_at_steps(connection: Connection, *, tenant: UUID, journey: UUID, number: int) -> dict[str | None, int]:
    """How many of a version's people are at each step; None: before the first one."""
    version = ids.journey_version_id(journey=journey, number=number)
    return dict(await (await connection.execute(_AT_STEPS, (tenant, version))).fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What came of one batch. `after` is where the next one begins; None: there is none."""

    moved: int
    left: int
    after: UUID | None


_CHOOSE = """
SELECT id, step FROM enrollments
WHERE tenant_id = %(tenant)s AND version_id = %(before)s AND state = 'open' AND id > %(after)s
ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE
"""

# Whoever stays at its step goes on resting there and looks at it anew; all others are put at another one.
_MOVE = """
WITH chosen AS (
    SELECT * FROM jsonb_to_recordset(%(people)s) AS c (id uuid, "to" text, stays boolean)
), moved AS (
    UPDATE enrollments e SET version_id = %(version)s FROM chosen c WHERE e.tenant_id = %(tenant)s AND e.id = c.id
    RETURNING e.id
), told AS (
    INSERT INTO enrollment_inbox (tenant_id, enrollment_id, kind, detail)
    SELECT %(tenant)s, c.id, CASE WHEN c.stays THEN 'look' ELSE 'move' END,
           CASE WHEN c.stays THEN '{}' ELSE jsonb_build_object('step', c.to) END
    FROM chosen c JOIN moved m ON m.id = c.id WHERE c.to IS NOT NULL
    RETURNING enrollment_id
), woken AS (
    SELECT waypost_wake(array_agg(enrollment_id)) FROM told HAVING count(*) > 0
)
SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM woken)
"""


async def move_people(
    connection: Connection,
    *,
    tenant: UUID,
    journey: UUID,
    before: int,
    number: int,
    ways: Mapping[str, Way | None],
    after: UUID,
) -> Moved:
    """Move a batch of the people in version `before` to another one. Who is at a step that leads nowhere is left."""
    values = {
        "tenant": tenant,
        "before": ids.journey_version_id(journey=journey, number=before),
        "version": ids.journey_version_id(journey=journey, number=number),
        "after": after,
        "limit": BATCH,
    }
    chosen = await (await connection.execute(_CHOOSE, values)).fetchall()
    people = [one for row in chosen if (one := _person(row[0], row[1], ways)) is not None]
    if people:
        await connection.execute(_MOVE, values | {"people": Jsonb(people)})
    last = chosen[-1][0] if len(chosen) == BATCH else None
    return Moved(moved=len(people), left=len(chosen) - len(people), after=last)


def _person(enrollment: UUID, step: str | None, ways: Mapping[str, Way | None]) -> dict[str, Any] | None:
    if step is None:
        return {"id": str(enrollment), "to": None, "stays": False}
    way = ways.get(step)
    return None if way is None else {"id": str(enrollment), "to": way.to, "stays": way.stays}


_WATCH = """
UPDATE journeys j SET watches_contacts = true FROM journey_versions v
WHERE j.tenant_id = %(tenant)s AND j.id = %(journey)s AND NOT j.watches_contacts
  AND v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number = %(number)s AND v.conditions
"""


async def watch_contacts(connection: Connection, *, tenant: UUID, journey: UUID, number: int) -> None:
    """People are about to go on in this version, which may need to know of every change of them."""
    await connection.execute(_WATCH, {"tenant": tenant, "journey": journey, "number": number})


_OPEN = """
SELECT e.id FROM enrollments e JOIN journey_versions v ON v.tenant_id = e.tenant_id AND v.id = e.version_id
WHERE v.tenant_id = %(tenant)s AND v.journey_id = %(journey)s AND e.state = 'open' AND e.id > %(after)s
  AND NOT EXISTS (SELECT FROM enrollment_inbox i
                  WHERE i.tenant_id = e.tenant_id AND i.enrollment_id = e.id AND i.kind = 'remove')
ORDER BY e.id LIMIT %(limit)s
"""


async def remove_people(connection: Connection, *, tenant: UUID, journey: UUID, after: UUID) -> Moved:
    """Take a batch of the people in a journey out of it, whatever their version; each is told once."""
    values = {"tenant": tenant, "journey": journey, "after": after, "limit": BATCH}
    found = [row[0] for row in await (await connection.execute(_OPEN, values)).fetchall()]
    told = await tell(connection, tenant=tenant, enrollments=found, kind="remove")
    return Moved(moved=len(told), left=0, after=found[-1] if len(found) == BATCH else None)


_NOTE = """
INSERT INTO journey_audit (tenant_id, journey_id, enrollment_id, action, actor, detail)
VALUES (%(tenant)s, %(journey)s, %(enrollment)s, %(action)s, %(actor)s, %(detail)s)
"""


async def note_deed(
    connection: Connection,
    *,
    tenant: UUID,
    journey: UUID,
    action: str,
    actor: str,
    enrollment: UUID | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down who did what."""
    values = {
        "tenant": tenant,
        "journey": journey,
        "enrollment": enrollment,
        "action": action,
        "actor": actor,
        "detail": Jsonb(dict(detail or {})),
    }
    await connection.execute(_NOTE, values)
