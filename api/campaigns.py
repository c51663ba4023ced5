"""`/v1/campaigns`: one message to a whole audience, now or at a set time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from api.campaign_runs import freeze_run, next_time, run_counts
from api.cursors import AskedPage, listing
from api.dependencies import Caller, Scope, needs
from api.fields import Listing, Name, Shown, SlugPath
from api.messages import links_of
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.campaigns.decisions import NEEDS_APPROVAL
from waypost.campaigns.definition import CampaignDefinition
from waypost.messaging.values import RunState
from waypost.store import campaigns as store
from waypost.store.campaign_tables import CampaignRow, CampaignRunRow
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError
from waypost.store.tallies import Counts

router = guarded_router("campaigns")

LIVING = frozenset({RunState.SCHEDULED, RunState.PREPARING, RunState.SENDING, RunState.PAUSED, RunState.HALTED})
"""Where a run may still be moved."""
PAUSED_BY_CALLER = "paused_by_caller"

Reader = Annotated[Caller, needs(Scope.CAMPAIGNS_READ)]
Writer = Annotated[Caller, needs(Scope.CAMPAIGNS_WRITE)]


class CampaignInput(CampaignDefinition):
    """All of a campaign."""

    name: Name


class CountsShown(Shown):
    """Recipients by outcome, and what was reported of them since."""

    sent: int
    maybe_sent: int
    failed: int
    suppressed: int
    skipped: int
    expired: int
    cancelled: int
    delivered: int
    opened: int
    machine_opened: int
    clicked: int
    bounced: int
    complained: int
    undeliverable: int
    unsubscribed: int
    converted: int


class RunShown(BaseModel):
    """One sending of a campaign. `open` is how many recipients have no outcome yet."""

    id: UUID
    number: int
    kind: str
    state: RunState
    state_reason: str | None
    scheduled_at: datetime
    prepared_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    approved_at: datetime | None
    approved_by: Annotated[str | None, Field(description="The id of the key that approved it")]
    audience: int | None
    open: int | None
    winner: str | None
    counts: CountsShown
    execution: Annotated[str, Field(description="The execution in the Temporal Web UI")]


class CampaignShown(BaseModel):
    """A campaign with its last run."""

    key: str
    name: str
    mode: str
    state: str
    version: int
    definition: dict[str, Any]
    run: RunShown | None
    next_at: Annotated[datetime | None, Field(description="When a recurring campaign runs again")]
    created_at: datetime
    updated_at: datetime


class CampaignSummary(Shown):
    """A campaign in a list."""

    key: str
    name: str
    mode: str
    state: str
    last_run: int
    created_at: datetime
    updated_at: datetime


@router.put("/v1/campaigns/{key}", responses=problems(409))
async def put_campaign(caller: Writer, services: WithServices, key: SlugPath, body: CampaignInput) -> CampaignShown:
    """Make a draft or change it. What it names is checked when it is scheduled."""
    definition = body.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    async with services.app_db.session(caller.tenant_id) as session:
        await store.put_campaign(
            session, caller.tenant_id, key, name=body.name, mode=caller.mode.value, definition=definition
        )
    return await get_campaign(caller, services, key)


@router.get("/v1/campaigns")
async def list_campaigns(caller: Reader, services: WithServices, page: AskedPage) -> Listing[CampaignSummary]:
    """Campaigns of the key's own mode, in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.list_campaigns(
            session, caller.tenant_id, mode=caller.mode, after=page.after, limit=page.limit
        )
    return listing(found, CampaignSummary.model_validate)


@router.get("/v1/campaigns/{key}")
async def get_campaign(caller: Reader, services: WithServices, key: SlugPath) -> CampaignShown:
    """A campaign and its last run, with exact counts of this moment."""
    async with services.app_db.session(caller.tenant_id) as session:
        campaign, run = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode)
    counts = None if run is None else await run_counts(services, run)
    return _show(services, campaign, run, counts)


@router.post("/v1/campaigns/{key}/schedule", responses=problems(409))
async def schedule_campaign(caller: Writer, services: WithServices, key: SlugPath) -> CampaignShown:
    """Make the draft's run, at its time or at once. Asked again, it tells of the same run."""
    async with services.app_db.session(caller.tenant_id) as session:
        campaign, run = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode, lock=True)
        if run is None:
            frozen = await freeze_run(services, session, campaign)
            campaign.next_at = next_time(frozen)
            await store.add_run(session, campaign, frozen)
    return await get_campaign(caller, services, key)


@router.post("/v1/campaigns/{key}/pause", responses=problems(409))
async def pause_campaign(caller: Writer, services: WithServices, key: SlugPath) -> CampaignShown:
    """Stop within one provider call; nobody is forgotten. While it is paused, a recurring campaign begins no run."""
    return await _move(caller, services, key, RunState.PAUSED, reason=PAUSED_BY_CALLER)


