"""Imports of contacts: where each stands, and its batches. Nothing here commits (waypost_app, but for `forget_…`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.imports.batching import Batch
from waypost.imports.judging import GivenContact, Refusal
from waypost.imports.layout import Layout
from waypost.imports.options import ImportOptions
from waypost.messaging import ids
from waypost.messaging.labels import MAX_ATTRIBUTES_BYTES
from waypost.store.campaign_tables import ImportErrorRow, ImportRow
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.pages import Page, Place, fetch_page

Connection = AsyncConnection[Any]

MAX_ERRORS = 100_000
"""Refused rows of an import that are kept; all are counted."""
_TOO_LARGE = "With what the contact has already, its attributes would have more than 32,768 bytes."


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportState:
    """How far an import is: everything before `byte_offset` is in."""

    id: UUID
    state: str
    byte_offset: int
    total_bytes: int
    rows_read: int
    rows_refused: int
    layout: dict[str, Any] | None
    list_id: UUID | None


_OPEN = """
WITH opened AS (
    INSERT INTO imports AS i (tenant_id, id, file_hash, file_name, options, state, dry_run, total_bytes)
    VALUES (%(tenant)s, %(id)s, %(file_hash)s, %(file_name)s, %(options)s, 'running', %(dry_run)s, %(size)s)
    ON CONFLICT (tenant_id, id) DO UPDATE SET updated_at = waypost_now(), problem = NULL,
        state = CASE i.state WHEN 'failed' THEN 'running' ELSE i.state END
    RETURNING i.id, i.state, i.byte_offset, i.total_bytes, i.rows_read, i.rows_refused, i.layout
)
SELECT opened.*, (SELECT l.id FROM lists l WHERE l.tenant_id = %(tenant)s AND l.key = %(list)s) AS list_id FROM opened
"""


async def open_import(
    connection: Connection, tenant: UUID, options: ImportOptions, *, file_hash: str, file_name: str, size: int
) -> ImportState:
    """The import of this file with these options, made where it is not there yet.

    Raises `NotFoundError` for the list, and `ConflictError` where the file had another size.
    """
    chosen = options.as_json()
    key = orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS).decode()
    values = {
        "tenant": tenant,
        "id": ids.import_id(tenant=tenant, file_hash=file_hash, options=key),
        "file_hash": bytes.fromhex(file_hash),
        "file_name": file_name,
        "options": Jsonb(chosen),
        "dry_run": options.dry_run,
        "size": size,
        "list": options.list_key,
    }
    async with connection.cursor(row_factory=class_row(ImportState)) as cursor:
        await cursor.execute(_OPEN, values)
        state = await cursor.fetchone()
    assert state is not None
    if options.list_key is not None and state.list_id is None:
        raise NotFoundError("list")
    if state.total_bytes != size:
        raise ConflictError("The file of this import had another size.", code="import_offset", field="query.size")
    return state


# The fence: a batch begins where the one before ended, whoever sends it, or does not go in.
_ADVANCE = """
UPDATE imports SET byte_offset = %(end)s, rows_read = rows_read + %(rows)s, rows_blank = rows_blank + %(blank)s,
       layout = %(layout)s, updated_at = waypost_now()
WHERE tenant_id = %(tenant)s AND id = %(import)s AND state = 'running' AND byte_offset = %(start)s
  AND (SELECT state FROM tenants WHERE id = %(tenant)s) IN ('active', 'suspended')
