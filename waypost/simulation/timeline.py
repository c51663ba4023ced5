"""What came of a case, as a list of things with their times: for people and for machines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from waypost.journeys.graph import edges_of
from waypost.journeys.reasons import cause
from waypost.journeys.steps import Approval, Branch, Exit, Send, Split, Wait, WaitFor
from waypost.journeys.wording import words_of
from waypost.messaging.zones import find_zone
from waypost.simulation.playing import Happened, Played
from waypost.simulation.telling import say_happened
from waypost.store.enrollments import Enrollment, TakenStep
from waypost.store.journey_timeline import PutOff, VisitMessage

_SENT = frozenset({"sent", "maybe_sent"})
_PLACES = {"primary": 2, "fallback": 4}
_NOT_NEEDED = frozenset({"primary_delivered", "journey_left"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing. `facts` are for machines, `text` for people; `key` is the enrollment's, where the journey has keys."""

    at: datetime
    kind: str
    text: str
    step: str | None = None
    key: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    order: int = field(default=0, repr=False)
    """Of one moment, the lower comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All of it, in order. `zone` is the contact's."""

    journey: str
    contact: str
    zone: str
    start: datetime
    until: datetime
    notes: Sequence[str]
    lines: Sequence[Line]

    def as_json(self) -> dict[str, Any]:
        """The timeline for machines."""
        return {
            "journey": self.journey,
            "contact": self.contact,
            "time_zone": self.zone,
            "start": _written(self.start),
            "until": _written(self.until),
            "notes": list(self.notes),
            "timeline": [self._line(one) for one in self.lines],
        }

    def _line(self, one: Line) -> dict[str, Any]:
        local = one.at.astimezone(find_zone(self.zone)).replace(tzinfo=None)
        return {
            "at": _written(one.at),
            "local": local.isoformat(timespec="seconds"),
            "kind": one.kind,
            **({"step": one.step} if one.step is not None else {}),
            **({"key": one.key} if one.key else {}),
            **{name: _fact(value) for name, value in one.facts.items() if value is not None},
            "text": one.text,
        }


def to_second(moment: datetime) -> datetime:
    """The nearest second: what is less is the order of things."""
    return (moment + timedelta(milliseconds=500)).replace(microsecond=0)


def _written(moment: datetime) -> str:
    return to_second(moment).isoformat()


def _fact(value: Any) -> Any:
    return _written(value) if isinstance(value, datetime) else value


def tell(played: Played) -> Timeline:
    """The timeline of what was played."""
    case = played.case
    lines = [_happened(one) for one in played.happened]
    for enrollment in played.enrollments:
        lines += _Story(played, enrollment).lines()
    if not played.enrollments:
        text = "Nobody came in."
        lines.append(Line(at=played.until, kind="not_entered", text=text, order=9_000_000))
    ordered = sorted(lines, key=lambda one: (to_second(one.at), one.order))
    return Timeline(
        journey=case.journey.journey,
        contact=case.contact.id,
        zone=case.zone,
        start=case.start,
        until=played.until,
        notes=case.notes(),
        lines=[_settled(one) for one in ordered],
    )


def _settled(line: Line) -> Line:
    return Line(at=to_second(line.at), kind=line.kind, text=line.text, step=line.step, key=line.key, facts=line.facts)


def _happened(one: Happened) -> Line:
    kind, step, text, facts = say_happened(one.what)
    note = f" It came to nothing: {one.note}." if one.note else ""
    return Line(at=one.at, kind=kind, step=step, text=f"{text}{note}", facts={**facts, "note": one.note}, order=-1)


