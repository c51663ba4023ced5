"""Why an enrollment is where it is, and what moves it next: in sentences, and for machines."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from api.journey_models import EnrollmentShown, ExplanationShown, ReasonShown, Waker
from waypost.journeys.document import Journey
from waypost.journeys.graph import edges_of
from waypost.journeys.pieces import END, ExitRule, Goal, Watch
from waypost.journeys.reasons import cause
from waypost.journeys.steps import (
    Approval,
    Send,
    Step,
    Wait,
    WaitFor,
    Webhook,
)
from waypost.journeys.watching import rules_everywhere
from waypost.journeys.wording import words_of
from waypost.store.enrollments import Enrollment, OpenMessage, TakenStep


def explain(
    shown: EnrollmentShown,
    found: Enrollment,
    *,
    journey: Journey,
    visits: Sequence[TakenStep],
    untaken: Mapping[str, int],
    messages: Sequence[OpenMessage],
) -> ExplanationShown:
    """All that is to be said of it. `journey` is the version that it is in."""
    here = visits[-1] if visits else None
    since = found.ended_at or found.resting_since or (here.entered_at if here is not None else found.entered_at)
    return ExplanationShown(
        enrollment=shown,
        since=since,
        sentence=_where(found, journey, since),
        wakers=[
            *([] if found.state == "ended" else _wakers(found, journey, untaken)),
            *(_message(one, found, journey) for one in messages),
        ],
        untaken=untaken,
        way=[
            _reason(visit, journey, visits[place + 1 : place + 2])
            for place, visit in enumerate(visits)
            if visit.left_at
        ],
    )


def _where(found: Enrollment, journey: Journey, since: datetime) -> str:
    if found.state == "ended":
        return f"It ended at {_clock(since)}: {found.how} ({found.reason})."
    if found.step is None:
        held = ", and waits: the journey is paused" if found.journey_state == "paused" else ""
        return f"It came in at {_clock(since)} and has taken no step yet{held}."
    step = journey.steps.get(found.step)
    what = f" ({words_of(step)})" if step is not None else ""
    held = f" The journey is paused, and it is held since {_clock(found.paused_at)}." if found.paused_at else ""
    return f"It is at {found.step}{what} since {_clock(since)}.{held}"


def _wakers(found: Enrollment, journey: Journey, untaken: Mapping[str, int]) -> Iterator[Waker]:
    if found.paused_at is not None or (found.step is None and found.journey_state == "paused"):
        yield Waker(by="resume", to=found.step, sentence="It goes on when the journey is resumed.")
    elif untaken or found.step is None:
        yield Waker(by="decision", to=found.step, sentence="It decides about what it was told, in a moment.")
    step = journey.steps.get(found.step or "")
    if step is not None and found.paused_at is None:
        yield from _of_step(step, found)
    for watch in rules_everywhere(journey):
        yield _watched(watch, to=None, ends=watch.name if isinstance(watch, Goal) else _reason_of(watch))


def _reason_of(watch: Watch) -> str:
    return watch.reason if isinstance(watch, ExitRule) else "goal"


def _of_step(step: Step, found: Enrollment) -> Iterator[Waker]:
    match step:
        case Wait():
            yield _timed(found.wakes_at, step.next)
        case WaitFor():
            yield _watched(step.watch, to=step.next, ends=None)
            yield _timed(found.wakes_at, step.on_timeout)
        case Approval():
            yield Waker(by="answer", to=step.next, sentence=f"Somebody approves: then {step.next} follows.")
            yield Waker(by="answer", to=step.on_reject, sentence=f"Somebody rejects: then {step.on_reject} follows.")
            yield _timed(found.wakes_at, step.on_timeout)
        case Webhook():
            said = f"The webhook is taken, or given up: then {step.next} follows."
            yield Waker(by="decision", at=found.wakes_at, to=step.next, sentence=said)
        case _:
            return  # takes no time, or its message tells


def _message(one: OpenMessage, found: Enrollment, journey: Journey) -> Waker:
    """A message of the step where it is moves it; a fallback of an earlier one is told of, and moves nobody."""
    step = journey.steps.get(found.step or "")
    here = one.part == "primary" and one.visit == found.visits and isinstance(step, Send) and found.state == "open"
    what = f"The {one.channel} of step {one.visit}" if one.part == "primary" else f"Its fallback by {one.channel}"
    held = f" ({one.hold_reason})" if one.hold_reason else ""
    when = f" is tried at {_clock(one.due_at)}{held}" if one.due_at else " waits for what becomes of the first"
    then = f": then {step.next} follows" if here and isinstance(step, Send) else ""
    to = step.next if here and isinstance(step, Send) else None
    return Waker(by="message", at=one.due_at, message=one.id, to=to, sentence=f"{what}{when}{then}.")


def _timed(at: datetime | None, to: str) -> Waker:
    when = f"At {_clock(at)}" if at is not None else "When its time comes"
    return Waker(by="time", at=at, to=to, sentence=f"{when} {to} follows.")


def _watched(watch: Watch, *, to: str | None, ends: str | None) -> Waker:
    then = f"then {to} follows" if ends is None else f"then it ends ({ends})"
    if watch.event is None:
        return Waker(by="condition", to=to, ends=ends, sentence=f"The condition comes to hold: {then}.")
    where = " with the right properties" if watch.where else ""
    return Waker(
        by="event", event=watch.event, to=to, ends=ends, sentence=f"The contact does {watch.event}{where}: {then}."
    )


def _reason(visit: TakenStep, journey: Journey, after: Sequence[TakenStep]) -> ReasonShown:
    assert visit.left_at is not None
    step = journey.steps.get(visit.step)
    to = after[0].step if after else _target(step, visit.edge)
    return ReasonShown(
        visit=visit.number,
        step=visit.step,
        kind=visit.kind,
        edge=visit.edge,
        to=to,
        at=visit.left_at,
        why=visit.why,
        sentence=_because(visit, step, to),
    )


def _target(step: Step | None, edge: str | None) -> str | None:
    if step is None or edge is None:
        return None
    return next((one.to for one in edges_of(step) if one.key == edge), None)


def _because(visit: TakenStep, step: Step | None, to: str | None) -> str:
    then = f" Then {to} followed." if to not in (None, END) else " That was the end." if to == END else ""
    return f"{cause(visit.why, step, visit.edge)}{then}"


def _clock(at: datetime | None) -> str:
    return "an unknown time" if at is None else at.isoformat(timespec="seconds")
