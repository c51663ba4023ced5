"""Publishing a journey: what it may name, its immutable version, and what of it brings people in from then on.

As waypost_app for one tenant; nothing here commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from waypost.journeys.document import Journey, OnNewVersion, read_journey, write_journey
from waypost.journeys.entries import DateEntry, EventEntry, ScheduleEntry, SegmentEntry
from waypost.journeys.plan import compile_plan, write_plan
from waypost.journeys.surroundings import Surroundings, TemplateFacts
from waypost.journeys.versions import says_the_same
from waypost.journeys.watching import watched_events, watches_contact
from waypost.messaging import ids
from waypost.messaging.values import Channel
from waypost.store.entry_watch import baseline
from waypost.store.errors import ConflictError, NotFoundError

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A journey that is to be published. `before` is what was published last."""

    id: UUID
    mode: str
    state: str
    text: str
    revision: int
    version: int
    entering: int
    before: Journey | None


_DRAFT = """
SELECT j.id, j.mode, j.state, j.draft, j.draft_revision, j.version, j.entering, v.definition
FROM journeys j
LEFT JOIN journey_versions v ON v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number = j.entering
WHERE j.tenant_id = %(tenant)s AND j.key = %(key)s AND j.mode = %(mode)s
"""


async def read_draft(connection: Connection, *, tenant: UUID, key: str, mode: str) -> Draft:
    """The draft of a journey. Raises `NotFoundError`."""
    cursor = await connection.execute(_DRAFT, {"tenant": tenant, "key": key, "mode": mode})
    row = await cursor.fetchone()
    if row is None:
        raise NotFoundError("journey")
    return Draft(
        id=row[0],
        mode=row[1],
        state=row[2],
        text=row[3],
        revision=row[4],
        version=row[5],
        entering=row[6],
        before=None if row[7] is None else read_journey(row[7]),
    )


_CONTENTS = """
SELECT t.key, v.content FROM templates t
JOIN template_versions v ON v.tenant_id = t.tenant_id AND v.template_id = t.id AND v.version = t.current_version
WHERE t.tenant_id = %(tenant)s AND t.key = ANY(%(keys)s::text[])
"""


