"""A page of a campaign: the next due recipients of a shard, gated and rendered, then for each provider call budget,
claim (commit), call, record (commit).

Memory is bounded by the recipients in hand; nothing remembers what was sent but the rows.
"""

import asyncio
import logging
import time
from collections.abc import Hashable, Sequence
from uuid import UUID

from temporalio import activity

from activities.campaign_calls import BUSY_AGAIN, STOPPED_AGAIN, Calls, Page, judged_as, wait
from activities.campaign_composing import CampaignComposer, Prepared
from activities.campaign_facts import RunRules
from activities.campaign_places import Look, Places
from activities.composing import UNRENDERABLE
from activities.contracts.campaigns import PageResult, PageStep
from activities.doors import AccountUnusableError, Door, Doors
from activities.failures import UNUSABLE_RETRY
from waypost.messaging.gate import Defer, Refuse, verdict
from waypost.messaging.values import Outcome, RunState, TenantState
from waypost.store.budgets import pause_account
from waypost.store.campaign_open import StillOpen, next_due, still_open
from waypost.store.campaign_pages import Judged, LoadedRun, Place, Recipient, load_run
from waypost.store.database import Database

logger = logging.getLogger(__name__)

PAGE_S = 30.0
"""A page ends after this, so that its execution's history says how far it is; a call under way is finished first."""
_MOST, _LEAST = 250, 50
"""Recipients read at once: fewer where the account's rate makes them wait, for a verdict does not keep."""
_SLOW_S = 1.5
CALLS_AT_ONCE = 3
"""Calls of one page that are under way together: one is rendered and claimed while others wait for their provider."""
BULK = 50


