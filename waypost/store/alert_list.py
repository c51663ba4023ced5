"""Alerts as administration reads them; the relay's loops raise and end them."""

from collections.abc import Sequence

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.store.ledger_tables import AlertRow


async def list_alerts(session: AsyncSession, *, ended: bool, limit: int) -> Sequence[AlertRow]:
    """The latest alerts: those that hold, and with `ended` those that do not any more."""
    query = select(AlertRow).order_by(col(AlertRow.id).desc()).limit(limit)
    if not ended:
        query = query.where(col(AlertRow.ended_at).is_(None))
    return (await session.exec(query)).all()
