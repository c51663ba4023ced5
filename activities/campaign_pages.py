"""A page of a campaign: the next due recipients of a shard, gated and rendered, then for each provider call budget,
claim (commit), call, record (commit).

Memory is bounded by the recipients in hand; nothing remembers what was sent but the rows.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prometheus_client import Counter, Histogram
from temporalio import activity

from activities.budgets import BudgetExhaustedError, Budgets
from activities.campaign_composing import CampaignComposer, Prepared
from activities.campaign_facts import RunRules
from activities.composing import UNRENDERABLE
from activities.contracts.campaigns import PageResult, PageStep
from activities.doors import AccountUnusableError, Door, DoorBusyError, Doors
from activities.failures import FENCE_PASSED, QUOTA_RETRY, UNUSABLE_RETRY, Consequence, consequence
from waypost.messaging.gate import FREQUENCY_CAP, Defer, Refuse, verdict
from waypost.messaging.provider import ProviderReply
from waypost.messaging.values import Channel, Outcome, Phase, RunState, TenantState
from waypost.store.budgets import pause_account, slow_down
from waypost.store.campaign_pages import (
    Judged,
    LoadedRun,
    Place,
    Recipient,
    claim_many,
    due_recipients,
    load_run,
    record_many,
    settle_many,
    still_open,
    take_throttle,
)
from waypost.store.caps import give_back_caps, take_caps
from waypost.store.database import Connection, Database, DatabaseAway

logger = logging.getLogger(__name__)

PAGE_S = 30.0
"""A page ends after this, so that its execution's history says how far it is; a call under way is finished first."""
LOADED = 250
CALLS_AT_ONCE = 3
"""Calls of one page that are under way together: one is rendered and claimed while others wait for their provider."""
BULK = 50
_PATIENCE = timedelta(seconds=8)
_RECORD_PATIENCE_S = 8.0
_RECORD_AGAIN_S = 0.5
_HELD_AGAIN = timedelta(seconds=5)
_STOPPED_AGAIN = timedelta(seconds=30)
_BUSY_AGAIN = timedelta(seconds=1)
_CLAIM_LASTS = timedelta(minutes=5)
"""No claim is made so long after its recipients were read."""

_RECIPIENTS = Counter(
    "waypost_campaign_recipients_total", "Recipients of campaigns by what became of them", ["outcome"]
)
_CALLS = Histogram("waypost_campaign_call_seconds", "One provider call of a campaign, claim and record included")


@dataclass(slots=True)
class _Page:
    """What one page has done so far. `stop` ends it early, with the reason and when to ask again."""

    handed_over: int = 0
    ended: int = 0
    stop: PageResult | None = None
    calls: set[asyncio.Task[None]] = field(default_factory=set)


