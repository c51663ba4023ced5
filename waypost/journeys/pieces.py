"""What entries, steps and rules of a journey are made of."""

from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from waypost.journeys.durations import Offset
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import validate_data
from waypost.messaging.rules import WallClock
from waypost.messaging.zones import zone_names
from waypost.segments.comparisons import Piece as Piece  # a journey's pieces are what a rule's are
from waypost.segments.comparisons import Scalar, Text
from waypost.segments.rules import BoundedRule, Path, PropertyFilter
from waypost.segments.rules import Key as Key

END = "end"
"""The edge that leads out: the journey is completed."""

MAX_DATA_BYTES = 8_192

StepId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Edge = Annotated[StepId, Field(description="The id of a step, or `end`")]
Name = Annotated[Text, Field(min_length=1, max_length=128)]
Reason = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Where = Annotated[tuple[PropertyFilter, ...], Field(max_length=10, description="All of them")]


def _zone(name: str) -> str:
    if name not in zone_names():
        raise PydanticCustomError("zone", "This is not a time zone of the IANA database, such as Europe/Vienna.")
    return name


Zone = Annotated[str, AfterValidator(_zone), Field(examples=["Europe/Vienna"])]


def _bounded_data(data: dict[str, Any]) -> dict[str, Any]:
    try:
        return validate_data(data, max_bytes=MAX_DATA_BYTES)
    except LabelError as error:
        raise PydanticCustomError("data", "{text}", {"text": str(error)}) from None


class FromData(Piece):
    """A value that the enrollment carries: a property of the event it was entered with, or one that a step kept."""

    property: Path


Data = Annotated[dict[str, JsonValue], AfterValidator(_bounded_data)]
"""Constants, JSON."""

Filled = FromData | Scalar
"""A constant, or what the enrollment carries at a place."""


class Watch(Piece):
    """An event of the contact, or a condition that is or becomes true. Exactly one of the two."""

    event: Name | None = None
    where: Where = ()
    condition: BoundedRule | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.event is None) == (self.condition is None):
            raise PydanticCustomError("watch", "Give exactly one of event and condition.")
        if self.where and self.event is None:
            raise PydanticCustomError("watch", "where filters an event's properties: it goes with event.")
        return self


class Goal(Watch):
    """What the journey is there for: who reaches it has finished, wherever it was."""

    name: Reason = "goal"


class ExitRule(Watch):
    """Who does this, or is this, leaves at once."""

    reason: Reason


class ContactDate(Piece):
    """A date of the contact, or one that the enrollment carries, moved by an offset. Exactly one of the two.

    Whole days of the offset are days of the calendar; with `at` it is that time of the day on the contact's clock.
    """

    attribute: Path | None = None
    property: Path | None = None
    offset: Annotated[Offset, Field(description="ISO 8601, -P3D for three days before")] = timedelta(0)
    at: WallClock | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.attribute is None) == (self.property is None):
            raise PydanticCustomError("date", "Give exactly one of attribute and property.")
        return self
