"""What is done with a campaign beside its first run: duplicate, approve, choose the winner, resend to who failed."""

from typing import Annotated

from pydantic import Field

from api.campaign_runs import freeze_run, run_counts
from api.campaigns import LIVING, CampaignShown, Writer, get_campaign, over, require_run
from api.fields import Body, Name, Slug, SlugPath
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.campaigns.decisions import NEEDS_APPROVAL
from waypost.campaigns.definition import CampaignDefinition
from waypost.campaigns.frozen import FrozenRun
from waypost.campaigns.resending import resend_definition
from waypost.messaging.values import RunState
from waypost.store import campaigns as store
from waypost.store.campaign_freeze import RESEND
from waypost.store.campaign_tables import CampaignRunRow
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError

router = guarded_router("campaigns")


class DuplicateInput(Body):
    """The copy's key, and its name if it is to have another."""

    key: Slug
    name: Name | None = None


class WinnerInput(Body):
    """The variant that the rest gets."""

    variant: Annotated[str, Field(min_length=1, max_length=64, description="A variant's name")]


@router.post("/v1/campaigns/{key}/duplicate", responses=problems(409))
async def duplicate_campaign(
    caller: Writer, services: WithServices, key: SlugPath, body: DuplicateInput
) -> CampaignShown:
    """Make a draft of another key that says the same. A copy that is there already and says the same is the answer."""
    async with services.app_db.session(caller.tenant_id) as session:
        campaign, _ = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode)
        name = body.name or campaign.name
        try:
            copy, _ = await store.get_campaign(session, caller.tenant_id, body.key, mode=caller.mode, lock=True)
        except NotFoundError:
            await store.put_campaign(
                session,
                caller.tenant_id,
                body.key,
                name=name,
                mode=caller.mode.value,
                definition=campaign.definition,
            )
        else:
            if (copy.state, copy.name, copy.definition) != ("draft", name, campaign.definition):
                raise ConflictError("There is another campaign of that key.", code="name_taken", field="key")
    return await get_campaign(caller, services, body.key)


@router.post("/v1/campaigns/{key}/approve", responses=problems(409))
async def approve_campaign(caller: Writer, services: WithServices, key: SlugPath) -> CampaignShown:
    """Let a run go out that is larger than the tenant's `approval_over`. Which key did it, and when, is kept."""
    async with services.app_db.session(caller.tenant_id) as session:
        campaign, run = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode, lock=True)
        run = require_run(run, key)
        if run.state == RunState.PAUSED and run.state_reason == NEEDS_APPROVAL:
            run.approved_at, run.approved_by = NOW, caller.key_id
            if run.started_at is None:
                run.started_at = NOW
            await store.move_run(session, campaign, run, state=RunState.SENDING, reason=None)
        elif run.approved_at is None:
            raise ConflictError(
                f"Run {run.number} is {run.state} and waits for no approval.", code="campaign_needs_no_approval"
            )
    return await get_campaign(caller, services, key)


@router.post("/v1/campaigns/{key}/choose-winner", responses=problems(409))
async def choose_winner(caller: Writer, services: WithServices, key: SlugPath, body: WinnerInput) -> CampaignShown:
    """Send this variant to those who wait for the winner, whatever the counts say. Said twice, it is said once."""
    async with services.app_db.session(caller.tenant_id) as session:
        _, run = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode, lock=True)
        run = require_run(run, key)
        winner = _variant(run, body.variant)
        if run.winner != winner:
            if run.state not in LIVING:
                raise over(run)
            _require_waiting(run)
            run.winner, run.open_cohort, run.decide_at, run.released_at, run.updated_at = winner, 1, None, NOW, NOW
            await session.flush()
            await store.wake(session, run)
    return await get_campaign(caller, services, key)


@router.post("/v1/campaigns/{key}/resend-failed", responses=problems(409))
async def resend_failed(caller: Writer, services: WithServices, key: SlugPath) -> CampaignShown:
    """A new run, at once, to those whom the last run failed to reach: outcome failed or expired, and nobody else.

    Only once the last run is over. Asked again while the resend is under way, it tells of the same run.
    """
    async with services.app_db.session(caller.tenant_id) as session:
        campaign, run = await store.get_campaign(session, caller.tenant_id, key, mode=caller.mode, lock=True)
        run = require_run(run, key)
        if run.state in LIVING and run.kind != RESEND:
            raise ConflictError(f"Run {run.number} is {run.state}; wait until it is over.", code="campaign_not_over")
        if run.state not in LIVING:
            counts = await run_counts(services, run)
            if counts.failed + counts.expired == 0:
                raise ConflictError(f"Nobody of run {run.number} failed or expired.", code="nobody_to_resend_to")
            definition = CampaignDefinition.model_validate(campaign.definition)
            again = resend_definition(definition, winner=run.winner)
            frozen = await freeze_run(services, session, campaign, kind=RESEND, based_on=run.id, definition=again)
            await store.add_run(session, campaign, frozen)
    return await get_campaign(caller, services, key)


def _variant(run: CampaignRunRow, name: str) -> int:
    names = [content.name for content in FrozenRun.model_validate(run.definition).contents]
    if name not in names:
        advice = f"This run has no such variant; it has {', '.join(names)}."
        raise ApiError("validation_failed", advice, errors=[FieldError(field="variant", message=advice)])
    return names.index(name)


def _require_waiting(run: CampaignRunRow) -> None:
    definition = FrozenRun.model_validate(run.definition).definition
    if definition.winner is None or run.winner is not None or run.shards is None:
        raise ConflictError(
            f"Nobody of run {run.number} waits for a winner"
            + (": it was chosen." if run.winner is not None else "." if run.shards is not None else " yet."),
            code="campaign_awaits_no_winner",
        )
