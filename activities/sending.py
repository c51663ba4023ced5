"""The send activity: load → gate → render → budget → claim (commit) → one provider call → record (commit).

No transaction is open across the provider call. Everything that decides is read from rows, so running it again, in
this process or another, is always safe: the claim lets at most one attempt out.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Counter, Histogram
from temporalio import activity

from activities.budgets import BudgetExhaustedError, Budgets
from activities.composing import UNRENDERABLE, Composer, content_hash
from activities.contracts.sending import SEND_ACTIVITY, Sending, SendInput, SendResult, Step
from activities.doors import AccountUnusableError, Door, DoorBusyError, Doors
from activities.facts import gate_facts, rests, sending_rules, stopped
from activities.failures import FENCE_PASSED, QUOTA_RETRY, UNUSABLE_RETRY, Consequence, consequence, judge_denied
from activities.lasting import beating, finish, write_down
from waypost.messaging.content_errors import ContentError
from waypost.messaging.gate import Defer, Refuse, Send, verdict
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import Channel, MessageClass, Outcome, Part, Phase
from waypost.store.attempts import abandon, claim, record, start_fallback, waiting_fallback
from waypost.store.budgets import pause_account, slow_down
from waypost.store.caps import give_back_caps_of_attempt, give_back_just_taken, take_caps
from waypost.store.database import Connection, Database, DatabaseAway
from waypost.store.denials import Denials, denials
from waypost.store.event_effects import suppress
from waypost.store.send import LoadedMessage, hold, load, put_back, refuse

logger = logging.getLogger(__name__)

LOGIN_CODE_PATIENCE = timedelta(seconds=20)
"""After this long without an answer a login code is tried once more."""

_PATIENCE = timedelta(seconds=8)
_NAP = timedelta(milliseconds=500)
"""A row that is due this soon is waited for here; a later one waits as a row."""
_BUSY_WAIT = timedelta(seconds=10)
"""How long a row waits that the account's calls or rate had no room for."""
_ASK_AGAIN = timedelta(seconds=1)
_HOURS = frozenset({"quiet_hours", "send_window"})
"""What a journey's own execution waits for with its message; anything else makes it the dispatcher's."""
_VERDICT_KEPT_S = 1.0
"""Who waited longer for their turn is judged again: a receipt or a suppression may have come meanwhile."""

_CALLS = Histogram("waypost_provider_call_seconds", "One provider call", ["lane", "reply"])
_OUTCOMES = Counter("waypost_outcomes_total", "Outcomes set by the send path", ["lane", "outcome"])


@dataclass(frozen=True, slots=True)
class _Asked:
    tenant: UUID
    message: UUID


