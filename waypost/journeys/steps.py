"""The steps. Each names where it leads; `end` leads out."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from waypost.journeys.durations import Duration
from waypost.journeys.pieces import (
    ContactDate,
    Data,
    Edge,
    Filled,
    Key,
    Name,
    Piece,
    Reason,
    Watch,
    Where,
)
from waypost.messaging.rules import EVERY_DAY, WallClock, Weekday
from waypost.messaging.values import Channel
from waypost.segments.comparisons import Text
from waypost.segments.rules import BoundedRule

MAX_WAYS = 20

Title = Annotated[Text, Field(min_length=1, max_length=80, description="Shown in the diagram instead of what it does")]
Attribute = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class _Step(Piece):
    title: Title | None = None


class Fallback(Piece):
    """The same on another channel, where the first was not delivered in time."""

    channel: Channel
    template: Key
    sender: Key | None = None
    after: Annotated[Duration, Field(description="From the first's sending")]


class Send(_Step):
    """A message, through the one gate."""

    kind: Literal["send"]
    channel: Channel
    template: Key
    topic: Annotated[Key | None, Field(description="Who left it gets nothing")] = None
    sender: Annotated[Key | None, Field(description="Without it the tenant's default of the channel")] = None
    message_class: Annotated[
        Literal["marketing", "transactional"],
        Field(alias="class", description="transactional: what is owed, whatever the hour, topic and cap"),
    ] = "marketing"
    data: Annotated[Data, Field(description="For the template, beside what the enrollment carries")] = Field(
        default_factory=dict
    )
    expires_in: Annotated[Duration, Field(description="Not sent after it")] = timedelta(days=3)
    fallback: Fallback | None = None
    next: Edge

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.fallback is not None and self.fallback.channel is self.channel:
            raise PydanticCustomError("fallback", "A fallback goes by another channel.")
        if self.fallback is not None and self.fallback.after >= self.expires_in:
            raise PydanticCustomError("fallback", "The message expires before its fallback would be sent.")
        return self


class LocalTime(Piece):
    """The next time that the contact's clock shows it on one of the days."""

    time: WallClock
    days: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7)] = EVERY_DAY


class Wait(_Step):
    """Exactly one of `for`, `until` and `date`."""

    kind: Literal["wait"]
    for_: Annotated[Duration | None, Field(alias="for")] = None
    until: LocalTime | None = None
    date: ContactDate | None = None
    otherwise: Annotated[Edge | None, Field(description="Where the date is missing or past; else it goes on")] = None
    next: Edge

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.for_, self.until, self.date)) != 1:
            raise PydanticCustomError("wait", "Give exactly one of for, until and date.")
        if self.otherwise is not None and self.date is None:
            raise PydanticCustomError("wait", "otherwise belongs to a wait until a date.")
        return self


class WaitFor(_Step):
    """An event or a condition, but not for ever."""

    kind: Literal["wait_for"]
    watch: Annotated[Watch, Field(alias="for")]
    keep_as: Annotated[Attribute | None, Field(description="Keep the event's properties as data under this name")] = (
        None
    )
    timeout: Duration
    on_timeout: Edge
    next: Edge

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.keep_as is not None and self.watch.event is None:
            raise PydanticCustomError("wait_for", "A condition has no properties to keep.")
        return self


class Choice(Piece):
    """A way that is taken where its condition (`when`), its filters of what the enrollment carries, or both hold."""

    name: Annotated[Text | None, Field(min_length=1, max_length=40)] = None
    when: BoundedRule | None = None
    where: Where = ()
    next: Edge

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.when is None and not self.where:
            raise PydanticCustomError("choice", "Give when, where, or both.")
        return self


class Branch(_Step):
    """The first choice that holds, or else."""

    kind: Literal["branch"]
    choices: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=MAX_WAYS)]
    else_: Annotated[Edge, Field(alias="else")]


class Way(Piece):
    """A share of the contacts."""

    name: Annotated[Text, Field(min_length=1, max_length=40)]
    weight: Annotated[int, Field(ge=1, le=10_000)] = 1
    next: Edge


class Split(_Step):
    """By chance, the same way each time for the same contact."""

    kind: Literal["split"]
    ways: Annotated[tuple[Way, ...], Field(min_length=2, max_length=MAX_WAYS)]

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len({way.name for way in self.ways}) < len(self.ways):
            raise PydanticCustomError("split", "Each way has a name of its own.")
        return self


class UpdateContact(_Step):
    """Sets attributes of the contact, or takes them away."""

    kind: Literal["update_contact"]
    set: Annotated[dict[Attribute, Filled], Field(max_length=20)] = Field(default_factory=dict)
    remove: Annotated[tuple[Attribute, ...], Field(max_length=20)] = ()
    next: Edge

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.set and not self.remove:
            raise PydanticCustomError("update", "Give set, remove, or both.")
        return self


class AddToList(_Step):
    """Puts the contact on a list."""

    kind: Literal["add_to_list"]
    list: Key
    next: Edge


class RemoveFromList(_Step):
    """Takes the contact off a list."""

    kind: Literal["remove_from_list"]
    list: Key
    next: Edge


class Webhook(_Step):
    """Tells another system; `data` and what the enrollment carries are posted as JSON."""

    kind: Literal["webhook"]
    url: Annotated[str, StringConstraints(pattern=r"^https://[^\s/]+(/\S*)?$", max_length=1_000)]
    data: Data = Field(default_factory=dict)
    on_failure: Annotated[Edge | None, Field(description="Where it is not taken after all tries; else it goes on")] = (
        None
    )
    next: Edge


class EmitEvent(_Step):
    """An event as if the contact had done it."""

    kind: Literal["emit_event"]
    event: Name
    properties: Annotated[dict[Attribute, Filled], Field(max_length=20)] = Field(default_factory=dict)
    next: Edge


class StartJourney(_Step):
    """Enrolls the contact in another journey, and goes on."""

    kind: Literal["start_journey"]
    journey: Key
    data: Annotated[dict[Attribute, Filled], Field(max_length=20)] = Field(default_factory=dict)
    next: Edge


class Approval(_Step):
    """Waits for a person's yes or no."""

    kind: Literal["approval"]
    question: Annotated[Text, Field(min_length=1)]
    timeout: Duration
    on_timeout: Edge
    on_reject: Edge
    next: Edge


class Exit(_Step):
    """Out, with a reason of its own."""

    kind: Literal["exit"]
    reason: Reason


Step = Annotated[
    Send
    | Wait
    | WaitFor
    | Branch
    | Split
    | UpdateContact
    | AddToList
    | RemoveFromList
    | Webhook
    | EmitEvent
    | StartJourney
    | Approval
    | Exit,
    Field(discriminator="kind"),
]