RETURNING id
"""

# Sorted, so that two batches lock the rows they share in the same order. What a row says nothing of stays as it is.
# Attributes over the bound are left out with their row. xmax tells a row that was there from one that was not.
_GIVEN = """
WITH given AS MATERIALIZED (
    SELECT g.* FROM jsonb_to_recordset(%(contacts)s::jsonb) AS g (id uuid, number bigint, external_id text, email text,
        phone text, time_zone text, locale text, attributes jsonb, consent jsonb)
), """
_PUT = """put AS (
    INSERT INTO contacts AS c (tenant_id, id, external_id, email, phone, time_zone, locale, attributes, consent)
    SELECT %(tenant)s, id, external_id, email, phone, time_zone, locale, attributes, consent FROM given ORDER BY id
    ON CONFLICT (tenant_id, external_id) DO UPDATE SET
        email = COALESCE(excluded.email, c.email), phone = COALESCE(excluded.phone, c.phone),
        time_zone = COALESCE(excluded.time_zone, c.time_zone), locale = COALESCE(excluded.locale, c.locale),
        attributes = c.attributes || excluded.attributes, consent = c.consent || excluded.consent,
        updated_at = waypost_now()
    WHERE c.attributes @> excluded.attributes
       OR octet_length((c.attributes || excluded.attributes)::text) <= %(most)s
    RETURNING c.id, xmax = 0 AS created
), """
_LOOK = """put AS (
    SELECT g.id, c.id IS NULL AS created FROM given g
    LEFT JOIN contacts c ON c.tenant_id = %(tenant)s AND c.id = g.id
    WHERE c.id IS NULL OR c.attributes @> g.attributes
       OR octet_length((c.attributes || g.attributes)::text) <= %(most)s
), """
_COUNT = """named AS (
    INSERT INTO import_keys (tenant_id, import_id, contact_id) SELECT %(tenant)s, %(import)s, id FROM put ORDER BY id
    ON CONFLICT DO NOTHING RETURNING contact_id
), joined AS (
    INSERT INTO list_members (tenant_id, list_id, contact_id)
    SELECT %(tenant)s, %(list)s::uuid, id FROM put WHERE %(list)s::uuid IS NOT NULL AND %(live)s ORDER BY id
    ON CONFLICT DO NOTHING
)
SELECT count(*) FILTER (WHERE put.created AND named.contact_id IS NOT NULL) AS created,
       count(*) FILTER (WHERE NOT put.created AND named.contact_id IS NOT NULL) AS updated,
       count(*) FILTER (WHERE put.id IS NOT NULL AND named.contact_id IS NULL) AS repeated,
       COALESCE(array_agg(given.number) FILTER (WHERE put.id IS NULL), '{}') AS too_large
FROM given LEFT JOIN put ON put.id = given.id LEFT JOIN named ON named.contact_id = given.id
"""

_NOTE = """
WITH refused AS (
    SELECT r.* FROM jsonb_to_recordset(%(refusals)s::jsonb) AS r (number bigint, field text, message text)
    ORDER BY r.number LIMIT %(room)s
), noted AS (
    INSERT INTO import_errors (tenant_id, import_id, row_number, field, message)
    SELECT %(tenant)s, %(import)s, number, field, message FROM refused
)
UPDATE imports SET rows_created = rows_created + %(created)s, rows_updated = rows_updated + %(updated)s,
       rows_repeated = rows_repeated + %(repeated)s, rows_refused = rows_refused + %(refused)s,
       state = CASE WHEN byte_offset = total_bytes THEN 'completed' ELSE state END,
       completed_at = CASE WHEN byte_offset = total_bytes THEN waypost_now() END
WHERE tenant_id = %(tenant)s AND id = %(import)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a batch's rows."""

    created: int
    updated: int
    repeated: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyBatch:
    """A batch and its contacts as PostgreSQL takes them: encoded where nobody waits for it."""

    batch: Batch
    contacts: str = field(repr=False)

    @classmethod
    def of(cls, tenant: UUID, batch: Batch) -> Self:
        """Encode it."""
        rows = [_as_row(tenant, one) for one in batch.contacts]
        return cls(batch=batch, contacts=orjson.dumps(rows).decode())


async def take_batch(
    connection: Connection, tenant: UUID, at: ImportState, ready: ReadyBatch, *, dry_run: bool
) -> Taken:
    """Put a batch in that begins where the import `at` stands.

    Raises `ConflictError` where it does not stand there any more: another upload is at work.
    """
    batch = ready.batch
    place = {"tenant": tenant, "import": at.id}
    advance = {"start": at.byte_offset, "end": batch.end, "rows": batch.rows, "blank": batch.blank}
    layout = Jsonb(batch.layout.as_json())
    cursor = await connection.execute(_ADVANCE, {**place, **advance, "layout": layout})
    if await cursor.fetchone() is None:
        raise ConflictError("Another upload of this import is at work, or the tenant is closed.", code="import_offset")
    created, updated, repeated, too_large = await _put(connection, tenant, at, ready, dry_run=dry_run)
    refusals = [*batch.refusals, *(Refusal(number=one, field="attributes", message=_TOO_LARGE) for one in too_large)]
    taken = Taken(created=created, updated=updated, repeated=repeated + batch.repeats, refused=len(refusals))
    noted = orjson.dumps([asdict(one) for one in refusals]).decode()
    room = max(0, MAX_ERRORS - at.rows_refused)
    await connection.execute(_NOTE, {**place, **asdict(taken), "refusals": noted, "room": room})
    return taken


