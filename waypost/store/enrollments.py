"""Enrollments as their tenant sees them, and what a person does to one. In the caller's transaction; no commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.store.errors import NotFoundError
from waypost.store.pages import Place

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """One contact's run of a journey. `contact` is None once the contact is forgotten."""

    id: UUID
    journey_id: UUID
    journey: str
    journey_state: str
    version: int
    contact: str | None
    entry_key: str
    number: int
    mode: str
    source: str
    state: str
    data: dict[str, Any] = field(repr=False)
    step: str | None
    visits: int
    resting_since: datetime | None
    wakes_at: datetime | None
    awaits: Sequence[str]
    awaits_any: bool
    paused_at: datetime | None
    entered_at: datetime
    decided_at: datetime | None
    ended_at: datetime | None
    how: str | None
    reason: str | None


_READ = """
SELECT e.id, e.journey_id, j.key AS journey, j.state AS journey_state, v.number AS version,
       (SELECT c.external_id FROM contacts c WHERE c.tenant_id = e.tenant_id AND c.id = e.contact_id) AS contact,
       e.entry_key, e.number, e.mode, e.source, e.state, e.data, e.step, e.visits, e.resting_since, e.wakes_at,
       e.awaits, e.awaits_any, e.paused_at, e.entered_at, e.decided_at, e.ended_at, e.how, e.reason
FROM enrollments e
JOIN journeys j ON j.tenant_id = e.tenant_id AND j.id = e.journey_id
JOIN journey_versions v ON v.tenant_id = e.tenant_id AND v.id = e.version_id
WHERE e.tenant_id = %(tenant)s
"""
_ONE = _READ + " AND e.id = %(enrollment)s AND e.mode = %(mode)s"
_LOCKED = _ONE + " FOR NO KEY UPDATE OF e"


async def get_enrollment(
    connection: Connection, *, tenant: UUID, enrollment: UUID, mode: str, lock: bool = False
) -> Enrollment:
    """One enrollment. Raises `NotFoundError`, also for one of the other mode. Locked, nothing is decided meanwhile."""
    async with connection.cursor(row_factory=class_row(Enrollment)) as cursor:
        await cursor.execute(_LOCKED if lock else _ONE, {"tenant": tenant, "enrollment": enrollment, "mode": mode})
        found = await cursor.fetchone()
    if found is None:
        raise NotFoundError("enrollment")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which enrollments of a journey; None leaves open."""

    state: str | None = None
    step: str | None = None
    contact: UUID | None = None


# Only what is asked for is said: each statement is planned for itself.
_OF_JOURNEY = _READ + " AND e.journey_id = %(journey)s"
_STATE = " AND e.state = %(state)s"
_STEP = " AND e.step = %(step)s"
_CONTACT = " AND e.contact_id = %(contact)s"
_AFTER = " AND (e.entered_at, e.id) > (%(at)s, %(after)s)"
_IN_ORDER = " ORDER BY e.entered_at, e.id LIMIT %(limit)s"


async def list_enrollments(
    connection: Connection, *, tenant: UUID, journey: UUID, asked: Asked, after: Place | None, limit: int
) -> tuple[list[Enrollment], Place | None]:
    """A journey's enrollments in the order in which people came in."""
    values = {
        "tenant": tenant,
        "journey": journey,
        "state": asked.state,
        "step": asked.step,
        "contact": asked.contact,
        "at": after.created_at if after else None,
        "after": after.id if after else None,
        "limit": limit + 1,
    }
    async with connection.cursor(row_factory=class_row(Enrollment)) as cursor:
        await cursor.execute(_many(asked, after), values)
        rows = await cursor.fetchall()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], Place(rows[limit - 1].entered_at, rows[limit - 1].id)


def _many(asked: Asked, after: Place | None) -> LiteralString:
    statement: LiteralString = _OF_JOURNEY
    statement += _STATE if asked.state is not None else ""
    statement += _STEP if asked.step is not None else ""
    statement += _CONTACT if asked.contact is not None else ""
    statement += _AFTER if after is not None else ""
    return statement + _IN_ORDER


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenStep:
    """A visit: a step that was taken."""

    number: int
    step: str
    kind: str
    entered_at: datetime
    left_at: datetime | None
    waited_until: datetime | None
    edge: str | None
    why: Mapping[str, Any]


