"""How people come into a journey, and whether they may come again."""

from datetime import datetime, time, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from waypost.journeys.durations import Duration, Offset
from waypost.journeys.pieces import Key, Name, Piece, Where
from waypost.messaging.rules import WallClock
from waypost.segments.comparisons import Text
from waypost.segments.rules import Path

Expected = Annotated[
    tuple[Annotated[Text, Field(min_length=1, max_length=64)], ...],
    Field(max_length=50, description="What an enrollment carries: names that templates find as data.…"),
]


class EventEntry(Piece):
    """The contact does something."""

    kind: Literal["event"]
    event: Name
    where: Where = ()
    key: Annotated[Path | None, Field(description="The property of which each value is a journey of its own")] = None
    expects: Expected = ()


class SegmentEntry(Piece):
    """The contact comes to be in a segment."""

    kind: Literal["segment"]
    segment: Key
    expects: Expected = ()


class ApiEntry(Piece):
    """Only who is enrolled by the API, or by another journey's step."""

    kind: Literal["api"]
    expects: Expected = ()


class ScheduleEntry(Piece):
    """Everybody in a segment or on a list, again and again."""

    kind: Literal["schedule"]
    first: Annotated[datetime, Field(description="With an offset; without one it is the clock of each contact")]
    every: Annotated[Duration | None, Field(description="Without it: once")] = None
    segment: Key | None = None
    list: Key | None = None
    expects: Expected = ()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.segment is None) == (self.list is None):
            raise PydanticCustomError("schedule", "Give exactly one of segment and list.")
        if self.every is not None and self.every.total_seconds() < 3_600:
            raise PydanticCustomError("schedule", "A schedule comes back after an hour at the earliest.")
        if not 1970 < self.first.year < 2900:
            raise PydanticCustomError("schedule", "first is in a year that no journey begins in.")
        return self


class DateEntry(Piece):
    """A date of the contact comes: a birthday, the end of a trial."""

    kind: Literal["contact_date"]
    attribute: Path
    offset: Annotated[Offset, Field(description="ISO 8601, -P3D for three days before")] = timedelta(0)
    at: Annotated[WallClock, Field(description="On the contact's clock")] = time(9)
    yearly: Annotated[bool, Field(description="Each year on that day; of 29 February the 28th where there is none")] = (
        False
    )
    expects: Expected = ()


Entry = Annotated[
    EventEntry | SegmentEntry | ApiEntry | ScheduleEntry | DateEntry,
    Field(discriminator="kind"),
]


class CoolDown(Piece):
    """Again, but not before so much time has passed since the last entry."""

    after: Duration


Reentry = Annotated[
    Literal["once", "after_exit", "per_key"] | CoolDown,
    Field(description="once; after_exit; per_key: one at a time of each key; {after: P30D}: a cool-down from entry"),
]