async def _put(
    connection: Connection, tenant: UUID, at: ImportState, ready: ReadyBatch, *, dry_run: bool
) -> tuple[int, int, int, Sequence[int]]:
    if not ready.batch.contacts:
        return 0, 0, 0, ()
    statement = _GIVEN + (_LOOK if dry_run else _PUT) + _COUNT
    values = {
        "tenant": tenant,
        "import": at.id,
        "list": at.list_id,
        "live": not dry_run,
        "most": MAX_ATTRIBUTES_BYTES,
        "contacts": ready.contacts,
    }
    row = await (await connection.execute(statement, values)).fetchone()
    assert row is not None
    created, updated, repeated, too_large = row
    return created, updated, repeated, too_large


def _as_row(tenant: UUID, given: GivenContact) -> Mapping[str, Any]:
    return {
        "id": ids.contact_id(tenant=tenant, external_id=given.external_id),
        "number": given.number,
        "external_id": given.external_id,
        **given.fields,
        "attributes": given.attributes,
        "consent": given.consent,
    }


_FAIL = """
UPDATE imports SET state = 'failed', problem = %(problem)s, updated_at = waypost_now()
WHERE tenant_id = %(tenant)s AND id = %(import)s AND state = 'running'
"""


async def fail_import(connection: Connection, tenant: UUID, import_id: UUID, *, problem: str) -> None:
    """Nothing of the file can be taken, for this reason."""
    await connection.execute(_FAIL, {"tenant": tenant, "import": import_id, "problem": problem})


async def get_import(session: AsyncSession, tenant: UUID, import_id: UUID) -> ImportRow:
    """One import. Raises `NotFoundError`."""
    query = select(ImportRow).where(col(ImportRow.tenant_id) == tenant, col(ImportRow.id) == import_id)
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError("import")
    return row


async def list_imports(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[ImportRow]:
    """A tenant's imports in the order they were begun."""
    query = select(ImportRow).where(col(ImportRow.tenant_id) == tenant)
    return await fetch_page(session, query, ImportRow, after=after, limit=limit)


async def list_errors(
    session: AsyncSession, tenant: UUID, import_id: UUID, *, after: int, limit: int
) -> Sequence[ImportErrorRow]:
    """Refused rows in the file's order, from the one after row `after`."""
    of = ImportErrorRow
    query = select(of).where(col(of.tenant_id) == tenant, col(of.import_id) == import_id, col(of.row_number) > after)
    return (await session.exec(query.order_by(col(of.row_number)).limit(limit))).all()


def layout_of(state: ImportState) -> Layout | None:
    """What the header said, once it was read."""
    return Layout.from_json(state.layout) if state.layout is not None else None


# Keys go when the import is over, or nobody has gone on with it for a week (it still can: it counts anew).
_FORGET_KEYS = """
WITH over AS MATERIALIZED (
    SELECT k.tenant_id, k.import_id, k.contact_id FROM import_keys k
    JOIN imports i ON i.tenant_id = k.tenant_id AND i.id = k.import_id
    WHERE i.state = 'completed' OR i.updated_at < waypost_now() - make_interval(days => 7)
    LIMIT %(limit)s FOR UPDATE OF k SKIP LOCKED
), gone AS (
    DELETE FROM import_keys k USING over o
    WHERE k.tenant_id = o.tenant_id AND k.import_id = o.import_id AND k.contact_id = o.contact_id RETURNING 1
)
SELECT count(*) FROM gone
"""


async def forget_import_keys(connection: Connection, *, limit: int) -> int:
    """Whom imports named that are over; how many. As waypost_relay."""
    # Three ids each: a batch of them is worth more than one of messages.
    row = await (await connection.execute(_FORGET_KEYS, {"limit": 20 * limit})).fetchone()
    assert row is not None
    count: int = row[0]
    return count


_FORGET_IMPORTS = """
WITH gone AS (
    DELETE FROM imports WHERE (tenant_id, id) IN (
        SELECT i.tenant_id, i.id FROM imports i
        WHERE i.updated_at < waypost_now() - make_interval(days => %(days)s)
          AND (SELECT true FROM import_keys k WHERE k.tenant_id = i.tenant_id AND k.import_id = i.id LIMIT 1) IS NULL
        ORDER BY i.updated_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def forget_imports(connection: Connection, *, days: int, limit: int) -> int:
    """Imports that nobody went on with for that long, and their errors; how many. As waypost_relay. 0: for ever."""
    if not days:
        return 0
    row = await (await connection.execute(_FORGET_IMPORTS, {"days": days, "limit": limit})).fetchone()
    assert row is not None
    count: int = row[0]
    return count
