"""The calls of the Segment protocol as they are sent. The protocol is open: what is not named here is passed over."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from api.events import MAX_PROPERTIES_BYTES
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import MAX_ATTRIBUTES_BYTES, validate_data

MAX_CALL_BYTES = 32 * 1024
MAX_BATCH_BYTES = 500 * 1024
MAX_BATCH = 2_500
"""Calls of a batch."""


def _traits(value: Mapping[str, Any]) -> dict[str, Any]:
    return _data(value, field="traits", most=MAX_ATTRIBUTES_BYTES)


def _properties(value: Mapping[str, Any]) -> dict[str, Any]:
    return _data(value, field="properties", most=MAX_PROPERTIES_BYTES)


def _data(value: Mapping[str, Any], *, field: str, most: int) -> dict[str, Any]:
    try:
        return validate_data(value, field=field, max_bytes=most)
    except LabelError as error:
        raise error.as_pydantic() from None


_OWN = Annotated[str, StringConstraints(strict=True, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.:@|~+=,-]{0,127})?$")]
_UNNAMED = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_.:@|~+=,-]{0,123}$")]
_GROUP = Annotated[str, StringConstraints(strict=True, pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
_NUMBER = Annotated[StrictInt, Field(ge=0, lt=2**63)]

UserId = Annotated[_OWN | _NUMBER | None, Field(description="The contact's external id")]
AnonymousId = Annotated[
    _UNNAMED | _NUMBER | None, Field(description="Without userId the contact's external id is anon:<anonymousId>")
]
Traits = Annotated[
    dict[str, Any], AfterValidator(_traits), Field(description="They become attributes; null takes one away")
]
Properties = Annotated[dict[str, Any], AfterValidator(_properties), Field(description="JSON, 16 KB at most")]
Named = Annotated[str, StringConstraints(max_length=1_000)]


class Call(BaseModel):
    """What all calls have."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    user_id: UserId = None
    anonymous_id: AnonymousId = None
    message_id: Annotated[str, StringConstraints(max_length=1_000)] | None = None
    timestamp: Annotated[
        Annotated[str, StringConstraints(max_length=100)] | float | None,
        Field(description="ISO 8601. What cannot be read, or is more than a day ahead, is the time of arrival"),
    ] = None
    context: Annotated[dict[str, Any] | None, Field(description="Of it identify takes locale and timezone")] = None

    @property
    def external_id(self) -> str:
        """Whom the call is about."""
        own = _text(self.user_id)
        return own or anonymous(_text(self.anonymous_id))

    @property
    def anonymous_contact(self) -> str | None:
        """Who the contact was before it was known, where the call says both."""
        named = _text(self.anonymous_id)
        return anonymous(named) if named and _text(self.user_id) else None


class AboutSomebody(Call):
    """A call that must say whom it is about."""

    @model_validator(mode="after")
    def _somebody(self) -> "AboutSomebody":
        if not _text(self.user_id) and not _text(self.anonymous_id):
            raise PydanticCustomError("nobody", "A call names its contact: give userId or anonymousId.")
        return self


class Identify(AboutSomebody):
    """Who a contact is."""

    type: Literal["identify"] = "identify"
    traits: Traits | None = None


class Track(AboutSomebody):
    """What a contact did."""

    type: Literal["track"] = "track"
    event: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
    properties: Properties | None = None


class Page(AboutSomebody):
    """A page that a contact looked at: an event of the name `page`."""

    type: Literal["page"] = "page"
    name: Named | None = None
    category: Named | None = None
    properties: Properties | None = None


class Screen(AboutSomebody):
    """A screen of an app that a contact looked at: an event of the name `screen`."""

    type: Literal["screen"] = "screen"
    name: Named | None = None
    category: Named | None = None
    properties: Properties | None = None


class Group(AboutSomebody):
    """A group (a company, a team) that a contact is in."""

    type: Literal["group"] = "group"
    group_id: _GROUP | _NUMBER
    traits: Traits | None = None


class Alias(Call):
    """Two ids of one contact: the previous one's contact becomes the other's."""

    type: Literal["alias"] = "alias"
    previous_id: _OWN | _NUMBER

    @model_validator(mode="after")
    def _both(self) -> "Alias":
        if not _text(self.user_id) or not _text(self.previous_id):
            raise PydanticCustomError("nobody", "An alias names both: give previousId and userId.")
        return self

    @property
    def previous(self) -> str:
        """The id that the contact had."""
        return _text(self.previous_id)

    @property
    def anonymous_previous(self) -> str:
        """The same, where that id was an anonymous one."""
        return anonymous(self.previous)


AnyCall = Annotated[Identify | Track | Page | Screen | Group | Alias, Field(discriminator="type")]


def anonymous(named: str) -> str:
    """The external id of the contact that is known by its anonymous id alone."""
    return f"anon:{named}"


def _text(said: str | int | None) -> str:
    return "" if said is None else str(said)
