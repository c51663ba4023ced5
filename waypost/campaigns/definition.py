"""What a campaign is, as a tenant writes it: what is sent, to whom, when, and how carefully."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from waypost.messaging.rules import SendWindow
from waypost.messaging.values import Channel
from waypost.messaging.values import RunState as RunState  # where it is looked for

MAX_VARIANTS = 8

Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Share = Annotated[float, Field(gt=0, le=1)]


class WinnerBy(StrEnum):
    """By what the winning variant is chosen."""

    OPENS = "opens"
    CLICKS = "clicks"
    CONVERSIONS = "conversions"
    MANUAL = "manual"


class Part(BaseModel):
    """A part of the definition: unknown fields are refused, nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AudienceChoice(Part):
    """Exactly one of them."""

    all: Literal[True] | None = None
    list: Key | None = None
    segment: Key | None = None
    rule: Annotated[dict[str, Any] | None, Field(description="A segment's rule, for this campaign alone")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.all, self.list, self.segment, self.rule)) != 1:
            raise PydanticCustomError("audience", "Give exactly one of all, list, segment and rule.")
        return self


class Variant(Part):
    """One version of the content."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
    template: Key
    weight: Annotated[int, Field(ge=1, le=1000)] = 1


class Winner(Part):
    """A share of the audience gets the variants, the rest waits for the best of them."""

    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    by: WinnerBy = WinnerBy.OPENS
    after: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(days=30))] = timedelta(hours=4)


class Canary(Part):
    """A share goes first; the rest follows if not too much of it bounces or complains."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    after: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(days=7))] = timedelta(minutes=30)
    max_bounce_rate: Share = 0.05
    max_complaint_rate: Share = 0.002


class Schedule(Part):
    """When. Without `at` and `local`: at once."""

    at: AwareDatetime | None = None
    local: Annotated[datetime | None, Field(description="The same wall-clock time in each contact's own zone")] = None
    spread: Annotated[timedelta | None, Field(gt=timedelta(0), le=timedelta(days=30))] = None
    throttle_per_minute: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    window: SendWindow | None = None
    late_policy: Annotated[
        Literal["send", "skip", "ask"] | None, Field(description="For what an outage made late; else the tenant's")
    ] = None
    late_after: Annotated[timedelta | None, Field(gt=timedelta(0), le=timedelta(days=366))] = None
    every: Annotated[
        timedelta | None, Field(ge=timedelta(hours=1), le=timedelta(days=366), description="Recurring: a new run each")
    ] = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.at is not None and self.local is not None:
            raise PydanticCustomError("schedule", "Give at or local, not both.")
        if self.local is not None and self.local.tzinfo is not None:
            raise PydanticCustomError("schedule", "local is a wall-clock time: leave the offset away.")
        if self.local is not None and not 1970 < self.local.year < 9000:
            raise PydanticCustomError("schedule", "local is in a year that no campaign is sent in.")
        if self.every is not None and self.at is None:
            raise PydanticCustomError("schedule", "A recurring campaign needs at, its first time.")
        return self


class CampaignDefinition(Part):
    """A campaign as it is put."""

    channel: Channel
    template: Key | None = None
    variants: Annotated[tuple[Variant, ...], Field(max_length=MAX_VARIANTS)] = ()
    winner: Winner | None = None
    sender: Annotated[Key | None, Field(description="Without it the tenant's default of the channel")] = None
    topic: Annotated[Key | None, Field(description="Who left it gets nothing")] = None
    audience: AudienceChoice
    exclude: AudienceChoice | None = None
    schedule: Schedule = Schedule()
    canary: Canary | None = None
    data: Annotated[dict[str, Any], Field(description="`data` in the templates")] = {}
    expires_in: Annotated[
        timedelta, Field(ge=timedelta(minutes=1), le=timedelta(days=90), description="From a recipient's due time")
    ] = timedelta(days=3)
    ignore_frequency_caps: bool = False
    ignore_quiet_hours: bool = False
    conversion_event: Annotated[str | None, StringConstraints(min_length=1, max_length=128)] = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.template is None) == (not self.variants):
            raise PydanticCustomError("content", "Give template, or two to eight variants.")
        if self.variants and len({variant.name for variant in self.variants}) < max(2, len(self.variants)):
            raise PydanticCustomError("content", "Give at least two variants, each with a name of its own.")
        if self.winner is not None and not self.variants:
            raise PydanticCustomError("winner", "A winner needs variants to choose from.")
        if self.winner is not None and self.canary is not None:
            raise PydanticCustomError("canary", "A campaign that waits for a winner tests itself: leave canary away.")
        if self.winner is not None and self.winner.by is WinnerBy.CONVERSIONS and self.conversion_event is None:
            raise PydanticCustomError("winner", "Conversions need conversion_event, the event that is counted.")
        return self

    @model_validator(mode="after")
    def _rest_is_decided_of_in_time(self) -> Self:
        """Who waits for the decision is due with the others, and would have expired by then."""
        if self.winner is not None and self.winner.by is not WinnerBy.MANUAL:
            _require_before_expiry("winner", self.winner.after, self.expires_in)
        if self.canary is not None:
            _require_before_expiry("canary", self.canary.after, self.expires_in)
        return self

    @property
    def contents(self) -> tuple[Variant, ...]:
        """The variants; one of them where the campaign has a template alone."""
        return self.variants or (Variant(name="A", template=self.template or ""),)

    @property
    def first_share(self) -> float:
        """Of the audience, what goes out before anything is decided."""
        if self.winner is not None:
            return self.winner.test_share
        return self.canary.share if self.canary is not None else 1.0


def _require_before_expiry(part: str, after: timedelta, expires_in: timedelta) -> None:
    """Raises `ValidationError` at the part's own field."""
    if after < expires_in:
        return
    advice = (
        f"The rest would have expired by then: give {part}.after less than expires_in, which is {{bound}} seconds, "
        "or a longer expires_in."
    )
    error = PydanticCustomError("expires_before_decision", advice, {"bound": int(expires_in.total_seconds())})
    raise ValidationError.from_exception_data(
        "campaign", [InitErrorDetails(type=error, loc=(part, "after"), input=after)]
    )
