"""Steps of an enrollment, one after another until one rests: what each decides, does, or leaves to an activity."""

from datetime import datetime
from typing import Any

from activities.journey_deeds import do, post_send
from activities.journey_state import State
from waypost.journeys import walking
from waypost.journeys.document import Journey
from waypost.journeys.entering import event_matches, filters_hold
from waypost.journeys.graph import target_of
from waypost.journeys.pieces import END, Watch
from waypost.journeys.splitting import split_way
from waypost.journeys.steps import (
    Approval,
    Branch,
    EmitEvent,
    Exit,
    Send,
    Split,
    StartJourney,
    Step,
    Wait,
    WaitFor,
    Webhook,
)
from waypost.journeys.taking import wait_ends
from waypost.journeys.trace import How
from waypost.journeys.watching import rules_everywhere
from waypost.messaging.values import Part
from waypost.messaging.zones import known_zone
from waypost.segments.people import Deed, Person
from waypost.store.database import Connection
from waypost.store.journey_sends import take_back
from waypost.store.journey_walks import LoadedEnrollment, ask

TENANT_CLOSED = "tenant_closed"
_TAKES_BACK = frozenset({How.GOAL, How.EXIT_RULE, How.REMOVED, How.CONTACT_DELETED, How.STOPPED, TENANT_CLOSED})