async def template_contents(connection: Connection, *, tenant: UUID, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What these templates say now, by key; those that are not there are left out."""
    cursor = await connection.execute(_CONTENTS, {"tenant": tenant, "keys": list(keys)})
    return dict(await cursor.fetchall())


# Nobody deletes what a journey names while it is published: who does, takes the same lock (see segments.py).
_LOCK_NAMES = "SELECT pg_advisory_xact_lock(hashtextextended('segments', 0) # hashtextextended(%(tenant)s::text, 1))"

_AROUND = """
SELECT (SELECT jsonb_object_agg(key, channel) FROM templates WHERE tenant_id = %(tenant)s AND current_version > 0),
       ARRAY(SELECT key FROM segments WHERE tenant_id = %(tenant)s),
       ARRAY(SELECT key FROM lists WHERE tenant_id = %(tenant)s),
       ARRAY(SELECT key FROM topics WHERE tenant_id = %(tenant)s),
       (SELECT jsonb_object_agg(key, channel) FROM senders WHERE tenant_id = %(tenant)s AND mode = %(mode)s),
       ARRAY(SELECT DISTINCT channel FROM senders WHERE tenant_id = %(tenant)s AND mode = %(mode)s AND is_default),
       ARRAY(SELECT key FROM journeys WHERE tenant_id = %(tenant)s AND mode = %(mode)s)
"""


async def surroundings(
    connection: Connection, *, tenant: UUID, mode: str, variables: Mapping[str, frozenset[str]]
) -> Surroundings:
    """What a tenant has, which stays until the transaction ends. `variables`: of templates that were looked into."""
    await connection.execute(_LOCK_NAMES, {"tenant": tenant})
    cursor = await connection.execute(_AROUND, {"tenant": tenant, "mode": mode})
    row = await cursor.fetchone()
    assert row is not None
    templates, segments, lists, topics, senders, defaults, journeys = row
    return Surroundings(
        templates={
            key: TemplateFacts(channel=Channel(channel), variables=variables.get(key, frozenset()))
            for key, channel in (templates or {}).items()
        },
        segments=frozenset(segments),
        lists=frozenset(lists),
        topics=frozenset(topics),
        senders={key: Channel(channel) for key, channel in (senders or {}).items()},
        default_senders=frozenset(map(Channel, defaults)),
        journeys=frozenset(journeys),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The version that a draft is now. `new`: it was none before; `draining`: nobody enters it yet."""

    number: int
    new: bool
    draining: bool


_LOCK = """
SELECT draft_revision, entering, version <> entering FROM journeys
WHERE tenant_id = %(tenant)s AND id = %(journey)s FOR UPDATE
"""

_VERSION = """
INSERT INTO journey_versions
    (tenant_id, id, journey_id, number, source, definition, plan, watches, conditions, published_by)
VALUES (%(tenant)s, %(version)s, %(journey)s, %(number)s, %(source)s, %(definition)s, %(plan)s, %(watches)s,
        %(conditions)s, %(actor)s)
"""

# Who drains lets nobody in before all others have left. Contacts are watched for those who come
# in by what they are, and for those inside whom a change may move.
_OPEN = """
UPDATE journeys j SET
    state = CASE state WHEN 'paused' THEN 'paused' ELSE 'active' END,
    entering = %(number)s,
    version = CASE WHEN %(drains)s AND j.version > 0 AND (
        SELECT true FROM enrollments e JOIN journey_versions v ON v.tenant_id = e.tenant_id AND v.id = e.version_id
        WHERE v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.number < %(number)s AND e.state = 'open' LIMIT 1)
        THEN j.version ELSE %(number)s END,
    entry_kind = %(entry_kind)s,
    entry_event = %(entry_event)s,
    watches_contacts = %(watches_contacts)s OR COALESCE((
        SELECT true FROM enrollments e JOIN journey_versions v ON v.tenant_id = e.tenant_id AND v.id = e.version_id
        WHERE v.tenant_id = j.tenant_id AND v.journey_id = j.id AND v.conditions AND e.state = 'open' LIMIT 1), false),
    next_entry_at = CASE WHEN %(looks)s THEN waypost_now() END,
    updated_at = waypost_now()
WHERE tenant_id = %(tenant)s AND id = %(journey)s
RETURNING version <> entering
"""

_NOTE = """
INSERT INTO journey_audit (tenant_id, journey_id, action, actor, detail)
VALUES (%(tenant)s, %(journey)s, 'published', %(actor)s, %(detail)s)
"""


async def publish(connection: Connection, *, tenant: UUID, draft: Draft, journey: Journey, actor: str) -> Published:
    """Make what the draft says the version that people enter. `journey` is the draft, checked.

    The version that it is already is published again only out of the archive. Raises `ConflictError` where the draft
    was changed or published since it was read.
    """
    values = _values(tenant=tenant, draft=draft, journey=journey, actor=actor)
    row = await (await connection.execute(_LOCK, values)).fetchone()
    if row is None or row[:2] != (draft.revision, draft.entering):
        raise ConflictError("The draft was changed while it was published; publish it again.", code="conflict")
    same = draft.before is not None and says_the_same(draft.before, journey)
    if same and draft.state in ("active", "paused"):
        return Published(number=draft.entering, new=False, draining=row[2])
    values["number"] = draft.entering if same else draft.entering + 1
    values["version"] = ids.journey_version_id(journey=draft.id, number=values["number"])
    if not same:
        await connection.execute(_VERSION, values)
    opened = await (await connection.execute(_OPEN, values)).fetchone()
    assert opened is not None
    detail = {"version": values["number"], "on_new_version": journey.on_new_version.value}
    await connection.execute(_NOTE, values | {"detail": Jsonb(detail)})
    await baseline(connection, tenant=tenant, journey=draft.id, anew=draft.state == "archived")
    return Published(number=values["number"], new=not same, draining=opened[0])


def _values(*, tenant: UUID, draft: Draft, journey: Journey, actor: str) -> dict[str, Any]:
    entry = journey.entry
    conditions = watches_contact(journey)
    return {
        "tenant": tenant,
        "journey": draft.id,
        "actor": actor,
        "source": draft.text,
        "definition": Jsonb(write_journey(journey)),
        "plan": write_plan(compile_plan(journey)).decode(),
        "watches": list(watched_events(journey)),
        "conditions": conditions,
        "drains": journey.on_new_version is OnNewVersion.DRAIN,
        "entry_kind": entry.kind,
        "entry_event": entry.event if isinstance(entry, EventEntry) else None,
        "watches_contacts": conditions or isinstance(entry, SegmentEntry | DateEntry),
        "looks": isinstance(entry, SegmentEntry | DateEntry | ScheduleEntry),
    }
