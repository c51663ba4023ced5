"""The provider calls of a campaign's page: throttle and budget, then claim (commit), one call, record (commit)."""

import asyncio
import collections
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Counter, Histogram

from activities.budgets import BudgetExhaustedError, Budgets
from activities.campaign_composing import Prepared
from activities.campaign_facts import RunRules
from activities.contracts.campaigns import PageResult, PageStep
from activities.doors import Door, DoorBusyError
from activities.failures import FENCE_PASSED, QUOTA_RETRY, Consequence, consequence, judge_denied
from activities.lasting import finish, write_down
from waypost.messaging.addresses import address_key
from waypost.messaging.gate import FREQUENCY_CAP
from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.messaging.values import AttemptState, Channel, Outcome, Phase, SuppressionReason
from waypost.store.attempts import Ending
from waypost.store.budgets import pause_account, slow_down
from waypost.store.campaign_pages import Judged, LoadedRun, Recipient, claim_many, record_many, settle_many
from waypost.store.campaign_throttle import take_throttle
from waypost.store.caps import give_back_caps, give_back_just_taken, take_caps
from waypost.store.database import Connection, Database, DatabaseAway
from waypost.store.denials import denials
from waypost.store.event_effects import Suppression, suppress

STOPPED_AGAIN = timedelta(seconds=30)
BUSY_AGAIN = timedelta(seconds=1)
_FRESH_S = 5.0
"""Recipients that were judged longer ago are judged again: a receipt or an unsubscription may have come meanwhile."""
_PATIENCE = timedelta(seconds=4)
_NAP = timedelta(seconds=1)
"""A throttled run waits so long for a few at once: one by one they would cost a call each, and more history."""
_CAPPED_AGAIN = timedelta(seconds=1)
"""Whom the claim found capped is judged again by then: the gate says whether it is so, or the contact was locked."""

_RECIPIENTS = Counter(
    "waypost_campaign_recipients_total", "Recipients of campaigns by what became of them", ["outcome"]
)
_CALLS = Histogram("waypost_campaign_call_seconds", "One provider call of a campaign, claim and record included")


@dataclass(slots=True)
class Page:
    """What one page has done so far. `stop` ends it early, with the reason and when to ask again."""

    handed_over: int = 0
    ended: int = 0
    stop: PageResult | None = None
    calls: set[asyncio.Task[None]] = field(default_factory=set)


