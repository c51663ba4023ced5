"""One enrollment under way: its state, and what each thing that happens does to it. Used by `interpret` alone."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from waypost.journeys.contact_changes import applied, deed_done, receipted
from waypost.journeys.document import Journey
from waypost.journeys.entering import event_matches
from waypost.journeys.graph import target_of
from waypost.journeys.happenings import (
    Answered,
    Around,
    ContactChanged,
    ContactDeleted,
    Happened,
    Happening,
    Moved,
    OnResume,
    Paused,
    Receipt,
    ReceiptKind,
    Removed,
    Resumed,
    WaitSkipped,
)
from waypost.journeys.pieces import END, Watch
from waypost.journeys.posting import Posting
from waypost.journeys.steps import Approval, Exit, Send, Step, Wait, WaitFor
from waypost.journeys.taking import act_of, choose, wait_ends
from waypost.journeys.trace import Act, Ending, How, Trace, Visit
from waypost.messaging.zones import known_zone
from waypost.segments.evaluate import evaluate
from waypost.segments.people import Deed, Person

MAX_VISITS = 1_000
"""So many steps may an enrollment take; then it is stopped."""

_TAKES_BACK = frozenset({How.GOAL, How.EXIT_RULE, How.REMOVED, How.CONTACT_DELETED, How.STOPPED})


@dataclass(slots=True)
class _Rest:
    """Where it waits. `since` moves when a pause shifts it; `deferred` is the gate's word on a send."""

    since: datetime
    deferred: datetime | None = None
    expires_at: datetime | None = None
    meant_for: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Walk:
    """The state. Moments only grow."""

    journey: Journey
    person: Person
    around: Around
    now: datetime
    data: dict[str, Any]
    emitted: deque[Deed] = field(default_factory=deque)
    posting: Posting = field(init=False)
    _visits: list[Visit] = field(default_factory=list)
    _acts: list[Act] = field(default_factory=list)
    _ending: Ending | None = None
    _rest: _Rest | None = None
    _paused_at: datetime | None = None
    _held: list[Happening] = field(default_factory=list)
    _late_policy: str | None = None
    _meant_for: datetime = field(init=False)
    _woke: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._meant_for = self.now
        self.posting = Posting(journey=self.journey, around=self.around)

    # What the interpreter asks

    @property
    def is_over(self) -> bool:
        """Whether nothing can come any more."""
        return self._ending is not None and not self.posting.pending

    def fallback_due(self) -> datetime | None:
        """When the next fallback is due."""
        return None if self._paused_at is not None else self.posting.next_due()

    def wakes_at(self) -> datetime | None:
        """When the enrollment wakes by itself; None: it waits for something, is paused or over."""
        if self._rest is None or self._paused_at is not None:
            return None
        return self._wake_time(self._rest)

    def trace(self) -> Trace:
        """All that came of it so far."""
        return Trace(
            visits=tuple(self._visits),
            sends=tuple(self.posting.sends),
            acts=tuple(self._acts),
            ending=self._ending,
            wakes_at=self.wakes_at() if self._ending is None else None,
        )

    # What happens

    def begin(self) -> None:
        """The first steps."""
        self._run(self.journey.start)

    def apply(self, happening: Happening) -> None:
        """What it does to the contact, and nothing else."""
        match happening:
            case Happened():
                self.person = deed_done(self.person, happening.deed)
            case ContactChanged():
                self.person = applied(self.person, happening)
            case Receipt():
                self._receive(happening)
            case _:
                return

    def drain(self, happening: Happening) -> None:
        """One thing from outside, and all that follows from it at this moment."""
        self.apply(happening)
        self._take_in(happening)

    def drain_emitted(self) -> None:
        """The next of the events that the journey emitted itself: the contact has done it already."""
        self._take_in(Happened(at=self.now, deed=self.emitted.popleft()))

    def _take_in(self, happening: Happening) -> None:
        self._meant_for = self.now
        if isinstance(happening, ContactDeleted):
            self._stop(How.CONTACT_DELETED, "contact_deleted")
        elif isinstance(happening, Removed):
            self._stop(How.REMOVED, "removed")
        elif self._ending is None and self._left(happening.deed if isinstance(happening, Happened) else None):
            return
        elif isinstance(happening, Paused | Resumed):
            self._hold_or_go(happening)
        elif self._paused_at is not None:
            self._held.append(happening)
        elif self._ending is None:
            self._follow(happening)

    def _stop(self, how: How, reason: str) -> None:
        self.posting.take_back()
        if self._ending is None:
            self._end(how, reason)

    def _follow(self, happening: Happening) -> None:
        """What the enrollment makes of it where it is."""
        match happening:
            case Moved():
                self._move(happening.step)
            case Answered():
                self._answer(happening)
            case WaitSkipped():
                self._skip()
            case Happened():
                self._see(happening.deed)
            case _:
                self._see(None)

    def wake(self) -> None:
        """The rest is over."""
        rest, step = self._resting()
        self._meant_for = rest.meant_for or self._wake_time(rest) or self.now
        if isinstance(step, Send):
            self._resume_send(step, rest)
            return
        if isinstance(step, Wait):
            self._woke[self._visits[-1].step] = self.now
            self._go_on("otherwise" if step.otherwise is not None and self._date_is_gone(step) else "next")
            return
        seen = isinstance(step, WaitFor) and self._awaited(step, None)
        self._go_on("next" if seen else "on_timeout")

    def send_fallback(self) -> None:
        """The fallback that is due next."""
        self.person = self.posting.send_fallback(self.now, self.person, self._policy())

    # Within

    def _policy(self) -> str:
        return self._late_policy or self.journey.late_policy or "send"

    def _zone(self) -> str:
        return known_zone(self.person.time_zone, self.journey.time_zone or self.around.zone)

    def _resting(self) -> tuple[_Rest, Step]:
        assert self._rest is not None
        return self._rest, self.journey.steps[self._visits[-1].step]

    def _wake_time(self, rest: _Rest) -> datetime | None:
        step_id = self._visits[-1].step
        match step := self.journey.steps[step_id]:
            case Wait():
                later_than = self._woke.get(step_id)
                return wait_ends(
                    step, self.person, self.data, zone=self._zone(), since=rest.since, later_than=later_than
                )
            case WaitFor() | Approval():
                return rest.since + step.timeout
            case _:
                return rest.deferred

    def _run(self, target: str) -> None:
        """Take steps until one rests, or it is over."""
        while target != END:
            if self._left(None):
                return
            if len(self._visits) >= MAX_VISITS:
                self._end(How.STOPPED, "too_many_steps")
                return
            self._visits.append(Visit(number=len(self._visits) + 1, step=target, entered_at=self.now))
            edge = self._take(self.journey.steps[target])
            if edge is None:
                return
            target = self._leave(edge)
        if not self._left(None):
            self._end(How.COMPLETED, "completed")

    def _leave(self, edge: str) -> str:
        visit = self._visits[-1]
        self._visits[-1] = replace(visit, left_at=self.now, edge=edge)
        self._rest = None
        return target_of(self.journey.steps[visit.step], edge)

    def _go_on(self, edge: str) -> None:
        self._run(self._leave(edge))
        self._late_policy, self._meant_for = None, self.now

    def _take(self, step: Step) -> str | None:
        """Do what a step does; the edge, or None where it rests or the end is reached."""
        match step:
            case Exit():
                self._visits[-1] = replace(self._visits[-1], left_at=self.now)
                self._end(How.EXIT, step.reason)
                return None
            case Send():
                return self._send(step, self.now + step.expires_in)
            case Wait():
                return self._begin_wait(step)
            case WaitFor():
                return self._begin_rest(over=self._awaited(step, None))
            case Approval():
                return self._begin_rest()
            case _:
                return self._act(step)

    def _act(self, step: Step) -> str:
        visit = self._visits[-1]
        edge = choose(self.journey, visit.step, step, self.person, self.data, now=self.now, around=self.around)
        if edge is not None:
            return edge
        act, self.person, deed = act_of(step, visit, self.person, self.data, now=self.now)
        refused = step.kind == "webhook" and visit.step in self.around.failing_webhooks
        self._acts.append(replace(act, detail={**act.detail, "refused": True}) if refused else act)
        if deed is not None:
            self.person = deed_done(self.person, deed)  # conditions know of it at once, what waits for it in its turn
            self.emitted.append(deed)
        return "on_failure" if refused and getattr(step, "on_failure", None) is not None else "next"

    def _begin_wait(self, step: Wait) -> str | None:
        if step.date is not None:
            ends = wait_ends(step, self.person, self.data, zone=self._zone(), since=self.now, later_than=None)
            if ends is None or ends < self.now:
                return "otherwise" if step.otherwise is not None else "next"
        return self._begin_rest()

    def _begin_rest(self, *, over: bool = False) -> str | None:
        if over:
            return "next"
        self._rest = _Rest(since=self.now)
        until = self._wake_time(self._rest)
        self._visits[-1] = replace(self._visits[-1], waited_until=until)
        return None

    def _send(self, step: Send, expires_at: datetime) -> str | None:
        person, deferred = self.posting.send(
            step,
            self._visits[-1],
            self.person,
            now=self.now,
            meant_for=self._meant_for,
            expires_at=expires_at,
            late_policy=self._policy(),
        )
        self.person = person
        if deferred is None:
            return "next"
        self._rest = _Rest(since=self.now, deferred=deferred, expires_at=expires_at, meant_for=self._meant_for)
        self._visits[-1] = replace(self._visits[-1], waited_until=self._visits[-1].waited_until or deferred)
        return None

    def _resume_send(self, step: Send, rest: _Rest) -> None:
        self._rest = None
        assert rest.expires_at is not None
        edge = self._send(step, rest.expires_at)
        if edge is not None:
            self._go_on(edge)

    def _left(self, deed: Deed | None) -> bool:
        """Whether goal or an exit rule ends it now."""
        goal = self.journey.goal
        if goal is not None and self._holds(goal, deed):
            self._end(How.GOAL, goal.name)
            return True
        for rule in self.journey.exits:
            if self._holds(rule, deed):
                self._end(How.EXIT_RULE, rule.reason)
                return True
        return False

    def _holds(self, watch: Watch, deed: Deed | None) -> bool:
        if watch.condition is not None:
            return evaluate(watch.condition, self.person, now=self.now, segments=self.around.segments)
        return deed is not None and event_matches(deed, watch.event or "", watch.where, now=self.now)

    def _end(self, how: How, reason: str) -> None:
        step = self._visits[-1].step if self._visits else None
        self._ending = Ending(at=self.now, how=how, reason=reason, step=step)
        self._rest = None
        if how in _TAKES_BACK:
            self.posting.take_back()

    def _see(self, deed: Deed | None) -> None:
        """What a rest makes of it: a wait_for may be over, a wait's end is where the contact's date is now."""
        if self._rest is None:
            return
        _, step = self._resting()
        if isinstance(step, Wait) and self._date_is_gone(step):
            self._go_on("otherwise" if step.otherwise is not None else "next")
        elif isinstance(step, WaitFor) and self._awaited(step, deed):
            if step.keep_as is not None and deed is not None:
                self.data = {**self.data, step.keep_as: dict(deed.properties)}
            self._go_on("next")

    def _awaited(self, step: WaitFor, deed: Deed | None) -> bool:
        return self._holds(step.watch, deed)

    def _date_is_gone(self, step: Wait) -> bool:
        return (
            step.date is not None
            and wait_ends(step, self.person, self.data, zone=self._zone(), since=self.now, later_than=None) is None
        )

    def _receive(self, receipt: Receipt) -> None:
        self.person = receipted(self.person, receipt, self.posting.sent_in(receipt.visit))
        self.posting.receive(receipt.visit, delivered=receipt.kind is ReceiptKind.DELIVERED, now=self.now)

    def _answer(self, answer: Answered) -> None:
        if self._rest is not None and self._visits[-1].step == answer.step:
            _, step = self._resting()
            if isinstance(step, Approval):
                self._go_on("next" if answer.approved else "on_reject")

    def _skip(self) -> None:
        if self._rest is None:
            return
        _, step = self._resting()
        if isinstance(step, Wait):
            self._go_on("next")
        elif isinstance(step, WaitFor | Approval):
            self._go_on("on_timeout")

    def _move(self, step: str) -> None:
        if step not in self.journey.steps:
            return
        if self._visits:
            self._visits[-1] = replace(self._visits[-1], left_at=self.now)
        self._rest = None
        self._run(step)

    def _hold_or_go(self, happening: Paused | Resumed) -> None:
        if isinstance(happening, Paused):
            self._paused_at = self._paused_at or self.now
        elif self._paused_at is not None:
            held, self._paused_at = self.now - self._paused_at, None
            self._late_policy = "skip" if happening.policy is OnResume.SKIP_LATE else "send"
            if happening.policy is OnResume.SHIFT:
                self._shift(held)
            self._catch_up()

    def _shift(self, held: timedelta) -> None:
        self.posting.shift(held)
        if self._rest is not None:
            self._rest.since += held

    def _catch_up(self) -> None:
        """What came while it was held, in its order."""
        held, self._held = self._held, []
        for happening in held:
            if self._ending is None:
                self._follow(happening)
        if self._ending is None:
            self._see(None)