class SendActivities(Sending):
    """Implements the contract with PostgreSQL and the provider adapters."""

    def __init__(
        self, *, app: Database, relay: Database, composer: Composer, doors: Doors, budgets: Budgets, process: str
    ) -> None:
        self._app = app
        self._relay = relay
        self._composer = composer
        self._doors = doors
        self._budgets = budgets
        self._process = process

    @activity.defn(name=SEND_ACTIVITY)
    async def send(self, task: SendInput) -> SendResult:
        """Take one message as far as it goes now."""
        with beating():
            return await self._send(task)

    async def _send(self, task: SendInput) -> SendResult:
        return await self._proceed(_Asked(UUID(task.tenant_id), UUID(task.message_id)))

    async def _proceed(self, asked: _Asked) -> SendResult:
        message = await self._load(asked)
        if message is None:
            return SendResult(Step.DONE, "gone")
        if message.outcome is not None:
            return await self._settled(message, message.outcome)
        if message.open_attempt_id is not None:
            return await self._with_open_attempt(message)
        return await self._decide(message)

    async def _load(self, asked: _Asked) -> LoadedMessage | None:
        async with self._app.transaction(asked.tenant) as connection:
            return await load(connection, tenant=asked.tenant, message=asked.message)

    async def _decide(self, message: LoadedMessage) -> SendResult:
        now = verdict(gate_facts(message))
        if isinstance(now, Defer) and now.reason == "not_due" and now.until - message.now <= _NAP:
            await asyncio.sleep((now.until - message.now).total_seconds())
            return await self._proceed(_Asked(message.tenant_id, message.id))
        if isinstance(now, Defer):
            return await self._defer(message, now)
        if isinstance(now, Refuse):
            return await self._refuse(message, now.outcome, now.reason)
        return await self._attempt(message)

    async def _defer(self, message: LoadedMessage, defer: Defer) -> SendResult:
        if message.phase == Phase.WAITING and defer.reason == "not_due":
            return SendResult(Step.AGAIN, "waits", at=defer.until)
        if rests(message) and defer.reason in _HOURS:
            return await self._put_back(message, defer.reason, until=defer.until, phase=Phase.WAITING)
        return await self._put_back(message, defer.reason, until=defer.until)

    async def _put_back(
        self,
        message: LoadedMessage,
        reason: str,
        *,
        until: datetime | None = None,
        wait: timedelta | None = None,
        phase: Phase = Phase.READY,
    ) -> SendResult:
        async with self._app.transaction(message.tenant_id) as connection:
            due_at = await put_back(
                connection,
                tenant=message.tenant_id,
                message=message.id,
                attempts=message.attempts,
                reason=reason,
                until=until,
                wait=wait,
                phase=phase,
            )
        if due_at is None:
            return _changed(message)
        if phase is Phase.WAITING:
            return SendResult(Step.AGAIN, f"waits: {reason}", at=due_at)
        return SendResult(Step.PUT_BACK, f"put back: {reason}", at=due_at)

    async def _refuse(self, message: LoadedMessage, outcome: Outcome, reason: str) -> SendResult:
        if message.second_try_used:
            outcome = Outcome.MAYBE_SENT  # what was given up may have arrived all the same
        async with self._app.transaction(message.tenant_id) as connection:
            refused = await refuse(
                connection,
                tenant=message.tenant_id,
                message=message.id,
                attempts=message.attempts,
                outcome=outcome,
                reason=reason,
            )
        if not refused:
            return _changed(message)
        _OUTCOMES.labels(message.lane, outcome).inc()
        return await self._settled(message, outcome)

    async def _with_open_attempt(self, message: LoadedMessage) -> SendResult:
        """An earlier run of this activity claimed and never told how it ended."""
        assert message.open_attempt_id is not None
        assert message.open_attempt_claimed_at is not None
        retry_at = message.open_attempt_claimed_at + LOGIN_CODE_PATIENCE
        if _has_second_try(message) and message.now < retry_at:
            return SendResult(Step.AGAIN, "attempt unknown", at=retry_at)
        if _has_second_try(message) and isinstance(verdict(gate_facts(message)), Send):
            return await self._try_login_code_again(message, message.open_attempt_id)
        async with self._app.transaction(message.tenant_id) as connection:
            held = await hold(
                connection, tenant=message.tenant_id, attempt=message.open_attempt_id, month=message.month
            )
            if held:
                await start_fallback(connection, tenant=message.tenant_id, message=message.id)
        if not held:
            return _changed(message)
        return await self._out_of_our_hands(message, "held: attempt unknown")

    async def _try_login_code_again(self, message: LoadedMessage, attempt: UUID) -> SendResult:
        async with self._app.transaction(message.tenant_id) as connection:
            given_up = await abandon(connection, tenant=message.tenant_id, attempt=attempt, month=message.month)
        if not given_up:
            return _changed(message)
        return await self._proceed(_Asked(message.tenant_id, message.id))

    async def _attempt(self, message: LoadedMessage) -> SendResult:
        number = message.attempts + 1
        try:
            rendered = await self._composer.compose(message, attempt_id(message=message.id, number=number))
        except UNRENDERABLE as error:
            if not isinstance(error, ContentError):  # not the caller's mistake: ours, or somebody's hand in the tables
                logger.error("message not readable", extra={"message_id": str(message.id)}, exc_info=error)
            return await self._refuse(message, Outcome.FAILED, "rendering_failed")
        try:
            result = await self._through_door(message, rendered, number)
        except AccountUnusableError:
            await self._pause(message.account_id, "account_unusable", UNUSABLE_RETRY)
            return await self._put_back(message, "account_unusable", wait=UNUSABLE_RETRY)
        except DoorBusyError:
            return await self._put_back(message, "account_busy", wait=_BUSY_WAIT)
        except BudgetExhaustedError as exhausted:
            return await self._over_budget(message, quota=exhausted.quota)
        return result or await self._look_again(message)

    async def _through_door(self, message: LoadedMessage, rendered: RenderedMessage, number: int) -> SendResult | None:
        """Room and budget, then the attempt; None when the message has changed on the way."""
        judged_at = time.monotonic()
        door = await self._doors.to(message.account_id)
        async with door.slot(_PATIENCE.total_seconds()):
            await self._budgets.take(
                message.account_id, tenant=message.tenant_id, weight=message.tenant_weight, patience=_PATIENCE
            )
            if time.monotonic() - judged_at > _VERDICT_KEPT_S and not await self._still_sends(message):
                return None
            return await finish(self._claim_call_record(message, rendered, door, number))

    async def _still_sends(self, message: LoadedMessage) -> bool:
        now = await self._load(_Asked(message.tenant_id, message.id))
        return now is not None and isinstance(verdict(gate_facts(now)), Send)

    async def _over_budget(self, message: LoadedMessage, *, quota: bool) -> SendResult:
        if not quota:
            return await self._put_back(message, "send_rate", wait=_BUSY_WAIT)
        await self._pause(message.account_id, "daily_quota", QUOTA_RETRY)
        return await self._put_back(message, "account_paused", wait=timedelta(minutes=1))

    async def _claim_call_record(
        self, message: LoadedMessage, rendered: RenderedMessage, door: Door, number: int
    ) -> SendResult | None:
        claimed_at = time.monotonic()
        async with self._app.transaction(message.tenant_id) as connection:
            attempt = await self._claim(connection, message, rendered, number)
        if attempt is None:
            return None
        reply = await door.call(rendered, claimed_at=claimed_at)
        _CALLS.labels(message.lane, reply.kind if reply else "fence_passed").observe(time.monotonic() - claimed_at)
        return await self._record(message, attempt, await self._weigh(message, reply))

    async def _claim(
        self, connection: Connection, message: LoadedMessage, rendered: RenderedMessage, number: int
    ) -> UUID | None:
        """A journey's marketing takes its contact's caps in the claim's transaction; where one is reached, None."""
        caps, contact = sending_rules(message).caps, message.contact_id
        channel = Channel(message.channel)
        if caps and contact is not None:
            passed = await take_caps(
                connection, tenant=message.tenant_id, contacts=[contact], channel=channel, caps=caps
            )
            if not passed:
                return None
        attempt = await claim(
            connection,
            tenant=message.tenant_id,
            message=message.id,
            number=number,
            content_hash=content_hash(rendered),
            process=self._process,
        )
        if attempt is None and caps and contact is not None:
            await give_back_just_taken(connection, tenant=message.tenant_id, channel=channel, contacts=[contact])
        return attempt

    async def _weigh(self, message: LoadedMessage, reply: ProviderReply | None) -> Consequence:
        if reply is None:
            return Consequence(ending=FENCE_PASSED)
        if reply.kind is ReplyKind.DENIED:
            reply = judge_denied(reply, await self._denials(message, reply))
        return consequence(
            reply, second_try_left=_has_second_try(message), at_most_once=message.unknown_policy == "at_most_once"
        )

    async def _denials(self, message: LoadedMessage, reply: ProviderReply) -> Denials:
        """Never in the record's way: where it cannot be asked, the message is put back and nothing is concluded."""
        try:
            async with self._relay.transaction() as connection:
                return await denials(
                    connection,
                    tenant=message.tenant_id,
                    message=message.id,
                    account=message.account_id,
                    code=reply.code,
                )
        except DatabaseAway:
            return Denials()

    async def _look_again(self, message: LoadedMessage) -> SendResult:
        """Something changed between gate and claim, or between call and record: the row gives the reason."""
        again = await self._load(_Asked(message.tenant_id, message.id))
        if again is None:
            return SendResult(Step.DONE, "gone")
        if again.outcome is not None:
            return await self._settled(again, again.outcome)
        if again.open_attempt_id is not None:
            return await self._with_open_attempt(again)
        now = verdict(gate_facts(again))
        if isinstance(now, Refuse):
            return await self._refuse(again, now.outcome, now.reason)
        if isinstance(now, Defer):
            return await self._defer(again, now)
        return await self._put_back(again, "changed_while_sending", until=again.now)

    async def _record(self, message: LoadedMessage, attempt: UUID, what: Consequence) -> SendResult | None:
        """None when evidence came before the record: the row tells more than the reply."""
        recorded = await write_down(lambda: self._commit_record(message, attempt, what))
        await self._tell_account(message.account_id, what)
        return await self._after(message, what) if recorded else None

    async def _commit_record(self, message: LoadedMessage, attempt: UUID, what: Consequence) -> bool:
        ending = what.ending
        async with self._app.transaction(message.tenant_id) as connection:
            if ending.phase is Phase.READY and sending_rules(message).caps:  # uses are locked before messages
                await give_back_caps_of_attempt(
                    connection, tenant=message.tenant_id, attempt=attempt, month=message.month
                )
            recorded = await record(
                connection, tenant=message.tenant_id, attempt=attempt, month=message.month, ending=ending
            )
            if what.suppress:
                await suppress(connection, [stopped(message)])
            if ending.starts_fallback and message.fallback_id is not None:
                await start_fallback(connection, tenant=message.tenant_id, message=message.id)
        return recorded

    async def _after(self, message: LoadedMessage, what: Consequence) -> SendResult:
        ending = what.ending
        if ending.outcome is not None:
            _OUTCOMES.labels(message.lane, ending.outcome).inc()
            return await self._settled(message, ending.outcome)
        if ending.phase is Phase.READY:
            return SendResult(Step.PUT_BACK, f"put back: {ending.reason}")
        if ending.phase is Phase.DISPATCHED:
            return SendResult(Step.AGAIN, "attempt unknown", at=message.now + LOGIN_CODE_PATIENCE)
        return await self._out_of_our_hands(message, "held: attempt unknown")

    async def _settled(self, message: LoadedMessage, outcome: str) -> SendResult:
        return await self._out_of_our_hands(message, outcome)

    async def _out_of_our_hands(self, message: LoadedMessage, state: str) -> SendResult:
        """Nothing more to do for this message; a fallback that waits keeps the execution, a journey's waits alone."""
        outcome = Outcome(state) if state in set(Outcome) else None
        if message.part != Part.PRIMARY or message.fallback_id is None or message.enrollment_id is not None:
            return SendResult(Step.DONE, state, outcome=outcome)
        async with self._app.transaction(message.tenant_id) as connection:
            fallback = await waiting_fallback(connection, tenant=message.tenant_id, message=message.id)
        if fallback is None:
            return SendResult(Step.DONE, state, outcome=outcome)
        return SendResult(Step.FALLBACK, state, outcome=outcome, fallback_id=str(fallback[0]), at=fallback[1])

    async def _tell_account(self, account: UUID, what: Consequence) -> None:
        if what.slow_down:
            async with self._relay.transaction() as connection:
                await slow_down(connection, account=account)
        if what.pause is not None:
            await self._pause(account, what.ending.code or "blocked", what.pause)

    async def _pause(self, account: UUID, reason: str, retry: timedelta) -> None:
        async with self._relay.transaction() as connection:
            await pause_account(connection, account=account, reason=reason, retry=retry)


def _changed(message: LoadedMessage) -> SendResult:
    """Another run of this activity, or evidence, was here since the message was loaded: ask again in a moment."""
    return SendResult(Step.AGAIN, "changed meanwhile", at=message.now + _ASK_AGAIN)


def _has_second_try(message: LoadedMessage) -> bool:
    """The one written exception to "no blind retry"."""
    return message.class_ == MessageClass.LOGIN_CODE and not message.second_try_used
