"""Senders: the From addresses and numbers of a tenant, and the account each goes through. Nothing here commits."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.messaging.values import Mode
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.tables import SenderRow


async def put_sender(session: AsyncSession, tenant: UUID, key: str, columns: Mapping[str, Any]) -> SenderRow:
    """Make or replace the sender of this key; a new default takes the place of the channel's old one."""
    if columns["is_default"]:
        await _clear_default(session, tenant, channel=columns["channel"], mode=columns["mode"], but=key)
    values = {"tenant_id": tenant, "id": ids.sender_id(tenant=tenant, key=key), "key": key, **columns}
    statement = (
        insert(SenderRow)
        .values(values)
        .on_conflict_do_update(index_elements=["tenant_id", "key"], set_={**columns, "updated_at": NOW})
    )
    try:
        await session.exec(statement)
    except IntegrityError:
        raise ConflictError(
            "Another sender became the default at the same moment; look at the senders and try again.",
            code="default_sender_race",
        ) from None
    return await get_sender(session, tenant, key)


async def get_sender(session: AsyncSession, tenant: UUID, key: str) -> SenderRow:
    """One sender. Raises `NotFoundError`."""
    query = select(SenderRow).where(col(SenderRow.tenant_id) == tenant, col(SenderRow.key) == key)
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError("sender")
    return row


async def sender_mode(session: AsyncSession, tenant: UUID, key: str) -> Mode | None:
    """The mode of the sender that has this key now; None where none has."""
    # The column alone: a row that the session knows already would come back as it was before `put_sender`.
    query = select(SenderRow.mode).where(col(SenderRow.tenant_id) == tenant, col(SenderRow.key) == key)
    mode = (await session.exec(query)).one_or_none()
    return Mode(mode) if mode else None


async def list_senders(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[SenderRow]:
    """A tenant's senders in the order they were made."""
    query = select(SenderRow).where(col(SenderRow.tenant_id) == tenant)
    return await fetch_page(session, query, SenderRow, after=after, limit=limit)


async def delete_sender(session: AsyncSession, tenant: UUID, key: str) -> None:
    """Remove a sender that no message went through. Raises `NotFoundError`, `ConflictError`."""
    row = await get_sender(session, tenant, key)
    try:
        await session.exec(delete(SenderRow).where(col(SenderRow.tenant_id) == tenant, col(SenderRow.id) == row.id))
    except IntegrityError:
        raise ConflictError(
            "Messages refer to this sender: the ledger keeps it. Give it another address or account instead.",
            code="sender_in_use",
        ) from None


async def _clear_default(session: AsyncSession, tenant: UUID, *, channel: str, mode: str, but: str) -> None:
    await session.exec(
        update(SenderRow)
        .where(
            col(SenderRow.tenant_id) == tenant,
            col(SenderRow.channel) == channel,
            col(SenderRow.mode) == mode,
            col(SenderRow.key) != but,
            col(SenderRow.is_default),
        )
        .values(is_default=False, updated_at=NOW)
    )


async def sender_for(
    session: AsyncSession, tenant: UUID, *, channel: str, mode: str, key: str | None
) -> SenderRow | None:
    """The sender of this key, or the channel's default; None where none fits channel and mode."""
    query = select(SenderRow).where(
        col(SenderRow.tenant_id) == tenant, col(SenderRow.channel) == channel, col(SenderRow.mode) == mode
    )
    query = query.where(col(SenderRow.is_default)) if key is None else query.where(col(SenderRow.key) == key)
    return (await session.exec(query)).one_or_none()
