"""One decision about an enrollment: what it was told is taken in its order, steps are taken until one rests.

waypost.journeys.interpreter says what it must come to; here rows are read and written in one transaction, and a send or
a webhook is left to an activity of its own, after which the next decision goes on.
"""

from collections import deque
from datetime import datetime, timedelta

from activities.contracts.journeys import Next
from activities.journey_state import Moment, State
from activities.journey_steps import TENANT_CLOSED, Steps
from waypost.journeys.document import Journey
from waypost.journeys.happenings import OnResume
from waypost.journeys.steps import Approval, Send, Wait, WaitFor, Webhook
from waypost.journeys.trace import How
from waypost.messaging.values import TenantState
from waypost.segments.people import Deed
from waypost.store.database import Connection
from waypost.store.journey_sends import Message, find_message, resume_messages, take_back
from waypost.store.journey_walks import INBOX_AT_ONCE, LoadedEnrollment, Pause, Told, load_inbox, load_pauses

_AT_ONCE = 200
"""So many steps and rows of the inbox may one decision take; the next goes on."""

_NAP = timedelta(milliseconds=200)
"""A message that is due so soon, as one that was made just now is, is handed over: the send waits it out."""

_SUSPENDED_AGAIN = timedelta(minutes=5)
_ELSEWHERE_AGAIN = timedelta(hours=1)
"""A message that others drive tells when it ends; this is for a hint that was lost."""


