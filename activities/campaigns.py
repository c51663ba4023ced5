"""The campaign's activities: prepare, page, decide, complete. Everything that decides is read from rows."""

import logging
from datetime import timedelta
from uuid import UUID

from temporalio import activity

from activities.campaign_pages import Pages
from activities.contracts.campaigns import (
    COMPLETE_ACTIVITY,
    DECIDE_ACTIVITY,
    PAGE_ACTIVITY,
    PREPARE_ACTIVITY,
    Campaigning,
    PageInput,
    PageResult,
    Progress,
    RunInput,
)
from activities.lasting import beating
from waypost.campaigns.decisions import NEEDS_APPROVAL, canary_verdict, choose_winner
from waypost.campaigns.definition import CampaignDefinition, WinnerBy
from waypost.campaigns.frozen import FrozenRun
from waypost.campaigns.schedule import due_by_zone, local_due
from waypost.messaging.values import Channel, RunState, TenantState
from waypost.store.audiences import AudienceError, Query, audience_query
from waypost.store.campaign_freeze import (
    RESEND,
    Freeze,
    RunToPrepare,
    freeze,
    freeze_alone,
    lock_run,
    not_reached,
    read_run,
    set_prepared,
    zones_of,
)
from waypost.store.campaign_runs import (
    RunNow,
    any_open,
    first_share_waiting,
    lock_now,
    put_off_decision,
    read_now,
    release_rest,
    set_state,
)
from waypost.store.database import Connection, Database
from waypost.store.tallies import counts_by_variant, total

logger = logging.getLogger(__name__)

_SUSPENDED_AGAIN = timedelta(seconds=10)
_NOT_DONE_AGAIN = timedelta(seconds=5)
_MOSTLY = 9
"""For each of the first share that waits to go out, so many must have their outcome: else a decision says nothing."""