class Calls:
    """Hands groups of recipients over with PostgreSQL and the provider adapters."""

    def __init__(self, *, app: Database, relay: Database, budgets: Budgets, process: str) -> None:
        self._app = app
        self._relay = relay
        self._budgets = budgets
        self._process = process

    async def hand_over(self, page: Page, rules: RunRules, door: Door, group: list[Prepared]) -> None:
        """All of a group, in as many calls as budget and throttle make of it."""
        run = rules.run
        left = sorted(group, key=lambda one: one.recipient.id)
        alone: list[Prepared] = []
        judged_at = time.monotonic()
        while (left or alone) and page.stop is None and time.monotonic() - judged_at < _FRESH_S:
            pause = timedelta()
            try:
                async with door.slot(_PATIENCE.total_seconds()):
                    granted, pause = await self._granted(run, len(left) or 1)
                    if granted:
                        group = left or alone
                        now, group = group[:granted], group[granted:]
                        left, alone = (group, alone) if left else (left, group)
                        alone += await finish(self._call(page, rules, door, now))
            except DoorBusyError:
                page.stop = wait(run, BUSY_AGAIN, "every call of the account is taken")
            except BudgetExhaustedError as exhausted:
                await self._over_budget(page, run, quota=exhausted.quota)
            if pause > _NAP:
                page.stop = wait(run, pause, "throttled")
            elif pause:
                await asyncio.sleep(_NAP.total_seconds())

    async def _granted(self, run: LoadedRun, wanted: int) -> tuple[int, timedelta]:
        """How many may go now by the account's budget and the run's throttle; if none, how long until one may."""
        granted = await self._budgets.take_many(
            run.account_id,
            tenant=run.tenant_id,
            weight=run.tenant_weight,
            flow=run.id,
            wanted=wanted,
            patience=_PATIENCE,
        )
        if run.throttle_per_minute is None:
            return granted, timedelta()
        async with self._app.transaction(run.tenant_id) as connection:
            allowed, pause = await take_throttle(connection, tenant=run.tenant_id, run=run.id, wanted=granted)
        if allowed < granted:
            await self._budgets.give_back_some(run.account_id, granted - allowed)
        return allowed, timedelta() if allowed else pause

    async def _over_budget(self, page: Page, run: LoadedRun, *, quota: bool) -> None:
        if quota:
            async with self._relay.transaction() as connection:
                await pause_account(connection, account=run.account_id, reason="daily_quota", retry=QUOTA_RETRY)
        page.stop = wait(run, STOPPED_AGAIN if quota else BUSY_AGAIN, "daily quota" if quota else "send rate")

    async def _call(self, page: Page, rules: RunRules, door: Door, group: Sequence[Prepared]) -> list[Prepared]:
        """Claim, call, record. Whom a refusal of the whole call may not mean is returned, to be tried alone."""
        run = rules.run
        claimed_at = time.monotonic()
        mine = await self._claim(page, rules, group)
        if len(mine) < len(group):
            await self._budgets.give_back_some(run.account_id, len(group) - len(mine))
        if not mine:
            return []
        replies = await self._judge_denied(run, mine, await _replies(door, mine, claimed_at))
        endings = [_weigh(reply, run) for reply in replies]
        await write_down(lambda: self._commit(rules, mine, endings))
        _CALLS.observe(time.monotonic() - claimed_at)
        self._count(page, endings)
        await self._tell_account(page, run, endings)
        return [_again(one) for one, what in zip(mine, endings, strict=True) if what.ending.reason == REFUSED_TOGETHER]

    async def _judge_denied(
        self, run: LoadedRun, mine: Sequence[Prepared], replies: Sequence[ProviderReply | None]
    ) -> Sequence[ProviderReply | None]:
        """Whose a denial is: the account's, or the message's own. One look tells it of a whole call."""
        denied = [
            (one, reply)
            for one, reply in zip(mine, replies, strict=True)
            if reply is not None and reply.kind is ReplyKind.DENIED
        ]
        if not denied:
            return replies
        one, reply = denied[0]
        try:
            async with self._relay.transaction() as connection:
                seen = await denials(
                    connection,
                    tenant=run.tenant_id,
                    message=one.recipient.id,
                    account=run.account_id,
                    code=reply.code,
                )
        except DatabaseAway:
            return replies
        return [
            judge_denied(each, seen) if each is not None and each.kind is ReplyKind.DENIED else each for each in replies
        ]

    async def _claim(self, page: Page, rules: RunRules, group: Sequence[Prepared]) -> list[Prepared]:
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
            mine = [one.at(claimed[one.ask.message]) for one in group if one.ask.message in claimed]
            unused = passed - {one.recipient.contact_id for one in mine}
            if rules.caps and unused:
                await give_back_just_taken(
                    connection, tenant=run.tenant_id, channel=Channel(run.channel), contacts=sorted(unused)
                )
        if asks and not claimed and page.stop is None:
            page.stop = wait(run, timedelta(), "the run changed")
        await self.settle(page, run, _capped(run, group, passed))
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

    async def _commit(self, rules: RunRules, mine: Sequence[Prepared], endings: Sequence[Consequence]) -> None:
        run = rules.run
        voided = [
            (one.recipient.contact_id, one.claimed_at or run.now)
            for one, what in zip(mine, endings, strict=True)
            if what.ending.phase is Phase.READY
        ]
        async with self._app.transaction(run.tenant_id) as connection:
            if voided and rules.caps:  # first, for everybody locks a contact's use before its messages
                await give_back_caps(connection, tenant=run.tenant_id, channel=Channel(run.channel), uses=voided)
            await record_many(
                connection,
                tenant=run.tenant_id,
                months=[one.recipient.month for one in mine],
                endings=[(one.ask.attempt, what.ending) for one, what in zip(mine, endings, strict=True)],
            )
            await suppress(
                connection, [_stopped(run, one) for one, what in zip(mine, endings, strict=True) if what.suppress]
            )

    def _count(self, page: Page, endings: Sequence[Consequence]) -> None:
        for outcome, count in collections.Counter(what.ending.outcome for what in endings).items():
            if outcome is not None:
                _RECIPIENTS.labels(outcome).inc(count)
            if outcome in (Outcome.SENT, Outcome.MAYBE_SENT):
                page.handed_over += count
            elif outcome is not None:
                page.ended += count

    async def _tell_account(self, page: Page, run: LoadedRun, endings: Sequence[Consequence]) -> None:
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
            page.stop = wait(run, STOPPED_AGAIN, "the account is paused")

    async def settle(self, page: Page, run: LoadedRun, judged: Sequence[Judged]) -> None:
        """Write down who waits and who ended, each with the reason."""
        if not judged:
            return
        async with self._app.transaction(run.tenant_id) as connection:
            ended = await settle_many(connection, tenant=run.tenant_id, judged=judged)
        page.ended += ended
        for one in judged:
            if one.outcome is not None:
                _RECIPIENTS.labels(one.outcome).inc()