@router.post("/v1/campaigns/{key}/resume", responses=problems(409))
async def resume_campaign(caller: Writer, services: WithServices, key: SlugPath) -> CampaignShown:
    """Go on after a pause or a halt. A run that waits for an approval is approved instead."""
    async with services.app_db.session(caller.tenant_id) as session:
        campaign, run = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode, lock=True)
        run = require_run(run, key)
        if run.state not in LIVING and campaign.state != RunState.PAUSED:
            raise over(run)
        if run.state == RunState.PAUSED and run.state_reason == NEEDS_APPROVAL:
            raise ConflictError(
                f"Run {run.number} waits for an approval: approve it, or cancel it.", code="campaign_needs_approval"
            )
        for earlier in await store.earlier_runs(session, campaign):
            if earlier.state_reason == PAUSED_BY_CALLER:
                await _resume(session, campaign, earlier)
        await _resume(session, campaign, run)
        campaign.state = run.state
    return await get_campaign(caller, services, key)


async def _resume(session: store.Session, campaign: CampaignRow, run: CampaignRunRow) -> None:
    if run.state not in (RunState.PAUSED, RunState.HALTED):
        return
    to = RunState.SENDING if run.shards is not None else RunState.SCHEDULED
    if to is RunState.SENDING and run.started_at is None:
        run.started_at = NOW
    if run.state == RunState.HALTED and run.shards is not None:
        run.open_cohort, run.released_at = 1, NOW
    await store.move_run(session, campaign, run, state=to, reason=None)


@router.post("/v1/campaigns/{key}/cancel", responses=problems(409))
async def cancel_campaign(caller: Writer, services: WithServices, key: SlugPath) -> CampaignShown:
    """End it: who was not sent to yet gets the outcome cancelled, and a recurring campaign begins no run any more."""
    return await _move(caller, services, key, RunState.CANCELLED, reason="cancelled_by_caller")


async def _move(caller: Caller, services: WithServices, key: str, to: RunState, *, reason: str) -> CampaignShown:
    """Move the last run, and those before it that are not over: a recurring campaign may have several.

    Between its runs such a campaign is itself paused or cancelled.
    """
    async with services.app_db.session(caller.tenant_id) as session:
        campaign, run = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode, lock=True)
        run = require_run(run, key)
        if campaign.state != to:
            if run.state not in LIVING and campaign.next_at is None:
                raise over(run)
            for each in (*await store.earlier_runs(session, campaign), run):
                if each.state in LIVING and each.state != to:
                    await store.move_run(session, campaign, each, state=to, reason=reason)
            campaign.state, campaign.updated_at = to.value, NOW
            campaign.next_at = None if to is RunState.CANCELLED else campaign.next_at
    return await get_campaign(caller, services, key)


def require_run(run: CampaignRunRow | None, key: str) -> CampaignRunRow:
    """The run. Raises `ConflictError` for a draft's."""
    if run is None:
        raise not_scheduled(key)
    return run


def not_scheduled(key: str) -> ConflictError:
    """A draft has no run to tell of or to move."""
    return ConflictError(f"The campaign {key} is a draft: schedule it first.", code="campaign_not_scheduled")


def over(run: CampaignRunRow) -> ConflictError:
    """A run that is over moves no more."""
    return ConflictError(f"Run {run.number} is {run.state}: it cannot be moved any more.", code="campaign_over")


def _show(
    services: WithServices, campaign: CampaignRow, run: CampaignRunRow | None, counts: Counts | None
) -> CampaignShown:
    return CampaignShown(
        key=campaign.key,
        name=campaign.name,
        mode=campaign.mode,
        state=campaign.state,
        version=campaign.version,
        definition=campaign.definition,
        run=None if run is None or counts is None else show_run(services, run, counts),
        next_at=campaign.next_at,
        created_at=campaign.created_at,
        updated_at=campaign.updated_at,
    )


def show_run(services: WithServices, run: CampaignRunRow, counts: Counts) -> RunShown:
    """A run with its counts."""
    contents: Sequence[dict[str, Any]] = run.definition["contents"]
    return RunShown(
        id=run.id,
        number=run.number,
        kind=run.kind,
        state=RunState(run.state),
        state_reason=run.state_reason,
        scheduled_at=run.scheduled_at,
        prepared_at=run.prepared_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        approved_at=run.approved_at,
        approved_by=run.approved_by,
        audience=run.audience,
        open=None if run.audience is None else run.audience - counts.ended,
        winner=None if run.winner is None else contents[run.winner]["name"],
        counts=CountsShown.model_validate(counts),
        execution=links_of(services).of_campaign(run.id),
    )
