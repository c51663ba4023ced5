"""People come into journeys: who may, and the enrollments of those who do. Nothing here commits.

Whoever lets people in tells JOURNEYS_CHANNEL after the commit, so that their executions start at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import class_row
from pydantic import TypeAdapter

from waypost.journeys.entering import PastEntry, may_enter
from waypost.journeys.entries import Reentry
from waypost.messaging import ids

Connection = AsyncConnection[Any]

MAX_DEPTH = 10
"""So many journeys may lead one to the next: two that start each other end here."""

_REENTRY: TypeAdapter[Reentry] = TypeAdapter(Reentry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """Somebody is to come into a journey. `depth`: how many journeys led here, one by another."""

    journey: UUID
    contact: UUID
    source: str
    key: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """Somebody came in."""

    entrance: Entrance
    enrollment: UUID
    version: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEntered:
    """Somebody did not, and why.

    `reason` is one of already_in, only_once, cooling_down, not_active, draining, unknown_contact, too_deep. With the
    first three `enrollment` is the one in the way, where it is known.
    """

    entrance: Entrance
    reason: str
    enrollment: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What decides of an entrance: the journey as it is, the contact, and its last time in there with this key."""

    n: int
    now: datetime
    state: str | None
    version_id: UUID | None
    reentry: Any
    mode: str | None
    draining: bool
    contact_known: bool
    last_id: UUID | None
    last_number: int | None
    last_entered_at: datetime | None
    last_open: bool | None


# People enter what was published last, as soon as nobody is left in the versions before who is to leave first.
# Contacts are locked against their deletion, in one order. It is the contact that finds its enrollments, as an index
# could do nothing with the rest: with statistics of before a journey grew the planner would read everybody's of it.
_FIND = """
WITH given AS MATERIALIZED (
    SELECT g.n::integer, g.journey, g.contact, g.key
    FROM unnest(%(journeys)s::uuid[], %(contacts)s::uuid[], %(keys)s::text[])
         WITH ORDINALITY AS g (journey, contact, key, n)
), known AS MATERIALIZED (
    SELECT c.id FROM contacts c WHERE c.tenant_id = %(tenant)s AND c.id IN (SELECT contact FROM given)
    ORDER BY c.id FOR KEY SHARE
), target AS MATERIALIZED (
    SELECT j.id, j.state, j.mode, v.id AS version_id, v.definition -> 'reentry' AS reentry,
           j.version <> j.entering AND COALESCE((
               SELECT true FROM journey_versions o JOIN enrollments e ON e.tenant_id = o.tenant_id
                   AND e.version_id = o.id AND e.state = 'open'
               WHERE o.tenant_id = j.tenant_id AND o.journey_id = j.id AND o.number < j.entering LIMIT 1), false
           ) AS draining
    FROM journeys j
    LEFT JOIN journey_versions v ON v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number = j.entering
    WHERE j.tenant_id = %(tenant)s AND j.id IN (SELECT journey FROM given)
)
SELECT g.n, waypost_now() AS now, i.state, i.version_id, i.reentry, i.mode, COALESCE(i.draining, false) AS draining,
       k.id IS NOT NULL AS contact_known, p.id AS last_id, p.number AS last_number, p.entered_at AS last_entered_at,
       p.state = 'open' AS last_open
FROM given g LEFT JOIN target i ON i.id = g.journey LEFT JOIN known k ON k.id = g.contact
LEFT JOIN LATERAL (
    SELECT e.id, e.number, e.entered_at, e.state FROM enrollments e
    WHERE e.tenant_id = %(tenant)s AND e.contact_id = g.contact AND e.journey_id IS NOT DISTINCT FROM g.journey
      AND e.entry_key = g.key
    ORDER BY e.number DESC LIMIT 1) p ON true
ORDER BY g.n
"""

# A pause that goes on is still to be noticed, those before it never were this person's.
# One index says that nobody is in twice, another that nobody is in for the n-th time twice: whoever comes second loses.
_ENTER = """
INSERT INTO enrollments (tenant_id, id, journey_id, version_id, contact_id, entry_key, number, mode, source, depth,
    data, pauses_seen)
SELECT %(tenant)s, n.id, n.journey, n.version, n.contact, n.key, n.number, n.mode, n.source, n.depth, n.data,
       j.pauses - (j.state = 'paused')::integer
FROM jsonb_to_recordset(%(people)s::jsonb) AS n (id uuid, journey uuid, version uuid, contact uuid, key text,
    number integer, mode text, source text, depth smallint, data jsonb)
JOIN journeys j ON j.tenant_id = %(tenant)s AND j.id = n.journey
ORDER BY n.id
ON CONFLICT DO NOTHING RETURNING id
"""


