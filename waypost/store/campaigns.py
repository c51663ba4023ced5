"""Campaigns as their tenant sees and moves them. As waypost_app for one tenant, in the caller's session; no commits.

A campaign's row is locked before its run's. Who pauses, halts or cancels takes the run's row FOR UPDATE: claims that
are under way commit first, and no later one passes.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.messaging.values import RunState
from waypost.store.campaign_tables import CampaignRow, CampaignRunRow, TopicRow
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.tables import TemplateRow

Session = AsyncSession

OVER = frozenset({RunState.COMPLETED, RunState.CANCELLED})
_WAKE = text(
    "INSERT INTO outbox (workflow_id, signal) SELECT 'campaign/' || CAST(:run AS text), 'wake' UNION ALL "
    "SELECT 'campaign/' || CAST(:run AS text) || '/shard-' || n, 'wake' FROM generate_series(0, :shards - 1) AS n"
)


async def put_campaign(
    session: AsyncSession, tenant: UUID, key: str, *, name: str, mode: str, definition: Mapping[str, Any]
) -> CampaignRow:
    """Make a draft or change one. Raises `ConflictError` once it is scheduled."""
    row = await _find(session, tenant, key, lock=True)
    if row is None:
        row = CampaignRow(
            tenant_id=tenant,
            id=ids.campaign_id(tenant=tenant, key=key),
            key=key,
            name=name,
            mode=mode,
            definition=dict(definition),
        )
        session.add(row)
    elif row.mode != mode:
        raise ConflictError(f"There is a campaign of that key for {row.mode} keys.", code="name_taken", field="key")
    elif row.state != "draft":
        raise ConflictError(
            f"This campaign is {row.state}; a draft alone can be changed. Duplicate it.", code="campaign_not_draft"
        )
    else:
        row.name, row.definition = name, dict(definition)
        row.version += 1
        row.updated_at = NOW
    await session.flush()
    await session.refresh(row)
    return row


async def get_campaign(
    session: AsyncSession, tenant: UUID, key: str, *, mode: str, lock: bool = False
) -> tuple[CampaignRow, CampaignRunRow | None]:
    """A campaign and its last run. Raises `NotFoundError`, also for a campaign of the other mode: no test key moves a
    live one."""
    row = await _find(session, tenant, key, lock=lock)
    if row is None or row.mode != mode:
        raise NotFoundError("campaign")
    return row, await _last_run(session, row, lock=lock)


async def earlier_runs(session: AsyncSession, campaign: CampaignRow) -> Sequence[CampaignRunRow]:
    """Runs before the last one that are not over, locked: a recurring campaign's next time may come before that."""
    query = (
        select(CampaignRunRow)
        .where(
            col(CampaignRunRow.tenant_id) == campaign.tenant_id,
            col(CampaignRunRow.campaign_id) == campaign.id,
            col(CampaignRunRow.number) < campaign.last_run,
            col(CampaignRunRow.state).not_in([state.value for state in OVER]),
        )
        .order_by(col(CampaignRunRow.number))
    )
    return await _locked(session, query)


async def list_campaigns(
    session: AsyncSession, tenant: UUID, *, mode: str, after: Place | None, limit: int
) -> Page[CampaignRow]:
    """A tenant's campaigns of a mode, in the order they were made."""
    query = select(CampaignRow).where(col(CampaignRow.tenant_id) == tenant, col(CampaignRow.mode) == mode)
    return await fetch_page(session, query, CampaignRow, after=after, limit=limit)


async def add_run(
    session: AsyncSession, campaign: CampaignRow, run: CampaignRunRow, *, wakes: bool = True
) -> CampaignRunRow:
    """The campaign's next run. (campaign, number) is unique: whoever is second finds the first one's."""
    session.add(run)
    await session.flush()
    campaign.last_run = run.number
    campaign.state = run.state
    campaign.updated_at = NOW
    await session.flush()
    if wakes:
        await session.exec(text("SELECT pg_notify('waypost_campaigns', '')"))  # type: ignore[call-overload]  # no model
    await session.refresh(run)
    return run


async def move_run(
    session: AsyncSession, campaign: CampaignRow, run: CampaignRunRow, *, state: RunState, reason: str | None
) -> None:
    """Move the run that the caller has locked, its campaign with it, and wake its executions."""
    run.state, run.state_reason, run.updated_at = state.value, reason, NOW
    if state in OVER:
        run.ended_at = NOW
    campaign.state, campaign.updated_at = state.value, NOW
    await session.flush()
    await wake(session, run)


async def wake(session: AsyncSession, run: CampaignRunRow) -> None:
    """Tell the run's executions, and the loop that starts them, that its row changed."""
    await session.exec(_WAKE.bindparams(run=str(run.id), shards=run.shards or 0))  # type: ignore[call-overload]  # no model
    await session.exec(text("SELECT pg_notify('waypost_campaigns', ''), pg_notify('waypost_outbox', '')"))  # type: ignore[call-overload]  # no model


async def template_of(session: AsyncSession, tenant: UUID, key: str) -> TemplateRow | None:
    """A template by its key."""
    return await session.get(TemplateRow, (tenant, ids.template_id(tenant=tenant, key=key)))


async def topic_of(session: AsyncSession, tenant: UUID, key: str) -> UUID | None:
    """The id of a topic."""
    query = select(TopicRow.id).where(col(TopicRow.tenant_id) == tenant, col(TopicRow.key) == key)
    return (await session.exec(query)).one_or_none()


async def _find(session: AsyncSession, tenant: UUID, key: str, *, lock: bool) -> CampaignRow | None:
    query = select(CampaignRow).where(col(CampaignRow.tenant_id) == tenant, col(CampaignRow.key) == key)
    if lock:
        query = query.with_for_update()
    return (await session.exec(query)).one_or_none()


async def _last_run(session: AsyncSession, campaign: CampaignRow, *, lock: bool) -> CampaignRunRow | None:
    query = select(CampaignRunRow).where(
        col(CampaignRunRow.tenant_id) == campaign.tenant_id,
        col(CampaignRunRow.campaign_id) == campaign.id,
        col(CampaignRunRow.number) == campaign.last_run,
    )
    if lock:
        return next(iter(await _locked(session, query)), None)
    return (await session.exec(query)).one_or_none()


async def _locked(session: AsyncSession, query: Any) -> Sequence[CampaignRunRow]:
    """Runs of a campaign whose row the caller has locked, locked too.

    Against claims, which hold a sending run's row FOR KEY SHARE, it has to be FOR UPDATE. So does the freeze hold that
    of the run it prepares, until the last recipient's row is made: nobody has to wait for it, for it looks once more
    when it is done, behind the campaign's row.
    """
    rows: Sequence[CampaignRunRow] = (await session.exec(query.with_for_update(key_share=True))).all()
    for row in rows:
        if row.state == RunState.SENDING:
            key = (col(CampaignRunRow.tenant_id) == row.tenant_id, col(CampaignRunRow.id) == row.id)
            await session.exec(select(CampaignRunRow.id).where(*key).with_for_update())
    return rows