class Walk:
    """The enrollment under its lock. `state` is what is written afterwards."""

    def __init__(self, connection: Connection, enrollment: LoadedEnrollment, journey: Journey) -> None:
        self._connection = connection
        self._enrollment = enrollment
        self._journey = journey
        self._now = enrollment.now
        self._inbox: deque[Told] = deque()
        self._after = 0
        self._unread = True
        self._pauses: deque[Pause] = deque()
        self._left_over = _AT_ONCE
        self.state = State(enrollment)
        self.steps = Steps(connection, enrollment, journey, self.state)
        self.message: Message | None = None

    @property
    def suspended(self) -> bool:
        """Nothing is done for the tenant now, however long it is due."""
        return self._enrollment.tenant_state == TenantState.SUSPENDED

    async def go(self) -> Next:
        """Decide."""
        tenant = TenantState(self._enrollment.tenant_state)
        if self._enrollment.state == "ended":
            return Next.ENDED
        if tenant in (TenantState.CLOSING, TenantState.CLOSED):
            await self.steps.end(TENANT_CLOSED, TENANT_CLOSED)
        elif self._enrollment.contact_gone:
            await self.steps.end(How.CONTACT_DELETED, "contact_deleted")
        elif tenant is TenantState.SUSPENDED:
            self.state.look_again_at = self._now + _SUSPENDED_AGAIN
            return Next.REST
        else:
            return await self._live()
        return Next.ENDED

    async def _live(self) -> Next:
        enrollment = self._enrollment
        if enrollment.pauses > enrollment.pauses_seen:
            self._pauses.extend(
                await load_pauses(self._connection, tenant=enrollment.tenant_id, enrollment=enrollment.id)
            )
        while self.state.how is None:
            if self._left_over <= 0:
                return Next.AGAIN
            self._left_over -= 1
            if await self._advance():
                continue
            if (outside := self._outside()) is not None:
                return outside
            if not await self._next_moment():
                return Next.REST
        return Next.ENDED

    # What is under way

    async def _advance(self) -> bool:
        """Begin, or leave a send or webhook whose end is known; False: there is nothing of the kind."""
        state, self.message = self.state, None
        if state.paused_at is not None or self._pause_comes_first():
            return False
        if state.step is None:
            await self.steps.run(self._journey.start)
            return True
        match self._journey.steps.get(state.step):
            case Send():
                self.message = await self._find_message()
                if self.message is None:
                    await self.steps.go_on("next")
                    return True
                if self.message.outcome is not None:
                    await self.steps.go_on("next", outcome=self.message.outcome, reason=self.message.outcome_reason)
                    return True
            case Webhook() if state.answer is not None:
                await self.steps.go_on(state.answer)
                return True
        return False

    async def _find_message(self) -> Message | None:
        enrollment = self._enrollment
        return await find_message(
            self._connection, tenant=enrollment.tenant_id, enrollment=enrollment.id, visit=self.state.visits
        )

    def _pause_comes_first(self) -> bool:
        """The journey was paused before this enrollment began, or goes on."""
        return bool(self._pauses) and self._pauses[0].resumed_at is None and self.state.paused_at is None

    def _outside(self) -> Next | None:
        """What an activity of its own has to do now."""
        state = self.state
        if state.paused_at is not None or state.step is None or self._pause_comes_first():
            return None
        match self._journey.steps.get(state.step):
            case Webhook():
                if state.try_at is None or state.try_at <= self._now:
                    return Next.WEBHOOK
                state.look_again_at = state.try_at
            case Send() if self.message is not None:
                due = self.message.due_at
                if self.message.phase == "waiting" and due is not None and due <= self._now + _NAP:
                    return Next.SEND
                state.look_again_at = due if self.message.phase == "waiting" else self._now + _ELSEWHERE_AGAIN
        return None

    # What comes next

    async def _next_moment(self) -> bool:
        """Take what comes first: what was told, a pause or its end, the own wake; False: nothing is due."""
        self._unread |= self.steps.has_emitted()
        await self._read()
        moments: list[tuple[datetime, Moment]] = []
        if self._inbox:
            first = self._inbox[0]
            held = "held" in first.detail and self.state.paused_at is None
            moments.append((datetime.min.replace(tzinfo=self._now.tzinfo) if held else first.at, Moment.TOLD))
        if self._pauses:
            pause = self._pauses[0]
            if self.state.paused_at is None:
                moments.append((pause.paused_at, Moment.PAUSED))
            elif pause.resumed_at is not None:
                moments.append((pause.resumed_at, Moment.RESUMED))
        wake = self.steps.wakes_at()
        if wake is not None and wake <= self._now:
            moments.append((wake, Moment.WAKE))
        if not moments:
            return False
        await self._take_moment(min(moments)[1])
        return True

    async def _take_moment(self, moment: Moment) -> None:
        self.state.meant_for = None
        match moment:
            case Moment.TOLD:
                await self._drain(self._inbox.popleft())
            case Moment.PAUSED:
                self._pause()
            case Moment.RESUMED:
                await self._resume(self._pauses.popleft())
            case Moment.WAKE:
                await self._wake()

    async def _read(self) -> None:
        if self._inbox or not self._unread:
            return
        enrollment = self._enrollment
        found = await load_inbox(
            self._connection,
            tenant=enrollment.tenant_id,
            enrollment=enrollment.id,
            paused=self.state.paused_at is not None,
            after=self._after,
        )
        self._unread = len(found) == INBOX_AT_ONCE
        if found:
            self._after = found[-1].id
        done = set(self.state.done)
        self._inbox.extend(one for one in found if one.id not in done)

    async def _drain(self, told: Told) -> None:
        self.state.done.append(told.id)
        if told.kind == "remove":
            await self.steps.end(How.REMOVED, "removed")
            return
        deed = _deed(told)
        if "held" not in told.detail and await self.steps.left(deed):
            return
        if self.state.paused_at is not None:
            if told.kind != "look":
                self.state.hold(told.id)
            return
        await self._follow(told, deed)

    async def _follow(self, told: Told, deed: Deed | None) -> None:
        match told.kind:
            case "move":
                await self._move(str(told.detail.get("step")))
            case "answer":
                await self._answer(str(told.detail.get("step")), approved=told.detail.get("approved") is True)
            case "skip_wait":
                await self._skip()
            case _:
                await self._see(deed)

    # Pauses

    def _pause(self) -> None:
        pause = self._pauses[0]
        if pause.resumed_at is not None and pause.resumed_at <= self._enrollment.entered_at:
            self.state.pauses_seen = self._pauses.popleft().number
            return
        self.state.paused_at = max(pause.paused_at, self._enrollment.entered_at)

    async def _resume(self, pause: Pause) -> None:
        state, enrollment = self.state, self._enrollment
        assert state.paused_at is not None
        assert pause.resumed_at is not None
        since = max(state.paused_at, state.resting_since or state.paused_at)
        held, state.paused_at, state.pauses_seen = max(timedelta(), pause.resumed_at - since), None, pause.number
        policy = OnResume(pause.policy or OnResume.CONTINUE)
        state.late_policy = "skip" if policy is OnResume.SKIP_LATE else "send"
        shift = held if policy is OnResume.SHIFT else timedelta()
        if state.resting_since is not None:
            state.resting_since += shift
        await resume_messages(
            self._connection,
            tenant=enrollment.tenant_id,
            enrollment=enrollment.id,
            shift=shift,
            skip_late=policy is OnResume.SKIP_LATE,
        )
        self._inbox.clear()
        self._after, self._unread = 0, True  # what was held meanwhile, in its order
        await self._see(None)

    # What a rest makes of it

    async def _wake(self) -> None:
        step = self.steps.resting()
        self.state.meant_for = self.steps.wakes_at()
        if isinstance(step, Wait):
            self.state.note_wake(self._now)
            gone = step.otherwise is not None and self.steps.date_is_gone(step)
            await self.steps.go_on("otherwise" if gone else "next")
            return
        seen = isinstance(step, WaitFor) and await self.steps.holds(step.watch, None)
        await self.steps.go_on("next" if seen else "on_timeout", seen="condition" if seen else "timeout")

    async def _see(self, deed: Deed | None) -> None:
        step = self.steps.resting()
        if isinstance(step, Wait) and self.steps.date_is_gone(step):
            await self.steps.go_on("otherwise" if step.otherwise is not None else "next", seen="date_gone")
        elif isinstance(step, WaitFor) and await self.steps.holds(step.watch, deed):
            if step.keep_as is not None and deed is not None:
                self.state.data = {**self.state.data, step.keep_as: dict(deed.properties)}
            await self.steps.go_on("next", seen="event" if deed is not None else "condition")

    async def _answer(self, where: str, *, approved: bool) -> None:
        if where == self.state.step and isinstance(self.steps.resting(), Approval):
            await self.steps.go_on("next" if approved else "on_reject")

    async def _skip(self) -> None:
        step = self.steps.resting()
        if isinstance(step, Wait):
            await self.steps.go_on("next", skipped=True)
        elif isinstance(step, WaitFor | Approval):
            await self.steps.go_on("on_timeout", skipped=True)

    async def _move(self, where: str) -> None:
        if where not in self._journey.steps:
            return
        if self.state.step is not None:
            await self._take_back_here()
            self.state.leave(self._now, None, {"moved_to": where})
        await self.steps.run(where)

    async def _take_back_here(self) -> None:
        if isinstance(self._journey.steps.get(self.state.step or ""), Send):
            enrollment = self._enrollment
            await take_back(
                self._connection, tenant=enrollment.tenant_id, enrollment=enrollment.id, visit=self.state.visits
            )


def _deed(told: Told) -> Deed | None:
    if told.kind != "event" or told.name is None or told.occurred_at is None:
        return None
    return Deed(name=told.name, occurred_at=told.occurred_at, properties=told.properties or {})