class Pages:
    """Sends pages with PostgreSQL and the provider adapters."""

    def __init__(
        self, *, app: Database, relay: Database, composer: CampaignComposer, doors: Doors, calls: Calls
    ) -> None:
        self._app = app
        self._relay = relay
        self._composer = composer
        self._doors = doors
        self._calls = calls
        self._places = Places()

    async def send(self, tenant: UUID, run: UUID, shard: int) -> PageResult:
        """Send to the shard's due recipients for half a minute, or until none is due."""
        page = Page()
        try:
            return await self._send(page, tenant, run, shard)
        finally:
            if page.calls:  # whoever cancels it: claims that were made are called and recorded, no other is made
                page.stop = page.stop or PageResult(PageStep.MORE)
                await asyncio.wait(page.calls)

    async def _send(self, page: Page, tenant: UUID, identity: UUID, shard: int) -> PageResult:
        until = time.monotonic() + PAGE_S
        run: LoadedRun | None = None
        place: Place | None = None
        most = _LEAST
        while page.stop is None and time.monotonic() < until and not activity.is_worker_shutdown():
            run, look = await self._load(tenant, identity, shard, place, most)
            recipients = look.recipients
            if run is None or run.state in (RunState.CANCELLED, RunState.COMPLETED):
                return PageResult(PageStep.ENDED, page.handed_over, page.ended)
            page.stop = _stopped(run)
            if page.stop is None and not recipients:
                return await self._none_due(page, run, shard, look.after)
            if page.stop is None:
                place = (recipients[-1].due_at, recipients[-1].id)
                began = time.monotonic()
                await self._send_all(page, run, recipients)
                most = max(_LEAST, most // 2) if time.monotonic() - began > _SLOW_S else min(_MOST, most * 2)
        await self._finish(page)
        if page.stop is None and run is not None and place is not None:
            self._places.passed(run=run, shard=shard, place=place)
        step = page.stop or PageResult(PageStep.MORE)
        return PageResult(step.step, page.handed_over, page.ended, step.at, step.reason)

    async def _load(
        self, tenant: UUID, run: UUID, shard: int, after: Place | None, most: int
    ) -> tuple[LoadedRun | None, Look]:
        async with self._app.transaction(tenant) as connection:
            found = await load_run(connection, tenant=tenant, run=run)
            if found is None or _stopped(found) is not None:
                return found, Look(recipients=(), after=after)
            return found, await self._places.look(connection, run=found, shard=shard, after=after, limit=most)

    async def _none_due(self, page: Page, run: LoadedRun, shard: int, after: Place | None) -> PageResult:
        """Nothing due behind the place: look from the start again if there was one; else wait, or be done."""
        await self._finish(page)
        if page.stop is not None:
            return PageResult(page.stop.step, page.handed_over, page.ended, page.stop.at, page.stop.reason)
        left = await self._left(run, shard, after)
        if not left.any:
            return PageResult(PageStep.DONE, page.handed_over, page.ended)
        if after is not None and left.next_due is not None and left.next_due <= run.now:
            return PageResult(PageStep.MORE, page.handed_over, page.ended)
        if left.next_due is None:
            return PageResult(PageStep.WAIT, page.handed_over, page.ended, reason="waits for evidence or a decision")
        at = max(left.next_due, run.now + BUSY_AGAIN)
        return PageResult(PageStep.WAIT, page.handed_over, page.ended, at, "waits for the next due time")

    async def _left(self, run: LoadedRun, shard: int, after: Place | None) -> StillOpen:
        """What is open behind the place; from the start where nothing is."""
        async with self._app.transaction(run.tenant_id) as connection:
            due = None if after is None else await next_due(connection, run=run, shard=shard, after=after)
            if due is not None:
                return StillOpen(any=True, next_due=due)
            self._places.forget(run=run, shard=shard)
            return await still_open(connection, run=run, shard=shard)

    async def _send_all(self, page: Page, run: LoadedRun, recipients: Sequence[Recipient]) -> None:
        door = await self._door(page, run)
        if door is None:
            return
        rules = RunRules.of(run)
        judged: list[Judged] = []
        groups: dict[Hashable, list[Prepared]] = {}
        for number, recipient in enumerate(recipients):
            if number % 25 == 24:
                await asyncio.sleep(0)  # other pages and heartbeats between a few milliseconds of rendering
            ready = await self._judge(rules, recipient, judged)
            if ready is not None:
                key = door.bulk_key(ready.rendered)
                group = groups.setdefault(ready.recipient.id if key is None else key, [])
                group.append(ready)
                if key is None or len(group) == BULK:
                    await self._start(page, rules, door, groups.pop(ready.recipient.id if key is None else key))
        for group in groups.values():
            await self._start(page, rules, door, group)
        await self._calls.settle(page, run, judged)

    async def _judge(self, rules: RunRules, recipient: Recipient, judged: list[Judged]) -> Prepared | None:
        """What can be handed over; or None, with the reason among `judged`."""
        match verdict(rules.facts(recipient)):
            case Refuse(outcome, reason):
                judged.append(judged_as(recipient, str(reason), outcome=outcome))
            case Defer(until, reason):
                judged.append(judged_as(recipient, reason, until=until))
            case _:
                try:
                    return await self._composer.prepare(rules, recipient)
                except UNRENDERABLE as error:
                    logger.info(
                        "recipient not rendered", extra={"error": type(error).__name__, "run_id": str(rules.run.id)}
                    )
                    judged.append(judged_as(recipient, "rendering_failed", outcome=Outcome.FAILED))
        return None

    async def _door(self, page: Page, run: LoadedRun) -> Door | None:
        try:
            return await self._doors.to(run.account_id)
        except AccountUnusableError:
            async with self._relay.transaction() as connection:
                await pause_account(connection, account=run.account_id, reason="account_unusable", retry=UNUSABLE_RETRY)
            page.stop = wait(run, STOPPED_AGAIN, "the account cannot be used")
            return None

    async def _start(self, page: Page, rules: RunRules, door: Door, group: list[Prepared]) -> None:
        while len(page.calls) >= CALLS_AT_ONCE:
            await self._one_less(page)
        if page.stop is None:
            page.calls.add(asyncio.create_task(self._calls.hand_over(page, rules, door, group)))

    async def _finish(self, page: Page) -> None:
        while page.calls:
            await self._one_less(page)

    async def _one_less(self, page: Page) -> None:
        done, page.calls = await asyncio.wait(page.calls, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def _stopped(run: LoadedRun) -> PageResult | None:
    """Why nothing may go out now; the claim says the same."""
    if run.tenant_state in (TenantState.CLOSING, TenantState.CLOSED):
        return PageResult(PageStep.ENDED)
    if run.state != RunState.SENDING:
        return PageResult(PageStep.WAIT, reason=f"the run is {run.state}")
    if run.tenant_state == TenantState.SUSPENDED:
        return PageResult(PageStep.WAIT, reason="the tenant is suspended")
    if run.account_state != "open":
        return PageResult(PageStep.WAIT, reason="the account is paused")
    return None
