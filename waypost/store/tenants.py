"""Tenants: what administration reads and writes, under the role waypost_relay. Nothing here commits."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging.values import TenantState
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.tables import TenantRow

CHANNEL = "waypost_tenants"
"""NOTIFY channel: the payload is the id of a tenant that was made or changed."""

LIVING = frozenset({TenantState.ACTIVE, TenantState.SUSPENDED})


async def create_tenant(
    session: AsyncSession, *, name: str, settings: Mapping[str, Any], identity: UUID | None = None
) -> TenantRow:
    """A new active tenant; `settings` are columns of the table. Without `identity` it is nobody's before."""
    row = TenantRow(id=identity or uuid4(), name=name, **settings)
    session.add(row)
    await session.flush()
    await _announce(session, row.id)
    return row


async def get_tenant(session: AsyncSession, tenant: UUID) -> TenantRow:
    """One tenant. Raises `NotFoundError`."""
    row = await session.get(TenantRow, tenant)
    if row is None:
        raise NotFoundError("tenant")
    return row


async def list_tenants(session: AsyncSession, *, after: Place | None, limit: int) -> Page[TenantRow]:
    """Tenants in the order they were made."""
    return await fetch_page(session, select(TenantRow), TenantRow, after=after, limit=limit)


async def change_tenant(session: AsyncSession, tenant: UUID, changes: Mapping[str, Any]) -> TenantRow:
    """The tenant with `changes` (columns of the table) made. Raises `NotFoundError`, `ConflictError`."""
    row = await lock_living_tenant(session, tenant)
    return await _store(session, row, changes)


async def move_tenant(session: AsyncSession, tenant: UUID, to: TenantState) -> TenantRow:
    """Suspend or resume. No claim commits after a suspension, as claims lock the same row FOR KEY SHARE.

    Raises `NotFoundError`, `ConflictError` (closing and closed tenants stay so).
    """
    row = await lock_living_tenant(session, tenant)
    if row.state == to:
        return row
    return await _store(session, row, {"state": to.value, "state_changed_at": NOW})


async def lock_living_tenant(session: AsyncSession, tenant: UUID) -> TenantRow:
    """The tenant, locked FOR UPDATE. Raises `NotFoundError`, `ConflictError` where it is closing or closed."""
    row = (await session.exec(select(TenantRow).where(col(TenantRow.id) == tenant).with_for_update())).one_or_none()
    if row is None:
        raise NotFoundError("tenant")
    if row.state not in LIVING:
        raise ConflictError("This tenant is closed; make a new one.", code="tenant_closed")
    return row


async def _store(session: AsyncSession, row: TenantRow, changes: Mapping[str, Any]) -> TenantRow:
    for column, value in changes.items():
        setattr(row, column, value)
    row.version += 1
    row.updated_at = NOW
    await session.flush()
    await session.refresh(row)
    await _announce(session, row.id)
    return row


async def _announce(session: AsyncSession, tenant: UUID) -> None:
    await session.exec(select(func.pg_notify(CHANNEL, str(tenant))))
