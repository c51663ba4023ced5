"""What the drill reads of enrollments: where they are, and what came of them in the end (role waypost_relay)."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

_PLACES = """
SELECT c.external_id, e.id, e.step,
       (SELECT true FROM enrollments o WHERE o.tenant_id = e.tenant_id AND o.contact_id = e.contact_id
          AND o.state = 'open' AND o.id <> e.id LIMIT 1) IS NULL
FROM enrollments e
JOIN journeys j ON j.tenant_id = e.tenant_id AND j.id = e.journey_id AND j.key = %s
JOIN contacts c ON c.tenant_id = e.tenant_id AND c.id = e.contact_id
WHERE e.state = 'open' AND e.resting_since IS NOT NULL
"""

_VISITS_TAKEN = "SELECT count(*) FROM enrollment_visits"

_OPEN = "SELECT count(*) FROM enrollments WHERE state = 'open'"

_ENDS = """
SELECT j.key, c.external_id, e.id, e.contact_id, e.state, e.how, e.reason, e.step FROM enrollments e
JOIN journeys j ON j.tenant_id = e.tenant_id AND j.id = e.journey_id
JOIN contacts c ON c.tenant_id = e.tenant_id AND c.id = e.contact_id
"""

_VISITS = "SELECT enrollment_id, number, step, edge, kind FROM enrollment_visits ORDER BY enrollment_id, number"

# A fallback that was not needed is none.
_SENDS = """
SELECT m.enrollment_id, m.metadata ->> 'visit', m.part, m.outcome FROM messages m
WHERE m.enrollment_id IS NOT NULL AND m.outcome IS NOT NULL AND m.outcome <> 'cancelled'
  AND NOT (m.part = 'fallback' AND m.outcome_reason = 'primary_delivered')
"""

_EMITTED = """
SELECT c.external_id FROM contact_events v
JOIN contacts c ON c.tenant_id = v.tenant_id AND c.id = v.contact_id WHERE v.name = %s
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody who rests at a step."""

    contact: str
    enrollment: UUID
    step: str
    elsewhere_done: bool
    """It is in no other journey, so that nothing but this one writes to it."""


async def places(connection: Connection, journey: str) -> list[Place]:
    """Where those who are in a journey rest."""
    return [Place(*row) for row in await (await connection.execute(_PLACES, (journey,))).fetchall()]


async def visits_taken(connection: Connection) -> int:
    """How many steps were ever taken."""
    return await _count(connection, _VISITS_TAKEN)


async def open_enrollments(connection: Connection) -> int:
    """How many are under way, of all journeys."""
    return await _count(connection, _OPEN)


async def _count(connection: Connection, statement: str) -> int:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    count: int = row[0]
    return count


@dataclass(slots=True, kw_only=True)
class Walked:
    """One enrollment as its rows tell it: steps as (step, edge), messages as (visit, part, outcome)."""

    id: UUID
    contact_id: UUID
    state: str
    ending: tuple[str | None, str | None, str | None]
    steps: list[tuple[str, str | None]] = field(default_factory=list)
    sends: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllWalked:
    """Every enrollment by journey and contact, and the kinds of the steps that were taken."""

    of: Mapping[str, Mapping[str, list[Walked]]]
    kinds: frozenset[str]
    emitted: Counter[str]
    """By contact, how often the emitted event is there."""


async def all_walked(connection: Connection, *, emitted: str) -> AllWalked:
    """Read everything."""
    of: defaultdict[str, defaultdict[str, list[Walked]]] = defaultdict(lambda: defaultdict(list))
    by_id: dict[UUID, Walked] = {}
    for key, contact, identity, contact_id, state, how, reason, step in await _all(connection, _ENDS):
        by_id[identity] = Walked(id=identity, contact_id=contact_id, state=state, ending=(how, reason, step))
        of[key][contact].append(by_id[identity])
    kinds = set()
    for identity, _, step, edge, kind in await _all(connection, _VISITS):
        by_id[identity].steps.append((step, edge))
        kinds.add(kind)
    for identity, visit, part, outcome in await _all(connection, _SENDS):
        by_id[identity].sends.append((int(visit), part, outcome))
    return AllWalked(
        of=of,
        kinds=frozenset(kinds),
        emitted=Counter(row[0] for row in await _all(connection, _EMITTED, emitted)),
    )


async def _all(connection: Connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement, values)).fetchall()
