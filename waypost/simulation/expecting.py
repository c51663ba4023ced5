"""Scenarios beside a journey: what is given, what must come of it, and how what came of it differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from waypost.journeys.durations import Offset, write_duration
from waypost.journeys.pieces import StepId
from waypost.messaging.values import Channel, Part
from waypost.segments.rules import Key
from waypost.simulation.given import ContactGiven, Data, Given, Moment, TenantGiven, resolve
from waypost.simulation.script import MAX_ENTRIES, Entry
from waypost.simulation.timeline import Line, Timeline

_KINDS = {
    "send": "sent",
    "not_sent": "not_sent",
    "put_off": "put_off",
    "waits": "waits",
    "does": None,
    "ended": "ended",
    "open": "open",
}
_ALWAYS = frozenset({"sent", "not_sent"})
_DEEDS = frozenset(
    {
        *("branch", "split", "update_contact", "add_to_list", "remove_from_list"),
        *("webhook", "emit_event", "start_journey"),
    }
)
_ENDS = frozenset({"ended", "open"})


class Expectation(Given):
    """One thing that must come of it: exactly one of send, not_sent, put_off, waits, does, ended, open.

    Every message that is sent or not sent must be expected, in its order, and every end where one is.
    """

    at: Annotated[Moment | None, Field(description="Since the start, or a time on the contact's clock")] = None
    after: Annotated[Offset | None, Field(description="Since what is expected before it")] = None
    send: Annotated[Key | None, Field(description="A template that is sent")] = None
    not_sent: Annotated[Key | None, Field(description="One that the gate refuses")] = None
    put_off: Annotated[Key | None, Field(description="One that waits for the gate")] = None
    waits: Annotated[StepId | None, Field(description="A step where it rests")] = None
    does: Annotated[StepId | None, Field(description="A branch, split, or a step that does something")] = None
    ended: str | None = None
    open: Annotated[StepId | None, Field(description="The step where it is at the end")] = None
    channel: Channel | None = None
    to: str | None = None
    subject: str | None = None
    reason: str | None = None
    part: Part | None = None
    until: Moment | None = None
    leads: Annotated[StepId | None, Field(description="Where `does` leads")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(getattr(self, name) is not None for name in _KINDS) != 1:
            raise PydanticCustomError("expectation", f"Give exactly one of {', '.join(_KINDS)}.")
        if self.at is not None and self.after is not None:
            raise PydanticCustomError("expectation", "Give at or after, not both.")
        return self

    @property
    def what(self) -> str:
        """Which of them it is."""
        return next(name for name in _KINDS if getattr(self, name) is not None)

    def __str__(self) -> str:
        said = {name: value for name, value in self if value is not None}
        return ", ".join(f"{name}: {_said(value)}" for name, value in said.items())


class Scenario(Given):
    """One contact's way, and what must come of it."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    contact: ContactGiven | None = None
    tenant: TenantGiven | None = None
    start: datetime | None = None
    until: Moment | None = None
    data: Data | None = None
    events: Annotated[tuple[Entry, ...], Field(max_length=MAX_ENTRIES)] = ()
    expect: Annotated[tuple[Expectation, ...], Field(min_length=1, max_length=500)]


