"""A journey as a team writes it, in YAML or JSON. docs/journeys.md has the language with examples."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from waypost.journeys.durations import Duration
from waypost.journeys.entries import Entry, Reentry
from waypost.journeys.pieces import END, ExitRule, Goal, Key, Piece, StepId, Zone
from waypost.journeys.steps import Step
from waypost.messaging.rules import MAX_CAPS, FrequencyCap, QuietHours
from waypost.segments.comparisons import Text

MAX_STEPS = 100
MAX_EXITS = 10


class OnNewVersion(StrEnum):
    """What becomes of the people in a version when the next one is published.

    stay   they go on in theirs
    move   they go on in the new one, at the step of the same id (another where `moves` says so)
    drain  they go on in theirs, and nobody enters the new one before all of them have left
    """

    STAY = "stay"
    MOVE = "move"
    DRAIN = "drain"


class Journey(Piece):
    """A journey: how people come in, the steps, and what holds at every one of them."""

    journey: Annotated[Key, Field(description="Its key")]
    name: Annotated[Text, Field(min_length=1, max_length=120)]
    description: Annotated[Text | None, Field(max_length=512)] = None
    entry: Entry
    reentry: Reentry = "once"
    goal: Goal | None = None
    exits: Annotated[tuple[ExitRule, ...], Field(max_length=MAX_EXITS)] = ()
    time_zone: Annotated[Zone | None, Field(description="Of contacts that have none; else the tenant's")] = None
    quiet_hours: QuietHours | None = None
    frequency_caps: Annotated[tuple[FrequencyCap, ...], Field(max_length=MAX_CAPS)] = ()
    late_policy: Annotated[
        Literal["send", "skip", "ask"] | None, Field(description="For what an outage made late; else the tenant's")
    ] = None
    late_after: Duration | None = None
    on_new_version: OnNewVersion = OnNewVersion.STAY
    moves: Annotated[
        dict[StepId, StepId], Field(max_length=MAX_STEPS, description="Steps of the version before → of this one")
    ] = Field(default_factory=dict)
    start: Annotated[StepId, Field(description="The first step")]
    steps: Annotated[dict[StepId, Step], Field(min_length=1, max_length=MAX_STEPS)]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if END in self.steps:
            raise PydanticCustomError("reserved", "end is where the journey is completed: no step is called so.")
        if self.moves and self.on_new_version is not OnNewVersion.MOVE:
            raise PydanticCustomError("moves", "moves goes with on_new_version: move.")
        return self


STEP: TypeAdapter[Step] = TypeAdapter(Step)


def read_journey(value: Any) -> Journey:
    """The journey that JSON writes, its fields checked and nothing else. Raises pydantic's ValidationError."""
    return Journey.model_validate(value)


def write_journey(journey: Journey) -> dict[str, Any]:
    """The journey as JSON; `read_journey` makes the same of it."""
    return journey.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def journey_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of a journey's document."""
    schema = Journey.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