class _Story:
    """One enrollment's lines. Within a moment visits follow one another by their numbers."""

    def __init__(self, played: Played, enrollment: Enrollment) -> None:
        self._played = played
        self._enrollment = enrollment
        self._visits = played.visits[enrollment.id]
        self._zone = find_zone(played.case.zone)
        self._messages = [one for one in played.messages if one.enrollment_id == enrollment.id]

    def lines(self) -> Iterator[Line]:
        enrollment = self._enrollment
        data = ", ".join(enrollment.data) if enrollment.data else "nothing"
        yield self._line(
            enrollment.entered_at,
            "entered",
            f"Comes in by {enrollment.source}, carrying {data}.",
            facts={"source": enrollment.source, "number": enrollment.number, "data": dict(enrollment.data)},
        )
        for visit in self._visits:
            yield from self._visit(visit)
        yield self._end()

    def _line(
        self,
        at: datetime,
        kind: str,
        text: str,
        *,
        visit: TakenStep | None = None,
        place: int = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> Line:
        return Line(
            at=at,
            kind=kind,
            text=text,
            step=visit.step if visit is not None else None,
            key=self._enrollment.entry_key,
            facts=facts or {},
            order=(visit.number * 10 if visit is not None else 0) + place,
        )

    def _visit(self, visit: TakenStep) -> Iterator[Line]:
        step = self._played.case.journey.steps.get(visit.step)
        match step:
            case Send():
                yield from self._send(visit)
            case Wait() | WaitFor() | Approval():
                yield from self._rest(visit, words_of(step))
            case None | Exit():
                return
            case _ if visit.left_at is not None:
                kind = step.kind
                text = f"{visit.step}: {cause(visit.why, step, visit.edge)}{self._then(visit)}"
                yield self._line(visit.left_at, kind, text, visit=visit, facts=self._left(visit))

    def _left(self, visit: TakenStep) -> dict[str, Any]:
        return {"edge": visit.edge, "to": self._to(visit), "why": dict(visit.why)}

    def _rest(self, visit: TakenStep, words: str) -> Iterator[Line]:
        rested = visit.left_at is None or visit.waited_until is not None
        if rested:
            until = f", until {self._clock(visit.waited_until)}" if visit.waited_until is not None else ""
            facts = {"until": visit.waited_until, "what": words}
            yield self._line(visit.entered_at, "waits", f"{visit.step}: {words}{until}.", visit=visit, facts=facts)
        if visit.left_at is not None:
            step = self._played.case.journey.steps[visit.step]
            text = f"{visit.step}: {cause(visit.why, step, visit.edge)}{self._then(visit)}"
            yield self._line(visit.left_at, "goes_on", text, visit=visit, place=5, facts=self._left(visit))

    def _send(self, visit: TakenStep) -> Iterator[Line]:
        messages = [one for one in self._messages if one.visit == visit.number]
        for message in messages:
            yield from self._put_off(visit, message)
            yield from self._outcome(visit, message)
        if not any(one.part == "primary" for one in messages) and visit.left_at is not None:
            reason = visit.why.get("reason")
            text = f"{visit.step}: nothing could be sent ({reason})."
            facts: dict[str, Any] = {
                "outcome": "failed",
                "reason": reason,
                "template": self._template(visit),
                "part": "primary",
            }
            yield self._line(visit.left_at, "not_sent", text, visit=visit, facts=facts)

    def _template(self, visit: TakenStep) -> str | None:
        step = self._played.case.journey.steps.get(visit.step)
        return step.template if isinstance(step, Send) else None

    def _put_off(self, visit: TakenStep, message: VisitMessage) -> Iterator[Line]:
        for one in _steps_of(self._played.held, message):
            until = f" until {self._clock(one.until)}" if one.until is not None else ""
            place = _PLACES[message.part]
            text = f"{visit.step}: {self._what(message)} is put off{until} ({_words(one.reason)})."
            facts = {**self._facts(message), "reason": one.reason, "until": one.until}
            yield self._line(one.at, "put_off", text, visit=visit, place=place - 1, facts=facts)

    def _outcome(self, visit: TakenStep, message: VisitMessage) -> Iterator[Line]:
        if message.outcome is None or message.outcome_at is None:
            return
        facts, place = (
            {**self._facts(message), "outcome": message.outcome, "via": self._via(visit)},
            _PLACES[message.part],
        )
        if message.outcome in _SENT:
            facts |= self._content(message)
            text = f"{visit.step}: {self._what(message)} goes to {facts.get('to')}{self._why_now(visit, message)}."
            yield self._line(message.outcome_at, "sent", text, visit=visit, place=place, facts=facts)
        elif message.part == "fallback" and message.outcome_reason in _NOT_NEEDED:
            text = f"{visit.step}: the fallback is not needed ({_words(message.outcome_reason)})."
            facts["reason"] = message.outcome_reason
            yield self._line(message.outcome_at, "not_needed", text, visit=visit, place=place, facts=facts)
        else:
            facts["reason"] = message.outcome_reason
            said = f"{message.outcome}: {_words(message.outcome_reason)}"
            text = f"{visit.step}: {self._what(message)} is not sent ({said})."
            yield self._line(message.outcome_at, "not_sent", text, visit=visit, place=place, facts=facts)

    def _what(self, message: VisitMessage) -> str:
        fallback = "the fallback by " if message.part == "fallback" else ""
        rendered = self._played.rendered.get(message.id)
        subject = f" “{rendered.subject or rendered.text[:60]}”" if rendered is not None else ""
        return f"{fallback}{message.channel} {message.template}{subject}"

    def _facts(self, message: VisitMessage) -> dict[str, Any]:
        return {
            "channel": message.channel,
            "template": message.template,
            "part": message.part,
            "class": message.message_class,
            "topic": message.topic,
        }

    def _content(self, message: VisitMessage) -> dict[str, Any]:
        rendered = self._played.rendered.get(message.id)
        if rendered is None:
            return {"to": message.address}
        return {
            "to": rendered.to,
            "from": rendered.from_address,
            "subject": rendered.subject or None,
            "body": rendered.text,
        }

    def _why_now(self, visit: TakenStep, message: VisitMessage) -> str:
        if message.part == "fallback":
            return self._why_fallback(visit)
        via = self._via(visit)
        return f", by way of {via}" if via is not None else ""

    def _why_fallback(self, visit: TakenStep) -> str:
        primary = next((one for one in self._messages if one.visit == visit.number and one.part == "primary"), None)
        if primary is None or primary.outcome not in _SENT:
            return f": the first was not sent ({_words(primary.outcome_reason) if primary else 'it could not be made'})"
        return ": the first is not known to have arrived"

    def _via(self, visit: TakenStep) -> str | None:
        """The step and edge that led to a visit."""
        before = next((one for one in self._visits if one.number == visit.number - 1), None)
        if before is None:
            return None
        step = self._played.case.journey.steps.get(before.step)
        if before.edge in (None, "next") or step is None:
            return before.step
        label = next((one.label for one in edges_of(step) if one.key == before.edge), "") or before.edge
        return (
            f"{before.step} ({label})" if isinstance(step, Branch | Split | WaitFor | Wait | Approval) else before.step
        )

    def _to(self, visit: TakenStep) -> str | None:
        after = next((one for one in self._visits if one.number == visit.number + 1), None)
        if after is not None:
            return after.step
        step = self._played.case.journey.steps.get(visit.step)
        if step is None or visit.edge is None:
            return None
        return next((one.to for one in edges_of(step) if one.key == visit.edge), None)

    def _then(self, visit: TakenStep) -> str:
        to = self._to(visit)
        return f" → {to}" if to is not None else ""

    def _end(self) -> Line:
        enrollment, last = self._enrollment, 9_000_000
        if enrollment.ended_at is not None:
            took = to_second(enrollment.ended_at) - to_second(enrollment.entered_at)
            reason = f" ({enrollment.reason})" if enrollment.reason != enrollment.how else ""
            text = f"It ends: {_words(enrollment.how)}{reason}, after {_length(took)}."
            facts = {"how": enrollment.how, "reason": enrollment.reason}
            return Line(
                at=enrollment.ended_at,
                kind="ended",
                text=text,
                step=enrollment.step,
                key=enrollment.entry_key,
                facts=facts,
                order=last,
            )
        wakes = f", until {self._clock(enrollment.wakes_at)}" if enrollment.wakes_at is not None else ""
        held = " It is held by a pause." if enrollment.paused_at is not None else ""
        text = f"It is at {enrollment.step or 'its beginning'} yet{wakes}.{held}"
        return Line(
            at=self._played.until,
            kind="open",
            text=text,
            step=enrollment.step,
            key=enrollment.entry_key,
            facts={"wakes_at": enrollment.wakes_at},
            order=last,
        )

    def _clock(self, at: datetime | None) -> str:
        return "an unknown time" if at is None else f"{to_second(at).astimezone(self._zone):%a %d %b %Y %H:%M}"


def _steps_of(held: Sequence[PutOff], message: VisitMessage) -> Iterator[PutOff]:
    """Each reason once, as long as it stays the same."""
    before: tuple[str, datetime | None] | None = None
    for one in held:
        if one.message_id == message.id and (one.reason, one.until) != before and one.reason != "not_due":
            before = (one.reason, one.until)
            yield one


def _words(code: str | None) -> str:
    return (code or "unknown").replace("_", " ")


def _length(duration: timedelta) -> str:
    """`26 days 3 hours`: the two largest units."""
    left, parts = int(duration.total_seconds()), list[str]()
    for name, unit in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        number, left = divmod(left, unit)
        if number:
            parts.append(f"{number} {name}{'s' if number > 1 else ''}")
    return " ".join(parts[:2]) or "no time"