class Pages:
    """Sends pages with PostgreSQL and the provider adapters."""

    def __init__(
        self,
        *,
        app: Database,
        relay: Database,
        composer: CampaignComposer,
        doors: Doors,
        budgets: Budgets,
        process: str,
    ) -> None:
        self._app = app
        self._relay = relay
        self._composer = composer
        self._doors = doors
        self._budgets = budgets
        self._process = process

    async def send(self, tenant: UUID, run: UUID, shard: int) -> PageResult:
        """Send to the shard's due recipients for half a minute, or until none is due."""
        page = _Page()
        try:
            return await self._send(page, tenant, run, shard)
        finally:
            if page.calls:  # whoever cancels it: claims that were made are called and recorded
                await asyncio.wait(page.calls)

    async def _send(self, page: _Page, tenant: UUID, identity: UUID, shard: int) -> PageResult:
        until = time.monotonic() + PAGE_S
        place: Place | None = None
        while page.stop is None and time.monotonic() < until and not activity.is_worker_shutdown():
            run, recipients = await self._load(tenant, identity, shard, place)
            if run is None or run.state in (RunState.CANCELLED, RunState.COMPLETED):
                return PageResult(PageStep.ENDED, page.handed_over, page.ended)
            page.stop = _stopped(run)
            if page.stop is None and not recipients:
                return await self._none_due(page, run, shard, found_any=place is not None)
            if page.stop is None:
                place = (recipients[-1].due_at, recipients[-1].id)
                await self._send_all(page, run, recipients)
        await self._finish(page)
        step = page.stop or PageResult(PageStep.MORE)
        return PageResult(step.step, page.handed_over, page.ended, step.at, step.reason)

    async def _load(
        self, tenant: UUID, run: UUID, shard: int, after: Place | None
    ) -> tuple[LoadedRun | None, list[Recipient]]:
        async with self._app.transaction(tenant) as connection:
            found = await load_run(connection, tenant=tenant, run=run)
            if found is None or _stopped(found) is not None:
                return found, []
            return found, await due_recipients(connection, run=found, shard=shard, after=after, limit=LOADED)

    async def _none_due(self, page: _Page, run: LoadedRun, shard: int, *, found_any: bool) -> PageResult:
        """Nothing due behind the place: look from the start again if there was one; else wait, or be done."""
        await self._finish(page)
        if page.stop is not None:
            return PageResult(page.stop.step, page.handed_over, page.ended, page.stop.at, page.stop.reason)
        async with self._app.transaction(run.tenant_id) as connection:
            left = await still_open(connection, run=run, shard=shard)
        if not left.any:
            return PageResult(PageStep.DONE, page.handed_over, page.ended)
        if found_any and left.next_due is not None and left.next_due <= run.now:
            return PageResult(PageStep.MORE, page.handed_over, page.ended)
        at = run.now + _HELD_AGAIN if left.next_due is None else left.next_due
        reason = "waits for evidence or a decision" if left.next_due is None else "waits for the next due time"
        return PageResult(PageStep.WAIT, page.handed_over, page.ended, max(at, run.now + _BUSY_AGAIN), reason)

    async def _send_all(self, page: _Page, run: LoadedRun, recipients: Sequence[Recipient]) -> None:
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
        await self._settle(page, run, judged)

    async def _judge(self, rules: RunRules, recipient: Recipient, judged: list[Judged]) -> Prepared | None:
        """What can be handed over; or None, with the reason among `judged`."""
        match verdict(rules.facts(recipient)):
            case Refuse(outcome, reason):
                judged.append(_judged(recipient, str(reason), outcome=outcome))
            case Defer(until, reason):
                judged.append(_judged(recipient, reason, until=until))
            case _:
                try:
                    return await self._composer.prepare(rules, recipient)
                except UNRENDERABLE as error:
                    logger.info(
                        "recipient not rendered", extra={"error": type(error).__name__, "run_id": str(rules.run.id)}
                    )
                    judged.append(_judged(recipient, "rendering_failed", outcome=Outcome.FAILED))
        return None

    async def _settle(self, page: _Page, run: LoadedRun, judged: Sequence[Judged]) -> None:
        if not judged:
            return
        async with self._app.transaction(run.tenant_id) as connection:
            ended = await settle_many(connection, tenant=run.tenant_id, judged=judged)
        page.ended += ended
        for one in judged:
            if one.outcome is not None:
                _RECIPIENTS.labels(one.outcome).inc()

    async def _door(self, page: _Page, run: LoadedRun) -> Door | None:
        try:
            return await self._doors.to(run.account_id)
        except AccountUnusableError:
            async with self._relay.transaction() as connection:
                await pause_account(connection, account=run.account_id, reason="account_unusable", retry=UNUSABLE_RETRY)
            page.stop = _wait(run, _STOPPED_AGAIN, "the account cannot be used")
            return None

    async def _start(self, page: _Page, rules: RunRules, door: Door, group: list[Prepared]) -> None:
        while len(page.calls) >= CALLS_AT_ONCE:
            await self._one_less(page)
        if page.stop is None:
            page.calls.add(asyncio.create_task(self._hand_over(page, rules, door, group)))

    async def _finish(self, page: _Page) -> None:
        while page.calls:
            await self._one_less(page)

    async def _one_less(self, page: _Page) -> None:
        done, page.calls = await asyncio.wait(page.calls, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _hand_over(self, page: _Page, rules: RunRules, door: Door, group: list[Prepared]) -> None:
        """All of a group, in as many calls as budget and throttle make of it."""
        run = rules.run
        left = sorted(group, key=lambda one: one.recipient.id)
        while left and page.stop is None:
            try:
                async with door.slot(_PATIENCE.total_seconds()):
                    wanted = await self._throttled(page, run, len(left))
                    if wanted == 0:
                        return
                    granted = await self._budgets.take_many(
                        run.account_id,
                        tenant=run.tenant_id,
                        weight=run.tenant_weight,
                        flow=run.id,
                        wanted=wanted,
                        patience=_PATIENCE,
                    )
                    now, left = left[:granted], left[granted:]
                    await _to_its_end(self._call(page, rules, door, now))
            except DoorBusyError:
                page.stop = _wait(run, _BUSY_AGAIN, "every call of the account is taken")
            except BudgetExhaustedError as exhausted:
                await self._over_budget(page, run, quota=exhausted.quota)

    async def _throttled(self, page: _Page, run: LoadedRun, wanted: int) -> int:
        if run.throttle_per_minute is None:
            return wanted
        async with self._app.transaction(run.tenant_id) as connection:
            granted, wait = await take_throttle(connection, tenant=run.tenant_id, run=run.id, wanted=wanted)
        if granted == 0:
            page.stop = PageResult(
                PageStep.WAIT, at=_later(run, max(wait, timedelta(milliseconds=500))), reason="throttled"
            )
        return granted

    async def _over_budget(self, page: _Page, run: LoadedRun, *, quota: bool) -> None:
        if quota:
            async with self._relay.transaction() as connection:
                await pause_account(connection, account=run.account_id, reason="daily_quota", retry=QUOTA_RETRY)
        page.stop = _wait(run, _STOPPED_AGAIN if quota else _BUSY_AGAIN, "daily quota" if quota else "send rate")

    async def _call(self, page: _Page, rules: RunRules, door: Door, group: Sequence[Prepared]) -> None:
        run = rules.run
        claimed_at = time.monotonic()
        mine = await self._claim(page, rules, group)
        if len(mine) < len(group):
            await self._budgets.give_back_some(run.account_id, len(group) - len(mine))
        if not mine:
            return
        replies = await _replies(door, mine, claimed_at)
        endings = [
            FENCE_ENDING if reply is None else consequence(reply, second_try_left=False, at_most_once=run.at_most_once)
            for reply in replies
        ]
        await self._record(rules, mine, endings)
        _CALLS.observe(time.monotonic() - claimed_at)
        self._count(page, endings)
        await self._tell_account(page, run, endings)

    async def _claim(self, page: _Page, rules: RunRules, group: Sequence[Prepared]) -> list[Prepared]:
        """Caps and claim in one transaction: two campaigns of the same second cannot both pass a contact's cap."""
        run = rules.run
        async with self._app.transaction(run.tenant_id) as connection:
            passed = await self._take_caps(connection, rules, [one.recipient.contact_id for one in group])
            asks = [one.ask for one in group if one.recipient.contact_id in passed]
            claimed = dict[UUID, datetime]()
            if asks:
                claimed = await claim_many(
                    connection, tenant=run.tenant_id, run=run.id, asks=asks, process=self._process
                )
            mine = [replace(one, claimed_at=claimed[one.ask.message]) for one in group if one.ask.message in claimed]
            unused = passed - {one.recipient.contact_id for one in mine}
            if rules.caps and unused:
                # The last use, whoever looks: the row is locked since it was taken.
                uses = [(contact, run.now + _CLAIM_LASTS) for contact in sorted(unused)]
                await give_back_caps(connection, tenant=run.tenant_id, channel=Channel(run.channel), uses=uses)
        if asks and not claimed and page.stop is None:
            page.stop = _wait(run, timedelta(), "the run changed")
        await self._settle(page, run, _capped(group, passed))
        return mine

    async def _take_caps(self, connection: Connection, rules: RunRules, contacts: Sequence[UUID]) -> set[UUID]:
        return await take_caps(
            connection,
            tenant=rules.run.tenant_id,
            contacts=sorted(contacts),
            channel=Channel(rules.run.channel),
            caps=rules.caps,
            ignore=not rules.rules.caps,
        )

    async def _record(self, rules: RunRules, mine: Sequence[Prepared], endings: Sequence[Consequence]) -> None:
        """Commit the replies that are in hand, as long as it takes: without it the attempts would be unknown."""
        give_up_at = time.monotonic() + _RECORD_PATIENCE_S
        while True:
            try:
                await self._commit(rules, mine, endings)
                return
            except DatabaseAway:
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(_RECORD_AGAIN_S)

    async def _commit(self, rules: RunRules, mine: Sequence[Prepared], endings: Sequence[Consequence]) -> None:
        run = rules.run
        voided = [
            (one.recipient.contact_id, one.claimed_at or run.now)
            for one, what in zip(mine, endings, strict=True)
            if what.ending.phase is Phase.READY
        ]
        async with self._app.transaction(run.tenant_id) as connection:
            await record_many(
                connection,
                tenant=run.tenant_id,
                endings=[(one.ask.attempt, what.ending) for one, what in zip(mine, endings, strict=True)],
            )
            if voided and rules.caps:
                await give_back_caps(connection, tenant=run.tenant_id, channel=Channel(run.channel), uses=voided)

    def _count(self, page: _Page, endings: Sequence[Consequence]) -> None:
        for what in endings:
            outcome = what.ending.outcome
            if outcome is not None:
                _RECIPIENTS.labels(outcome).inc()
            if outcome in (Outcome.SENT, Outcome.MAYBE_SENT):
                page.handed_over += 1
            elif outcome is not None:
                page.ended += 1

    async def _tell_account(self, page: _Page, run: LoadedRun, endings: Sequence[Consequence]) -> None:
        paused = next((what for what in endings if what.pause is not None), None)
        if any(what.slow_down for what in endings):
            async with self._relay.transaction() as connection:
                await slow_down(connection, account=run.account_id)
        if paused is not None and paused.pause is not None:
            async with self._relay.transaction() as connection:
                await pause_account(
                    connection,
                    account=run.account_id,
                    reason=paused.ending.code or "blocked",
                    retry=paused.pause,
                )
            page.stop = _wait(run, _STOPPED_AGAIN, "the account is paused")


FENCE_ENDING = Consequence(ending=FENCE_PASSED)


async def _replies(door: Door, mine: Sequence[Prepared], claimed_at: float) -> Sequence[ProviderReply | None]:
    if door.bulk_key(mine[0].rendered) is None:
        return [await door.call(mine[0].rendered, claimed_at=claimed_at)]
    replies = await door.call_bulk([one.rendered for one in mine], claimed_at=claimed_at)
    return [None] * len(mine) if replies is None else replies


def _stopped(run: LoadedRun) -> PageResult | None:
    """Why nothing may go out now; the claim says the same."""
    if run.tenant_state in (TenantState.CLOSING, TenantState.CLOSED):
        return PageResult(PageStep.ENDED)
    if run.state != RunState.SENDING:
        return _wait(run, _STOPPED_AGAIN, f"the run is {run.state}")
    if run.tenant_state == TenantState.SUSPENDED:
        return _wait(run, _HELD_AGAIN, "the tenant is suspended")
    if run.account_state != "open":
        return _wait(run, _HELD_AGAIN, "the account is paused")
    return None


def _wait(run: LoadedRun, wait: timedelta, reason: str) -> PageResult:
    return PageResult(PageStep.WAIT, at=_later(run, wait), reason=reason)


def _later(run: LoadedRun, wait: timedelta) -> datetime:
    return run.now + wait


def _capped(group: Sequence[Prepared], passed: set[UUID]) -> list[Judged]:
    return [
        _judged(one.recipient, FREQUENCY_CAP, outcome=Outcome.SKIPPED)
        for one in group
        if one.recipient.contact_id not in passed
    ]


def _judged(
    recipient: Recipient, reason: str, *, outcome: Outcome | None = None, until: datetime | None = None
) -> Judged:
    return Judged(
        message=recipient.id,
        attempts=recipient.attempts,
        reason=reason,
        outcome=outcome.value if outcome else None,
        until=until,
    )


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Claim, call and record run to their end, whoever cancels the activity meanwhile: a deploy makes no unknowns."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