class CampaignActivities(Campaigning):
    """Implements the contract with PostgreSQL and the provider adapters."""

    def __init__(self, *, relay: Database, pages: Pages) -> None:
        self._relay = relay
        self._pages = pages

    @activity.defn(name=PREPARE_ACTIVITY)
    async def prepare(self, run: RunInput) -> Progress:
        """Freeze the audience, once: asked again it tells what is."""
        with beating():
            return await self._prepare(UUID(run.tenant_id), UUID(run.run_id))

    @activity.defn(name=PAGE_ACTIVITY)
    async def page(self, page: PageInput) -> PageResult:
        """Send to the next due recipients of a shard."""
        with beating():
            return await self._pages.send(UUID(page.tenant_id), UUID(page.run_id), page.shard)

    @activity.defn(name=DECIDE_ACTIVITY)
    async def decide(self, run: RunInput) -> Progress:
        """Judge the canary or choose the winner, where it is time to."""
        tenant, identity = UUID(run.tenant_id), UUID(run.run_id)
        async with self._relay.transaction() as connection:
            now = await lock_now(connection, tenant=tenant, run=identity)
            if now is not None and _is_time(now):
                await self._decide(connection, tenant, identity, now)
                now = await lock_now(connection, tenant=tenant, run=identity)
        return _progress(now)

    @activity.defn(name=COMPLETE_ACTIVITY)
    async def complete(self, run: RunInput) -> Progress:
        """Complete the run if no recipient is open."""
        tenant, identity = UUID(run.tenant_id), UUID(run.run_id)
        async with self._relay.transaction() as connection:
            now = await lock_now(connection, tenant=tenant, run=identity)
            if now is None or now.state != RunState.SENDING or await any_open(connection, run=identity):
                return _progress(now)
            await set_state(connection, tenant=tenant, run=identity, state=RunState.COMPLETED, reason=None)
            return _progress(await lock_now(connection, tenant=tenant, run=identity))

    async def _prepare(self, tenant: UUID, run: UUID) -> Progress:
        """Say that the run is being prepared, then make its rows; meanwhile it can be paused and cancelled."""
        async with self._relay.transaction() as connection:
            found = await lock_run(connection, tenant=tenant, run=run)
            if found is None:
                return Progress(RunState.CANCELLED)
            if not _to_prepare(found):
                return _progress(await read_now(connection, tenant=tenant, run=run))
            if found.tenant_state != TenantState.ACTIVE or found.scheduled_at > found.now:
                return Progress(found.state, again_at=max(found.scheduled_at, found.now + _SUSPENDED_AGAIN))
            if found.state == RunState.SCHEDULED:
                await set_state(connection, tenant=tenant, run=run, state=RunState.PREPARING, reason=None)
        try:
            async with self._relay.transaction() as connection:
                await freeze_alone(connection, run=run)
                if not _to_prepare(await read_run(connection, tenant=tenant, run=run)):
                    raise _ChangedMeanwhileError  # whoever was first has prepared it
                await self._freeze(connection, tenant, run, found)
        except AudienceError as error:  # deleted since it was scheduled: a person must say what is meant
            async with self._relay.transaction() as connection:
                if _to_prepare(await lock_run(connection, tenant=tenant, run=run)):
                    await set_state(connection, tenant=tenant, run=run, state=RunState.HALTED, reason=error.code)
        except _ChangedMeanwhileError:
            logger.info("the run changed while it was prepared", extra={"run_id": str(run)})
        async with self._relay.transaction() as connection:
            return _progress(await read_now(connection, tenant=tenant, run=run))

    async def _freeze(self, connection: Connection, tenant: UUID, run: UUID, found: RunToPrepare) -> None:
        frozen = FrozenRun.model_validate(found.definition)
        definition = frozen.definition
        audience, shards = await freeze(
            connection,
            tenant=tenant,
            run=run,
            channel=Channel(found.channel),
            audience=await self._audience(connection, tenant, found, definition),
            exclude=await self._excluded(connection, tenant, definition),
            how=await self._how(connection, tenant, found, frozen),
        )
        now = await lock_run(connection, tenant=tenant, run=run)
        if now is None or not _to_prepare(now):
            raise _ChangedMeanwhileError
        waits = now.approval_over is not None and audience > now.approval_over and now.approved_at is None
        await set_prepared(
            connection,
            tenant=tenant,
            run=run,
            audience=audience,
            shards=shards,
            state=RunState.PAUSED if waits else RunState.SENDING,
            reason=NEEDS_APPROVAL if waits else None,
            decide_after=_decide_after(definition),
        )

    async def _audience(
        self, connection: Connection, tenant: UUID, found: RunToPrepare, definition: CampaignDefinition
    ) -> Query:
        if found.kind == RESEND and found.based_on is not None:
            return not_reached(tenant=tenant, run=found.based_on)
        return await audience_query(connection, tenant=tenant, audience=definition.audience.model_dump())

    async def _excluded(self, connection: Connection, tenant: UUID, definition: CampaignDefinition) -> Query | None:
        if definition.exclude is None:
            return None
        return await audience_query(connection, tenant=tenant, audience=definition.exclude.model_dump())

    async def _how(self, connection: Connection, tenant: UUID, found: RunToPrepare, frozen: FrozenRun) -> Freeze:
        definition = frozen.definition
        schedule = definition.schedule
        local = schedule.local
        zones = await zones_of(connection, tenant=tenant) if local is not None else []
        return Freeze(
            due_at=found.scheduled_at if local is None else local_due(local, found.time_zone),
            due_by_zone={} if local is None else due_by_zone(local, zones, found.time_zone),
            spread=schedule.spread or timedelta(),
            expires_in=definition.expires_in,
            first_share=definition.first_share,
            weights=tuple(content.weight for content in frozen.contents),
            rest_has_variant=definition.winner is None,
            templates=tuple((content.template_id, content.template_version) for content in frozen.contents),
        )

    async def _decide(self, connection: Connection, tenant: UUID, run: UUID, now: RunNow) -> None:
        definition = FrozenRun.model_validate(now.definition).definition
        counts = await counts_by_variant(connection, tenant=tenant, run=run)
        after = _decide_after(definition)
        waiting = await first_share_waiting(connection, run=run, shards=now.shards or 0)
        if after is not None and waiting * _MOSTLY > total(counts).ended:
            await put_off_decision(connection, tenant=tenant, run=run, after=after)
        elif definition.winner is not None and definition.winner.by is not WinnerBy.MANUAL:
            winner = choose_winner(definition.winner.by, counts, variants=len(definition.contents))
            await release_rest(connection, tenant=tenant, run=run, winner=winner)
        elif definition.canary is not None:
            reason = canary_verdict(definition.canary, counts)
            if reason is None:
                await release_rest(connection, tenant=tenant, run=run, winner=None)
            else:
                await set_state(connection, tenant=tenant, run=run, state=RunState.HALTED, reason=reason)


class _ChangedMeanwhileError(Exception):
    """Paused, cancelled, or prepared by another while its rows were made: they are rolled back."""


def _to_prepare(run: RunToPrepare | None) -> bool:
    return run is not None and run.shards is None and run.state in (RunState.SCHEDULED, RunState.PREPARING)


def _is_time(now: RunNow) -> bool:
    due = now.decide_at is not None and now.decide_at <= now.now
    return due and now.open_cohort == 0 and now.state == RunState.SENDING


def _decide_after(definition: CampaignDefinition) -> timedelta | None:
    if definition.winner is not None:
        return None if definition.winner.by is WinnerBy.MANUAL else definition.winner.after
    return definition.canary.after if definition.canary is not None else None


def _progress(now: RunNow | None) -> Progress:
    if now is None:
        return Progress(RunState.CANCELLED)
    waits = now.state == RunState.SENDING
    return Progress(
        now.state,
        audience=now.audience or 0,
        shards=now.shards or 0,
        decide_at=now.decide_at if now.open_cohort == 0 and now.state == RunState.SENDING else None,
        again_at=now.now + _NOT_DONE_AGAIN if waits else None,
    )