async def enter(connection: Connection, *, tenant: UUID, entrances: Sequence[Entrance]) -> list[Entered | NotEntered]:
    """Let people in; what became of each, in order. Of two for the same journey, contact and key the first counts."""
    if not entrances:
        return []
    answers: list[Entered | NotEntered] = []
    taken: dict[tuple[UUID, UUID, str], UUID] = {}
    people: list[dict[str, Any]] = []
    for entrance, found in zip(entrances, await _find(connection, tenant, entrances), strict=True):
        at = (entrance.journey, entrance.contact, entrance.key)
        refused = NotEntered(entrance=entrance, reason="already_in", enrollment=taken[at]) if at in taken else None
        refused = refused or _refusal(entrance, found)
        if refused is not None:
            answers.append(refused)
            continue
        person = _person(entrance, found)
        taken[at] = person["id"]
        people.append(person)
        answers.append(Entered(entrance=entrance, enrollment=person["id"], version=person["version"]))
    made = await _insert(connection, tenant, people)
    return [_overtaken(answer) if _lost(answer, made) else answer for answer in answers]


async def _find(connection: Connection, tenant: UUID, entrances: Sequence[Entrance]) -> list[_Found]:
    values = {
        "tenant": tenant,
        "journeys": [one.journey for one in entrances],
        "contacts": [one.contact for one in entrances],
        "keys": [one.key for one in entrances],
    }
    async with connection.cursor(row_factory=class_row(_Found)) as cursor:
        await cursor.execute(_FIND, values)
        return await cursor.fetchall()


def _refusal(entrance: Entrance, found: _Found) -> NotEntered | None:
    if found.state not in ("active", "paused") or found.version_id is None:
        return NotEntered(entrance=entrance, reason="not_active")
    if entrance.depth > MAX_DEPTH:
        return NotEntered(entrance=entrance, reason="too_deep")
    if not found.contact_known:
        return NotEntered(entrance=entrance, reason="unknown_contact")
    reason = may_enter(_reentry(found.reentry), _past(entrance, found), key=entrance.key, now=found.now)
    if reason is not None:
        return NotEntered(entrance=entrance, reason=reason, enrollment=found.last_id)
    return NotEntered(entrance=entrance, reason="draining") if found.draining else None


def _reentry(said: Any) -> Reentry:
    return "once" if said is None else _REENTRY.validate_python(said)


def _past(entrance: Entrance, found: _Found) -> list[PastEntry]:
    """The last time says it all: it is the latest, and the only one that can be open."""
    if found.last_entered_at is None:
        return []
    return [PastEntry(entered_at=found.last_entered_at, open=bool(found.last_open), key=entrance.key)]


def _person(entrance: Entrance, found: _Found) -> dict[str, Any]:
    number = (found.last_number or 0) + 1
    return {
        "id": ids.enrollment_id(journey=entrance.journey, contact=entrance.contact, key=entrance.key, number=number),
        "journey": entrance.journey,
        "version": found.version_id,
        "contact": entrance.contact,
        "key": entrance.key,
        "number": number,
        "mode": found.mode,
        "source": entrance.source,
        "depth": entrance.depth,
        "data": dict(entrance.data),
    }


async def _insert(connection: Connection, tenant: UUID, people: Sequence[Mapping[str, Any]]) -> frozenset[UUID]:
    if not people:
        return frozenset()
    values = {"tenant": tenant, "people": orjson.dumps(people).decode()}
    return frozenset(row[0] for row in await (await connection.execute(_ENTER, values)).fetchall())


def _lost(answer: Entered | NotEntered, made: frozenset[UUID]) -> bool:
    return isinstance(answer, Entered) and answer.enrollment not in made


def _overtaken(answer: Entered | NotEntered) -> NotEntered:
    """Somebody else let the same person in meanwhile."""
    return NotEntered(entrance=answer.entrance, reason="already_in")