_VISITS = """
SELECT number, step, kind, entered_at, left_at, waited_until, edge, why FROM enrollment_visits
WHERE tenant_id = %(tenant)s AND enrollment_id = %(enrollment)s ORDER BY number
"""


async def list_visits(connection: Connection, *, tenant: UUID, enrollment: UUID) -> list[TakenStep]:
    """The steps that were taken, in order; a bound of the language keeps them few."""
    async with connection.cursor(row_factory=class_row(TakenStep)) as cursor:
        await cursor.execute(_VISITS, {"tenant": tenant, "enrollment": enrollment})
        return await cursor.fetchall()


_DEFINITION = """
SELECT v.definition FROM journey_versions v
WHERE v.tenant_id = %(tenant)s AND v.journey_id = %(journey)s AND v.number = %(number)s
"""


async def read_definition(connection: Connection, *, tenant: UUID, journey: UUID, number: int) -> dict[str, Any]:
    """What a version says."""
    values = {"tenant": tenant, "journey": journey, "number": number}
    row = await (await connection.execute(_DEFINITION, values)).fetchone()
    if row is None:
        raise NotFoundError("version of this journey")
    definition: dict[str, Any] = row[0]
    return definition


_WAITING = """
SELECT kind, count(*) FROM enrollment_inbox WHERE tenant_id = %s AND enrollment_id = %s GROUP BY kind ORDER BY kind
"""


async def waiting_words(connection: Connection, *, tenant: UUID, enrollment: UUID) -> dict[str, int]:
    """What the enrollment was told and has not decided about yet, counted by kind."""
    return dict(await (await connection.execute(_WAITING, (tenant, enrollment))).fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMessage:
    """A message of an enrollment that is not sent yet. `due_at` None: it waits for another one."""

    id: UUID
    part: str
    channel: str
    visit: int
    due_at: datetime | None
    hold_reason: str | None


_MESSAGES = """
SELECT id, part, channel, (metadata ->> 'visit')::integer AS visit, due_at, hold_reason FROM messages
WHERE tenant_id = %(tenant)s AND enrollment_id = %(enrollment)s AND outcome IS NULL ORDER BY created_at, part DESC, id
"""


async def open_messages(connection: Connection, *, tenant: UUID, enrollment: UUID) -> list[OpenMessage]:
    """What is to be sent to somebody: the message of the step, and fallbacks of those before."""
    async with connection.cursor(row_factory=class_row(OpenMessage)) as cursor:
        await cursor.execute(_MESSAGES, {"tenant": tenant, "enrollment": enrollment})
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A journey that somebody is to be enrolled in. `keyed`: one at a time of each key."""

    id: UUID
    state: str
    keyed: bool


_TARGET = """
SELECT j.id, j.state, COALESCE(v.definition ->> 'reentry' = 'per_key', false) AS keyed
FROM journeys j
LEFT JOIN journey_versions v ON v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number = j.entering
WHERE j.tenant_id = %(tenant)s AND j.key = %(key)s AND j.mode = %(mode)s
"""


async def find_target(connection: Connection, *, tenant: UUID, key: str, mode: str) -> Target:
    """The journey of a key. Raises `NotFoundError`."""
    async with connection.cursor(row_factory=class_row(Target)) as cursor:
        await cursor.execute(_TARGET, {"tenant": tenant, "key": key, "mode": mode})
        found = await cursor.fetchone()
    if found is None:
        raise NotFoundError("journey")
    return found


_OPEN = """
SELECT id FROM enrollments
WHERE tenant_id = %(tenant)s AND journey_id = %(journey)s AND contact_id = %(contact)s AND entry_key = %(key)s
  AND state = 'open'
"""


async def find_open(connection: Connection, *, tenant: UUID, journey: UUID, contact: UUID, key: str) -> UUID | None:
    """Who is in a journey now; None where it has left meanwhile."""
    values = {"tenant": tenant, "journey": journey, "contact": contact, "key": key}
    row = await (await connection.execute(_OPEN, values)).fetchone()
    return None if row is None else row[0]
