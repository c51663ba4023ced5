"""Static lists of contacts. Nothing here commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.store.campaign_tables import ListMemberRow, ListRow
from waypost.store.columns import NOW
from waypost.store.errors import NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.segments import refuse_while_referred


async def put_list(session: AsyncSession, tenant: UUID, key: str, *, name: str) -> ListRow:
    """Make a list, or give it another name; its members stay."""
    made = {"tenant_id": tenant, "id": ids.list_id(tenant=tenant, key=key), "key": key, "name": name}
    await session.exec(
        insert(ListRow)
        .values(**made)
        .on_conflict_do_update(index_elements=["tenant_id", "key"], set_={"name": name, "updated_at": NOW})
    )
    return await get_list(session, tenant, key)


async def get_list(session: AsyncSession, tenant: UUID, key: str) -> ListRow:
    """One list. Raises `NotFoundError`."""
    query = select(ListRow).where(col(ListRow.tenant_id) == tenant, col(ListRow.key) == key)
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError("list")
    return row


async def count_members(session: AsyncSession, tenant: UUID, list_id: UUID) -> int:
    """How many contacts are on a list."""
    row = ListMemberRow
    query = select(func.count()).select_from(row).where(col(row.tenant_id) == tenant, col(row.list_id) == list_id)
    return (await session.exec(query)).one()


async def list_lists(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[ListRow]:
    """A tenant's lists in the order they were made."""
    query = select(ListRow).where(col(ListRow.tenant_id) == tenant)
    return await fetch_page(session, query, ListRow, after=after, limit=limit)


async def delete_list(session: AsyncSession, tenant: UUID, key: str) -> None:
    """Forget a list; the contacts stay.

    Raises `NotFoundError`, or `ConflictError` while a segment or a campaign refers to it.
    """
    row = await get_list(session, tenant, key)
    await refuse_while_referred(session, tenant, kind="list", key=key)
    await session.delete(row)


# The contacts are locked against their deletion, in one order, and all before anything is written.
_ADD = """
WITH given AS MATERIALIZED (
    SELECT c.id, c.external_id FROM contacts c
    WHERE c.tenant_id = %(tenant)s AND c.external_id = ANY(%(external_ids)s::text[]) ORDER BY c.id FOR KEY SHARE
), added AS (
    INSERT INTO list_members (tenant_id, list_id, contact_id)
    SELECT %(tenant)s, %(list)s, g.id FROM given g ORDER BY g.id
    ON CONFLICT DO NOTHING RETURNING contact_id
)
SELECT g.external_id, a.contact_id IS NOT NULL FROM given g LEFT JOIN added a ON a.contact_id = g.id
"""

_REMOVE = """
WITH given AS MATERIALIZED (
    SELECT c.id, c.external_id FROM contacts c
    WHERE c.tenant_id = %(tenant)s AND c.external_id = ANY(%(external_ids)s::text[])
), removed AS (
    DELETE FROM list_members m USING given g
    WHERE m.tenant_id = %(tenant)s AND m.list_id = %(list)s AND m.contact_id = g.id RETURNING m.contact_id
)
SELECT g.external_id, r.contact_id IS NOT NULL FROM given g LEFT JOIN removed r ON r.contact_id = g.id
"""

_LOCK = "SELECT id FROM lists WHERE tenant_id = %(tenant)s AND id = %(list)s FOR KEY SHARE"


async def add_members(
    connection: AsyncConnection[Any], tenant: UUID, key: str, external_ids: Sequence[str]
) -> Mapping[str, bool]:
    """Put contacts on a list: by external id, whether it is new there. One that is missing is no contact's.

    Raises `NotFoundError` for the list.
    """
    return await _change(connection, tenant, key, external_ids, _ADD)


async def remove_members(
    connection: AsyncConnection[Any], tenant: UUID, key: str, external_ids: Sequence[str]
) -> Mapping[str, bool]:
    """Take contacts off a list: by external id, whether it was there. One that is missing is no contact's.

    Raises `NotFoundError` for the list.
    """
    return await _change(connection, tenant, key, external_ids, _REMOVE)


async def _change(
    connection: AsyncConnection[Any], tenant: UUID, key: str, external_ids: Sequence[str], statement: str
) -> Mapping[str, bool]:
    values = {"tenant": tenant, "list": ids.list_id(tenant=tenant, key=key), "external_ids": list(external_ids)}
    if await (await connection.execute(_LOCK, values)).fetchone() is None:
        raise NotFoundError("list")
    return dict(await (await connection.execute(statement, values)).fetchall())


_MEMBERS = """
SELECT c.external_id, m.added_at, m.contact_id FROM list_members m
JOIN contacts c ON c.tenant_id = m.tenant_id AND c.id = m.contact_id
WHERE m.tenant_id = %(tenant)s AND m.list_id = %(list)s AND m.contact_id > %(after)s
ORDER BY m.contact_id LIMIT %(limit)s
"""

_FIRST = UUID(int=0)


async def list_members(
    connection: AsyncConnection[Any], tenant: UUID, list_id: UUID, *, after: Place | None, limit: int
) -> tuple[list[tuple[str, datetime]], Place | None]:
    """The external ids on a list with the time each was added, and the place of the next page."""
    values = {"tenant": tenant, "list": list_id, "after": after.id if after else _FIRST, "limit": limit + 1}
    rows = await (await connection.execute(_MEMBERS, values)).fetchall()
    shown = [(row[0], row[1]) for row in rows[:limit]]
    return shown, Place(rows[limit - 1][1], rows[limit - 1][2]) if len(rows) > limit else None