_FENCE_ENDING = Consequence(ending=FENCE_PASSED)
REFUSED_TOGETHER = "refused_together"
"""A bulk call was refused as a whole, for one of its messages or for all: each is tried alone."""


def _weigh(reply: ProviderReply | None, run: LoadedRun) -> Consequence:
    if reply is None:
        return _FENCE_ENDING
    if reply.kind is ReplyKind.REJECTED and reply.of_whole_call:
        return Consequence(
            ending=Ending(
                state=AttemptState.VOID,
                phase=Phase.READY,
                code=reply.code,
                reason=REFUSED_TOGETHER,
                retry_after=BUSY_AGAIN,
            )
        )
    return consequence(reply, second_try_left=False, at_most_once=run.at_most_once)


def _again(one: Prepared) -> Prepared:
    """The same for its next attempt."""
    ask = replace(one.ask, number=one.ask.number + 1)
    return Prepared(
        recipient=replace(one.recipient, attempts=one.recipient.attempts + 1),
        ask=ask,
        rendered=replace(one.rendered, attempt_id=ask.attempt),
    )


def _stopped(run: LoadedRun, one: Prepared) -> Suppression:
    channel = Channel(run.channel)
    return Suppression(
        tenant_id=run.tenant_id,
        channel=channel,
        address=address_key(channel, one.recipient.address),
        reason=SuppressionReason.STOP,
        message_id=one.recipient.id,
    )


async def _replies(door: Door, mine: Sequence[Prepared], claimed_at: float) -> Sequence[ProviderReply | None]:
    if door.bulk_key(mine[0].rendered) is None:
        return [await door.call(mine[0].rendered, claimed_at=claimed_at)]
    replies = await door.call_bulk([one.rendered for one in mine], claimed_at=claimed_at)
    return [None] * len(mine) if replies is None else replies


def wait(run: LoadedRun, wait: timedelta, reason: str) -> PageResult:
    """The page ends here; the next is asked for after `wait`."""
    return PageResult(PageStep.WAIT, at=later(run, wait), reason=reason)


def later(run: LoadedRun, wait: timedelta) -> datetime:
    """So long after the run was read, by the database's clock."""
    return run.now + wait


def _capped(run: LoadedRun, group: Sequence[Prepared], passed: set[UUID]) -> list[Judged]:
    return [
        judged_as(one.recipient, FREQUENCY_CAP, until=later(run, _CAPPED_AGAIN))
        for one in group
        if one.recipient.contact_id not in passed
    ]


def judged_as(
    recipient: Recipient, reason: str, *, outcome: Outcome | None = None, until: datetime | None = None
) -> Judged:
    """A verdict on a recipient as it is stored: it ended with an outcome, or waits until then."""
    return Judged(
        message=recipient.id,
        attempts=recipient.attempts,
        reason=reason,
        outcome=outcome.value if outcome else None,
        until=until,
    )