class Suite(Given):
    """A file of scenarios. What it says itself holds for those that say nothing else."""

    journey: Annotated[str, Field(min_length=1, description="Its file, from here")]
    templates: Annotated[str | None, Field(description="A folder of templates, from here")] = None
    contact: ContactGiven | None = None
    tenant: TenantGiven | None = None
    start: datetime | None = None
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len({one.name for one in self.scenarios}) < len(self.scenarios):
            raise PydanticCustomError("names", "Each scenario has a name of its own.")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One line of a comparison. `missing` was expected and did not come, `unexpected` came."""

    verdict: Literal["same", "missing", "unexpected", "other_time"]
    text: str

    def as_json(self) -> dict[str, str]:
        """For machines."""
        return {"verdict": self.verdict, "text": self.text}


def compare(timeline: Timeline, expected: Sequence[Expectation]) -> list[Compared]:
    """Hold what came against what was expected."""
    kinds = {_KINDS[one.what] for one in expected}
    counted = _ALWAYS | {kind for kind in kinds if kind is not None}
    counted |= _DEEDS if None in kinds else frozenset()
    counted |= _ENDS if kinds & _ENDS else frozenset()
    lines = [line for line in timeline.lines if line.kind in counted]
    strict = _ALWAYS | (_ENDS if kinds & _ENDS else frozenset())
    found, before, came = list[Compared](), timeline.start, 0
    for one, place in zip(expected, _pairs(timeline, expected, lines), strict=True):
        if place is None:
            found.append(Compared(verdict="missing", text=str(one)))
            continue
        found += [_unexpected(timeline, line) for line in lines[came:place] if line.kind in strict]
        line, came = lines[place], place + 1
        wanted = _time(one, timeline, before)
        before = line.at
        if wanted is not None and abs((line.at - wanted).total_seconds()) >= 1:
            text = f"{_told(timeline, line)}; expected {one}"
            found.append(Compared(verdict="other_time", text=text))
        else:
            found.append(Compared(verdict="same", text=_told(timeline, line)))
    return [*found, *(_unexpected(timeline, line) for line in lines[came:] if line.kind in strict)]


def _pairs(timeline: Timeline, expected: Sequence[Expectation], lines: Sequence[Line]) -> list[int | None]:
    """The longest common order of what is expected and what came: the place of each, None where it did not come."""
    fits = [[_fits(one, line, timeline) for line in lines] for one in expected]
    best = [[0] * (len(lines) + 1) for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(lines))):
            longest = max(best[i + 1][j], best[i][j + 1])
            best[i][j] = max(longest, best[i + 1][j + 1] + 1) if fits[i][j] else longest
    places: list[int | None] = []
    j = 0
    for i in range(len(expected)):
        while j < len(lines) and not fits[i][j] and best[i][j] == best[i][j + 1] and best[i + 1][j] < best[i][j]:
            j += 1
        taken = j < len(lines) and fits[i][j] and best[i][j] == best[i + 1][j + 1] + 1
        places.append(j if taken else None)
        j += taken
    return places


def _fits(one: Expectation, line: Line, timeline: Timeline) -> bool:
    facts = line.facts
    match one.what:
        case "send" | "not_sent" | "put_off" as what:
            same = line.kind == _KINDS[what] and facts.get("template") == getattr(one, what)
        case "waits":
            same = line.kind == "waits" and line.step == one.waits
        case "does":
            same = line.kind in _DEEDS and line.step == one.does
        case "ended":
            same = line.kind == "ended" and facts.get("how") == one.ended
        case _:
            same = line.kind == "open" and line.step == one.open
    said = {"channel": one.channel, "to": one.to, "subject": one.subject, "reason": one.reason, "part": one.part}
    said |= {"to": one.leads} if one.leads is not None else {}
    same = same and all(value is None or facts.get(name) == value for name, value in said.items())
    if same and one.until is not None:
        until = facts.get("until") or facts.get("wakes_at")
        wanted = resolve(one.until, start=timeline.start, zone=timeline.zone)
        same = isinstance(until, datetime) and abs((until - wanted).total_seconds()) < 1
    return same


def _time(one: Expectation, timeline: Timeline, before: datetime) -> datetime | None:
    if one.after is not None:
        return before + one.after
    return None if one.at is None else resolve(one.at, start=timeline.start, zone=timeline.zone)


def _unexpected(timeline: Timeline, line: Line) -> Compared:
    return Compared(verdict="unexpected", text=_told(timeline, line))


def _told(timeline: Timeline, line: Line) -> str:
    return f"{write_duration(line.at - timeline.start)}  {line.text}"


def _said(value: Any) -> str:
    return value.isoformat(timespec="minutes") if isinstance(value, datetime) else _length(value)


def _length(value: Any) -> str:
    return write_duration(value) if hasattr(value, "total_seconds") else str(value)
