"""A decision about an enrollment: what it reads, under the enrollment's lock, and what it writes.

As waypost_app for one tenant, inside the caller's transaction, which commits. Locks in everybody's order: the
enrollment, then its messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection, sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from waypost.segments.references import segment_keys
from waypost.segments.rules import Rule
from waypost.store.audiences import referred_segments
from waypost.store.segment_sql import RuleCompiler

Connection = AsyncConnection[Any]

INBOX_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEnrollment:
    """An enrollment with what surrounds it. Times are the database's."""

    now: datetime
    tenant_id: UUID
    id: UUID
    journey_id: UUID
    journey_key: str
    journey_state: str
    version_id: UUID
    contact_id: UUID
    contact_gone: bool
    external_id: str | None
    contact_zone: str | None
    attributes: dict[str, Any] | None = field(repr=False)
    mode: str
    depth: int
    state: str
    how: str | None
    data: dict[str, Any] = field(repr=False)
    step: str | None
    visits: int
    resting_since: datetime | None
    place: dict[str, Any]
    pauses: int
    pauses_seen: int
    paused_at: datetime | None
    entered_at: datetime
    tenant_state: str
    tenant_zone: str
    placement: str


_LOAD = """
SELECT waypost_now() AS now, e.tenant_id, e.id, e.journey_id, j.key AS journey_key, j.state AS journey_state,
       e.version_id, e.contact_id, c.id IS NULL AS contact_gone, c.external_id, c.time_zone AS contact_zone,
       c.attributes, e.mode, e.depth, e.state, e.how, e.data, e.step, e.visits, e.resting_since, e.place, j.pauses,
       e.pauses_seen, e.paused_at, e.entered_at, t.state AS tenant_state, t.time_zone AS tenant_zone, t.placement
FROM enrollments e
JOIN tenants t ON t.id = e.tenant_id
JOIN journeys j ON j.tenant_id = e.tenant_id AND j.id = e.journey_id
LEFT JOIN LATERAL (SELECT * FROM contacts WHERE tenant_id = e.tenant_id AND id = e.contact_id LIMIT 1) c ON true
WHERE e.tenant_id = %s AND e.id = %s
FOR NO KEY UPDATE OF e
"""


async def load_enrollment(connection: Connection, *, tenant: UUID, enrollment: UUID) -> LoadedEnrollment | None:
    """An enrollment, locked; None where the tenant has no such enrollment."""
    async with connection.cursor(row_factory=class_row(LoadedEnrollment)) as cursor:
        await cursor.execute(_LOAD, (tenant, enrollment))
        return await cursor.fetchone()


