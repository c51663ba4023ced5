"""What a simulation is given beside the journey: a contact, the tenant around it, and what happens when."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from waypost.journeys.durations import Duration, read_duration
from waypost.journeys.pieces import StepId
from waypost.journeys.source import read_source
from waypost.messaging.addresses import EmailAddress, Locale, PhoneNumber, TimeZone
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import validate_data
from waypost.messaging.rules import MAX_CAPS, FrequencyCap, QuietHours
from waypost.messaging.values import Channel
from waypost.messaging.zones import local_to_utc
from waypost.segments.rules import BoundedRule, Key
from waypost.simulation.errors import GivenError, Wrong

T = TypeVar("T", bound=BaseModel)

MAX_AHEAD = timedelta(days=3_660)


def _json(value: dict[str, Any]) -> dict[str, Any]:
    try:
        return validate_data(value)
    except LabelError as error:
        raise error.as_pydantic() from None


Data = Annotated[dict[str, Any], AfterValidator(_json)]


class Given(BaseModel):
    """A part of what is given; what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ContactGiven(Given):
    """The contact who walks."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@|~+=,-]{0,127}$")] = "somebody"
    email: EmailAddress | None = None
    phone: PhoneNumber | None = None
    time_zone: TimeZone | None = None
    locale: Locale | None = None
    attributes: Data = Field(default_factory=dict)
    consent: dict[Channel, bool] = Field(default_factory=dict)
    lists: tuple[Key, ...] = ()
    topics: dict[Key, Literal["subscribed", "unsubscribed"]] = Field(default_factory=dict)


SOMEBODY = ContactGiven(email="somebody@example.com", phone="+436641234567")
"""Who walks where nobody is given."""


class TopicGiven(Given):
    """A topic of the tenant."""

    opt_in: bool = False


class TenantGiven(Given):
    """The rules and resources around the journey; what is left out is as it is for a new tenant."""

    time_zone: TimeZone = "UTC"
    quiet_hours: QuietHours | None = None
    frequency_caps: Annotated[tuple[FrequencyCap, ...], Field(max_length=MAX_CAPS)] = ()
    late_policy: Literal["send", "skip", "ask"] = "send"
    late_after: Duration = timedelta(days=1)
    segments: dict[Key, BoundedRule] = Field(default_factory=dict)
    topics: dict[Key, TopicGiven] = Field(default_factory=dict)
    refused_webhooks: Annotated[tuple[StepId, ...], Field(description="Steps whose webhook nobody takes")] = ()


def _moment(value: object) -> object:
    if isinstance(value, datetime | timedelta):
        return value
    if isinstance(value, str):
        sign = value[:1] if value[:1] in ("+", "-") else ""
        length = read_duration(value.removeprefix(sign))
        if length is not None and length <= MAX_AHEAD:
            return -length if sign == "-" else length
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError(
        "moment", "Give how long after the start (P2D, -P3D for before it), or a time such as 2026-11-24T09:00."
    )


Moment = Annotated[timedelta | datetime, BeforeValidator(_moment)]
"""So long after the start, or a time: without an offset on the contact's clock."""


def resolve(moment: timedelta | datetime, *, start: datetime, zone: str) -> datetime:
    """The moment in UTC."""
    if isinstance(moment, timedelta):
        return start + moment
    if moment.tzinfo is None:
        return local_to_utc(moment, zone)
    return moment.astimezone(UTC)


class _MomentAlone(Given):
    moment: Moment


def read_moment(text: str, source: str) -> timedelta | datetime:
    """A moment that an option says. Raises `GivenError`."""
    return validated(_MomentAlone, {"moment": text}, source).moment


def read_object(text: str, source: str) -> Any:
    """The tree of a YAML or JSON text. Raises `GivenError`."""
    read = read_source(text)
    if read.problems:
        raise GivenError(source, [Wrong(field="", message=one.message, line=one.line) for one in read.problems])
    return read.tree


def validated(model: type[T], value: Any, source: str, *, text: str | None = None) -> T:
    """The value as what it should be. Raises `GivenError` with everything that is wrong, and its lines in `text`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = read_source(text) if text is not None else None
        raise GivenError(
            source,
            [
                Wrong(
                    field=".".join(str(part) for part in one["loc"]),
                    message=one["msg"],
                    line=lines.line(_place(value, one["loc"])) if lines is not None else None,
                )
                for one in error.errors()
            ],
        ) from None


def _place(value: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where it is written: pydantic also names the kinds of unions, which are written nowhere."""
    place: list[int | str] = []
    for part in location:
        inside = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            inside = value[part]
        if inside is not None:
            place.append(part)
            value = inside
    return tuple(place)