class Steps:
    """The steps of an enrollment that is locked."""

    def __init__(self, connection: Connection, enrollment: LoadedEnrollment, journey: Journey, state: State) -> None:
        self._connection = connection
        self._enrollment = enrollment
        self._journey = journey
        self._state = state
        self._now = enrollment.now
        self.leads_on = False
        """Whether others may have a hint, or an execution to be started."""
        self._emitted = False

    def has_emitted(self) -> bool:
        """Whether a step emitted an event since this was asked last: it may be among what the enrollment is told."""
        emitted, self._emitted = self._emitted, False
        return emitted

    # Rests

    def resting(self) -> Step | None:
        """The step where it rests; None: it does not, or the version has no such step."""
        if self._state.resting_since is None or self._state.step is None:
            return None
        return self._journey.steps.get(self._state.step)

    def wakes_at(self) -> datetime | None:
        """When it wakes by itself; None: never, or it is paused."""
        since, step = self._state.resting_since, self.resting()
        if since is None or self._state.paused_at is not None:
            return None
        match step:
            case Wait():
                return self._wait_ends(step, since)
            case WaitFor() | Approval():
                return since + step.timeout
            case _:
                return None

    def _wait_ends(self, step: Wait, since: datetime) -> datetime | None:
        return wait_ends(
            step,
            self._person(),
            self._state.data,
            zone=self._zone(),
            since=since,
            later_than=self._state.woke(self._state.step or ""),
        )

    def _person(self) -> Person:
        enrollment = self._enrollment
        return Person(
            external_id=enrollment.external_id or "",
            created_at=self._now,
            time_zone=enrollment.contact_zone,
            attributes=self._state.attributes,
        )

    def _zone(self) -> str:
        return known_zone(self._enrollment.contact_zone, self._journey.time_zone or self._enrollment.tenant_zone)

    def date_is_gone(self, step: Wait) -> bool:
        """Whether the date that a wait goes by cannot be read any more."""
        return step.date is not None and self._wait_ends(step, self._now) is None

    # Steps

    async def go_on(self, edge: str, **why: Any) -> None:
        """Leave the present step by an edge, and take those that follow."""
        target = self._leave(edge, **why)
        await self.run(target)

    def _leave(self, edge: str, **why: Any) -> str:
        assert self._state.step is not None
        step = self._journey.steps[self._state.step]
        self._state.leave(self._now, edge, {name: value for name, value in why.items() if value is not None})
        return target_of(step, edge)

    async def run(self, target: str) -> None:
        """Take steps until one rests, or it is over."""
        while target != END:
            if await self.left(None):
                return
            if self._state.visits >= walking.MAX_VISITS:
                await self.end(How.STOPPED, "too_many_steps")
                return
            step = self._journey.steps[target]
            self._state.enter(target, step.kind, self._now)
            edge = await self._take(step)
            if edge is None:
                return
            target = self._leave(edge)
        if not await self.left(None):
            await self.end(How.COMPLETED, "completed")

    async def _take(self, step: Step) -> str | None:
        """Do what a step does; the edge, or None where it rests, waits for an activity, or the end is reached."""
        match step:
            case Exit():
                self._state.leave(self._now, None, {})
                await self.end(How.EXIT, step.reason)
                return None
            case Send():
                return await self._send(step)
            case Webhook():
                return None
            case Wait():
                return self._begin_wait(step)
            case WaitFor():
                if await self.holds(step.watch, None):
                    self._state.say(seen="condition")
                    return "next"
                self._rest()
                return None
            case Approval():
                self._rest()
                return None
            case Branch():
                return await self._branch(step)
            case Split():
                return self._split(step)
            case _:
                self._state.say(
                    **await do(self._connection, self._enrollment, step, self._state.data, self._state.visits)
                )
                self._state.did(step)
                self._emitted |= isinstance(step, EmitEvent)
                self.leads_on |= isinstance(step, EmitEvent | StartJourney)
                return "next"

    def _begin_wait(self, step: Wait) -> str | None:
        if step.date is not None:
            ends = self._wait_ends(step, self._now)
            if ends is None or ends < self._now:
                self._state.say(seen="date_missing" if ends is None else "date_past")
                return "otherwise" if step.otherwise is not None else "next"
        self._rest()
        return None

    def _rest(self) -> None:
        self._state.rest(self._now)
        self._state.wait_until(self.wakes_at())

    async def _send(self, step: Send) -> str | None:
        state = self._state
        problems = await post_send(
            self._connection,
            self._enrollment,
            step,
            state.data,
            visit=state.visits,
            meant_for=state.meant_for or self._now,
            late_policy=state.late_policy,
        )
        for part, problem in problems.items():
            state.say(**({"reason": problem, "outcome": "failed"} if part is Part.PRIMARY else {"fallback": problem}))
        return "next" if Part.PRIMARY in problems else None

    async def _branch(self, step: Branch) -> str:
        """The first choice that holds; all conditions are asked at once."""
        fits = [filters_hold(choice.where, self._state.data, now=self._now) for choice in step.choices]
        asked = [choice.when for choice, fit in zip(step.choices, fits, strict=True) if fit and choice.when is not None]
        answers = iter(await self._ask(asked))
        held = [fit and (choice.when is None or next(answers)) for choice, fit in zip(step.choices, fits, strict=True)]
        names = [choice.name or str(place) for place, choice in enumerate(step.choices)]
        place = held.index(True) if True in held else None
        self._state.say(held=dict(zip(names, held, strict=True)), chosen="else" if place is None else names[place])
        return "else" if place is None else str(place)

    def _split(self, step: Split) -> str:
        contact = str(self._enrollment.contact_id)
        way = split_way(step, journey=self._journey.journey, step=self._state.step or "", contact=contact)
        self._state.say(chosen=step.ways[way].name)
        return str(way)

    # Goal, exits, ends

    async def left(self, deed: Deed | None) -> bool:
        """Whether goal or an exit rule ends it now; all conditions are asked at once."""
        watches = rules_everywhere(self._journey)
        answers = iter(await self._ask([watch.condition for watch in watches if watch.condition is not None]))
        for watch in watches:
            holds = next(answers) if watch.condition is not None else self._is_event(watch, deed)
            if holds and watch is self._journey.goal:
                await self.end(How.GOAL, self._journey.goal.name)
                return True
            if holds:
                await self.end(How.EXIT_RULE, getattr(watch, "reason", ""))
                return True
        return False

    async def holds(self, watch: Watch, deed: Deed | None) -> bool:
        """Whether a condition holds, or what the contact did just now is what is watched for."""
        if watch.condition is not None:
            (holds,) = await self._ask([watch.condition])
            return holds
        return self._is_event(watch, deed)

    def _is_event(self, watch: Watch, deed: Deed | None) -> bool:
        return deed is not None and event_matches(deed, watch.event or "", watch.where, now=self._now)

    async def _ask(self, rules: list[Any]) -> list[bool]:
        enrollment = self._enrollment
        return await ask(self._connection, tenant=enrollment.tenant_id, contact=enrollment.contact_id, rules=rules)

    async def end(self, how: str, reason: str) -> None:
        """It is over; most ends take back what was not sent yet."""
        enrollment = self._enrollment
        self._state.end(how, reason)
        if how in _TAKES_BACK:
            await take_back(self._connection, tenant=enrollment.tenant_id, enrollment=enrollment.id)
