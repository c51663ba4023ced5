"""What came of the demo's journey: steps, endings and messages, held against what was right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from waypost.demo.endings import End, foretold
from waypost.demo.people import Person
from waypost.demo.watching import Rows
from waypost.drills.report import Check, equals
from waypost.journeys.document import Journey
from waypost.journeys.steps import Send
from waypost.messaging.values import Channel

_NOBODY = UUID("1f0c7a52-0001-5000-8000-000000000000")
_FALLS_BACK = frozenset({End.SUPPRESSED, End.UNREPORTED, End.FAILED, End.BOUNCED})

IsSuppressed = Callable[[Channel, str], bool]


@dataclass(frozen=True, slots=True)
class Way:
    """How somebody may rightly leave: an enrollment's `how` and `reason`."""

    how: str
    reason: str
    last: str
    """The step from which."""


@dataclass(slots=True)
class Walk:
    """Filled as the enrollments are read."""

    journey: Journey
    entered: int
    """Whom an event let in."""
    steps: Counter[str] = field(default_factory=Counter)
    """Steps that were taken."""
    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Enrollments by `how` and `reason`."""
    ended: int = 0
    right: int = 0
    """Enrollments that ended the way that what the person did leads to."""
    foreseen: dict[UUID, frozenset[End]] = field(default_factory=dict)
    rows: Rows = field(default_factory=dict)
    mermaid: str = ""
    svg: str = ""
    """Drawn by the API while most people were in it, with how many were where."""
    execution: str | None = None

    def add(self, enrollment: Mapping[str, Any], ways: frozenset[Way]) -> None:
        """An enrollment with its visits."""
        self.execution = self.execution or enrollment["execution"]
        self.steps.update(visit["step"] for visit in enrollment["visits"])
        if enrollment["state"] != "ended":
            return
        self.ended += 1
        self.endings[(enrollment["how"], enrollment["reason"] or "")] += 1
        last = enrollment["visits"][-1]["step"] if enrollment["visits"] else ""
        self.right += Way(enrollment["how"], enrollment["reason"] or "", last) in ways

    def checks(self) -> tuple[Check, ...]:
        """What must hold beside the proof of its messages."""
        return (
            equals("people whom the journey let in and out again", self.ended, self.entered),
            equals("people who left the journey as what they did leads to", self.right, self.entered),
        )

    def foresee(
        self,
        enrollment: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        person: Person,
        is_suppressed: IsSuppressed,
    ) -> None:
        """Each send that was taken has its message, with the ends that are right for it, or a place that none fills."""
        found = {((row["metadata"] or {}).get("visit"), row["part"]): row for row in messages}
        self.rows |= {UUID(row["id"]): dict(row) for row in messages}
        for visit in enrollment["visits"]:
            step = self.journey.steps[visit["step"]]
            if not isinstance(step, Send):
                continue
            for part, ends in _ends(step, person, is_suppressed, may_leave=enrollment["how"] == "exit_rule").items():
                row = found.pop((visit["number"], part), None)
                name = f"{enrollment['id']}/{visit['number']}/{part}"
                self.foreseen[UUID(row["id"]) if row is not None else uuid5(_NOBODY, name)] = ends
        # What nobody foresees ends as nothing that is right.
        self.foreseen |= {UUID(row["id"]): frozenset() for row in found.values()}


def _ends(step: Send, person: Person, is_suppressed: IsSuppressed, *, may_leave: bool) -> Mapping[str, frozenset[End]]:
    first = _end(step.channel, person, is_suppressed)
    if step.fallback is None:
        return {"primary": frozenset({first})}
    # On a busy machine a receipt may come after the fallback's time: then the text message is right as well.
    second = {_end(step.fallback.channel, person, is_suppressed)}
    if first not in _FALLS_BACK:
        second |= {End.SKIPPED}
    if may_leave:
        second |= {End.CANCELLED}
    return {"primary": frozenset({first}), "fallback": frozenset(second)}


def _end(channel: Channel, person: Person, is_suppressed: IsSuppressed) -> End:
    address = person.email if channel is Channel.EMAIL else person.phone
    return End.SUPPRESSED if is_suppressed(channel, address) else foretold(channel, address)