async def load_version(connection: Connection, *, tenant: UUID, version: UUID) -> tuple[dict[str, Any], str]:
    """The definition and the plan of a version. Raises LookupError where there is none."""
    statement = "SELECT definition, plan FROM journey_versions WHERE tenant_id = %s AND id = %s"
    row = await (await connection.execute(statement, (tenant, version))).fetchone()
    if row is None:
        raise LookupError(f"there is no journey version {version}")
    return row[0], row[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A row of the inbox. Of an event, what the contact did."""

    id: int
    at: datetime
    kind: str
    detail: dict[str, Any]
    name: str | None
    properties: dict[str, Any] | None = field(repr=False)
    occurred_at: datetime | None


# While it is paused, what was looked at once is left for the resume.
_INBOX = """
SELECT i.id, i.at, i.kind, i.detail, v.name, v.properties, v.occurred_at
FROM enrollment_inbox i
LEFT JOIN LATERAL (
    SELECT name, properties, occurred_at FROM contact_events
    WHERE tenant_id = i.tenant_id AND id = i.event_id AND month = i.event_month LIMIT 1) v ON true
WHERE i.tenant_id = %(tenant)s AND i.enrollment_id = %(enrollment)s AND i.id > %(after)s
  AND NOT (%(paused)s AND i.detail ? 'held')
ORDER BY i.id LIMIT %(limit)s
"""


async def load_inbox(
    connection: Connection, *, tenant: UUID, enrollment: UUID, paused: bool, after: int = 0
) -> list[Told]:
    """What the enrollment is told, in the order of receipt, so much at once."""
    values = {
        "tenant": tenant,
        "enrollment": enrollment,
        "paused": paused,
        "after": after,
        "limit": INBOX_AT_ONCE,
    }
    async with connection.cursor(row_factory=class_row(Told)) as cursor:
        await cursor.execute(_INBOX, values)
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause of the journey that the enrollment has not gone past."""

    number: int
    paused_at: datetime
    resumed_at: datetime | None
    policy: str | None


_PAUSES = """
SELECT p.number, p.paused_at, p.resumed_at, p.policy FROM journey_pauses p
JOIN enrollments e ON e.tenant_id = p.tenant_id AND e.journey_id = p.journey_id
WHERE e.tenant_id = %s AND e.id = %s AND p.number > e.pauses_seen ORDER BY p.number
"""


async def load_pauses(connection: Connection, *, tenant: UUID, enrollment: UUID) -> list[Pause]:
    """The pauses of the enrollment's journey that it has not gone past, in their order."""
    async with connection.cursor(row_factory=class_row(Pause)) as cursor:
        await cursor.execute(_PAUSES, (tenant, enrollment))
        return await cursor.fetchall()


async def ask(connection: Connection, *, tenant: UUID, contact: UUID, rules: Sequence[Rule]) -> list[bool]:
    """Whether each rule holds for a contact now, all in one statement.

    Raises `AudienceError` for a segment that is not there. A contact that is gone is in nothing.
    """
    if not rules:
        return []
    segments: dict[str, Rule] = {}
    for rule in rules:
        if segment_keys(rule) - segments.keys():
            segments |= await referred_segments(connection, tenant=tenant, rule=rule)
    compiler = RuleCompiler(tenant=tenant, segments=segments)
    statement = sql.SQL("SELECT ARRAY[{}]::boolean[] FROM contacts c WHERE c.tenant_id = {} AND c.id = {}").format(
        sql.SQL(", ").join([compiler.condition(rule) for rule in rules]), sql.Literal(tenant), sql.Literal(contact)
    )
    row = await (await connection.execute(statement)).fetchone()
    return [False] * len(rules) if row is None else list(row[0])


@dataclass(slots=True, kw_only=True)
class VisitDraft:
    """A step that was taken, as it is to be written."""

    number: int
    step: str
    kind: str
    entered_at: datetime
    left_at: datetime | None = None
    waited_until: datetime | None = None
    edge: str | None = None
    why: dict[str, Any] = field(default_factory=dict)


# A visit of an earlier decision is only told how it was left; what it knew of why is kept.
_VISITS = """
INSERT INTO enrollment_visits (tenant_id, enrollment_id, number, step, kind, entered_at, left_at, waited_until, edge,
    why)
SELECT %(tenant)s, %(enrollment)s, v.* FROM jsonb_to_recordset(%(visits)s::jsonb) AS v (
    number integer, step text, kind text, entered_at timestamptz, left_at timestamptz, waited_until timestamptz,
    edge text, why jsonb)
ON CONFLICT (tenant_id, enrollment_id, number) DO UPDATE SET left_at = excluded.left_at, edge = excluded.edge,
    waited_until = COALESCE(enrollment_visits.waited_until, excluded.waited_until),
    why = enrollment_visits.why || excluded.why
"""


async def write_visits(connection: Connection, *, tenant: UUID, enrollment: UUID, visits: Sequence[VisitDraft]) -> None:
    """Write new visits, and how earlier ones were left."""
    if visits:
        rows = orjson.dumps(list(visits)).decode()
        await connection.execute(_VISITS, {"tenant": tenant, "enrollment": enrollment, "visits": rows})


_TAKE = "DELETE FROM enrollment_inbox WHERE tenant_id = %s AND enrollment_id = %s AND id = ANY(%s)"
_TAKE_ALL = "DELETE FROM enrollment_inbox WHERE tenant_id = %s AND enrollment_id = %s"
_HOLD = """
UPDATE enrollment_inbox SET detail = detail || '{"held": true}'
WHERE tenant_id = %s AND enrollment_id = %s AND id = ANY(%s)
"""


async def take_inbox(
    connection: Connection, *, tenant: UUID, enrollment: UUID, done: Sequence[int], held: Sequence[int], ended: bool
) -> None:
    """What was told is done with, or held for a resume; of one that is over everything is done with."""
    if ended:
        await connection.execute(_TAKE_ALL, (tenant, enrollment))
        return
    if done:
        await connection.execute(_TAKE, (tenant, enrollment, list(done)))
    if held:
        await connection.execute(_HOLD, (tenant, enrollment, list(held)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an enrollment is after a decision."""

    data: dict[str, Any] = field(repr=False)
    step: str | None
    visits: int
    resting_since: datetime | None
    wakes_at: datetime | None
    awaits: Sequence[str]
    awaits_any: bool
    place: dict[str, Any]
    pauses_seen: int
    paused_at: datetime | None
    how: str | None = None
    reason: str | None = None


_SAVE = """
UPDATE enrollments SET data = %(data)s, step = %(step)s, visits = %(visits)s, resting_since = %(resting_since)s,
       wakes_at = %(wakes_at)s, awaits = %(awaits)s, awaits_any = %(awaits_any)s, place = %(place)s,
       pauses_seen = %(pauses_seen)s, paused_at = %(paused_at)s, decided_at = waypost_now(),
       started_at = COALESCE(started_at, waypost_now()), how = %(how)s, reason = %(reason)s,
       state = CASE WHEN %(how)s::text IS NULL THEN 'open' ELSE 'ended' END,
       ended_at = CASE WHEN %(how)s::text IS NOT NULL THEN waypost_now() END
WHERE tenant_id = %(tenant)s AND id = %(enrollment)s
"""


async def save_enrollment(connection: Connection, *, tenant: UUID, enrollment: UUID, standing: Standing) -> None:
    """Write where the enrollment is now."""
    values = {
        "tenant": tenant,
        "enrollment": enrollment,
        "data": Jsonb(standing.data),
        "step": standing.step,
        "visits": standing.visits,
        "resting_since": standing.resting_since,
        "wakes_at": standing.wakes_at,
        "awaits": list(standing.awaits),
        "awaits_any": standing.awaits_any,
        "place": Jsonb(standing.place),
        "pauses_seen": standing.pauses_seen,
        "paused_at": standing.paused_at,
        "how": standing.how,
        "reason": standing.reason,
    }
    await connection.execute(_SAVE, values)
