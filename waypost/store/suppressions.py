"""Suppressions as a tenant keeps them; event_effects.py adds those that providers report. Nothing here commits."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.messaging.values import Channel, SuppressionReason
from waypost.store.errors import NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.tables import SuppressionRow


async def put_suppression(
    session: AsyncSession, tenant: UUID, *, channel: Channel, address: str, reason: SuppressionReason, note: str | None
) -> SuppressionRow:
    """Suppress an address (a key, see addresses.address_key), or give its suppression another reason and note."""
    row = ids.suppression_id(tenant=tenant, channel=channel, address=address)
    said = {"reason": reason.value, "note": note}
    await session.exec(
        insert(SuppressionRow)
        .values(tenant_id=tenant, id=row, channel=channel.value, address=address, **said)
        .on_conflict_do_update(index_elements=["tenant_id", "channel", "address"], set_=said)
    )
    return await get_suppression(session, tenant, row)


async def get_suppression(session: AsyncSession, tenant: UUID, suppression: UUID) -> SuppressionRow:
    """One suppression. Raises `NotFoundError`."""
    row = await session.get(SuppressionRow, (tenant, suppression))
    if row is None:
        raise NotFoundError("suppression")
    return row


async def list_suppressions(
    session: AsyncSession,
    tenant: UUID,
    *,
    channel: Channel | None,
    address: str | None,
    after: Place | None,
    limit: int,
) -> Page[SuppressionRow]:
    """A tenant's suppressions in the order they were made, all or those of a channel or address."""
    query = select(SuppressionRow).where(col(SuppressionRow.tenant_id) == tenant)
    if channel is not None:
        query = query.where(col(SuppressionRow.channel) == channel.value)
    if address is not None:
        query = query.where(col(SuppressionRow.address) == address)
    return await fetch_page(session, query, SuppressionRow, after=after, limit=limit)


async def delete_suppression(session: AsyncSession, tenant: UUID, suppression: UUID) -> None:
    """Let messages go to the address again. Raises `NotFoundError`."""
    statement = delete(SuppressionRow).where(
        col(SuppressionRow.tenant_id) == tenant, col(SuppressionRow.id) == suppression
    )
    if (await session.exec(statement)).rowcount == 0:
        raise NotFoundError("suppression")
