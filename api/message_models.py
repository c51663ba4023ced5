"""The bodies of the messages API: what is asked and what is answered, with their bounds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api.fields import ExternalId, Slug
from api.message_views import Links
from api.problems import Problem
from waypost.messaging.addresses import EmailAddress, Locale, PhoneNumber
from waypost.messaging.attachments import MAX_ATTACHMENTS, AttachmentIn, decode_attachments
from waypost.messaging.content import Content
from waypost.messaging.content_errors import ContentError
from waypost.messaging.headers import MAX_OWN_HEADERS, validate_headers
from waypost.messaging.labels import MAX_METADATA_KEYS, MAX_TAGS, validate_data, validate_metadata, validate_tags
from waypost.messaging.values import Channel, MessageClass

MAX_BATCH = 500
MAX_REPLY_TO = 5
MIN_EXPIRY, MAX_EXPIRY = timedelta(minutes=1), timedelta(days=30)
MIN_FALLBACK, MAX_FALLBACK = timedelta(seconds=1), timedelta(days=7)


def _asked_for(message_class: MessageClass) -> MessageClass:
    if message_class is MessageClass.MARKETING:
        raise PydanticCustomError("message_class", "Use login_code or transactional; marketing goes by campaigns.")
    return message_class


RequestedClass = Annotated[
    MessageClass,
    AfterValidator(_asked_for),
    WithJsonSchema({"type": "string", "enum": ["login_code", "transactional"]}),
]

DEFAULT_EXPIRY: dict[MessageClass, timedelta] = {
    MessageClass.LOGIN_CODE: timedelta(minutes=10),
    MessageClass.TRANSACTIONAL: timedelta(days=3),
}

IDEMPOTENCY_KEY = r"^[ -~]{1,255}$"
"""Printable ASCII."""


def _duration(value: object) -> object:
    # pydantic would also read "1:30" and numbers in text; one way to write it is enough.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.startswith("P"):
        return value
    raise PydanticCustomError("duration", "Give an ISO 8601 duration such as PT10M or P2D, or a number of seconds.")


def _time(value: object) -> object:
    if isinstance(value, str):
        return value
    raise PydanticCustomError("time", "Give an ISO 8601 time with its offset, such as 2026-12-24T18:00:00+01:00.")


def _reply_to(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return validate_tags(tags)
    except ContentError as error:
        raise error.as_pydantic() from None


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        return validate_metadata(metadata)
    except ContentError as error:
        raise error.as_pydantic() from None


def _data(data: dict[str, Any]) -> dict[str, Any]:
    try:
        return validate_data(data)
    except ContentError as error:
        raise error.as_pydantic() from None


def _headers(headers: dict[str, str]) -> dict[str, str]:
    try:
        return dict(validate_headers(headers))
    except ContentError as error:
        raise error.as_pydantic() from None


def _attachments(files: tuple[AttachmentIn, ...]) -> tuple[AttachmentIn, ...]:
    try:
        decode_attachments(files)
    except ContentError as error:
        raise error.as_pydantic() from None
    return files


_DURATION_SCHEMA = {
    "anyOf": [{"type": "string", "format": "duration"}, {"type": "number"}],
    "description": "ISO 8601 (PT10M) or seconds",
}
Expiry = Annotated[
    timedelta, BeforeValidator(_duration), Field(ge=MIN_EXPIRY, le=MAX_EXPIRY), WithJsonSchema(_DURATION_SCHEMA)
]
After = Annotated[
    timedelta, BeforeValidator(_duration), Field(ge=MIN_FALLBACK, le=MAX_FALLBACK), WithJsonSchema(_DURATION_SCHEMA)
]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Time = Annotated[AwareDatetime, BeforeValidator(_time)]
Data = Annotated[dict[str, Any], AfterValidator(_data)]
ReplyTo = Annotated[tuple[EmailAddress, ...], BeforeValidator(_reply_to), Field(max_length=MAX_REPLY_TO)]
Tags = Annotated[tuple[str, ...], Field(max_length=MAX_TAGS), AfterValidator(_tags)]
Metadata = Annotated[dict[str, Any], Field(max_length=MAX_METADATA_KEYS), AfterValidator(_metadata)]
OwnHeaders = Annotated[dict[str, str], Field(max_length=MAX_OWN_HEADERS), AfterValidator(_headers)]
Attachments = Annotated[tuple[AttachmentIn, ...], Field(max_length=MAX_ATTACHMENTS), AfterValidator(_attachments)]


class _In(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class To(_In):
    """A contact by its external id; or a bare address, both where a fallback goes by the other one."""

    contact: ExternalId | None = None
    email: EmailAddress | None = None
    phone: PhoneNumber | None = None

    @model_validator(mode="after")
    def _one_person(self) -> Self:
        bare = self.email is not None or self.phone is not None
        if (self.contact is not None) == bare:
            raise PydanticCustomError("recipient", "Give either contact, or email and/or phone.")
        return self

    def address(self, channel: Channel) -> str | None:
        """The bare address of a channel."""
        return self.email if channel is Channel.EMAIL else self.phone

    def guess(self) -> Channel | None:
        """The channel that a single bare address allows, phones meaning SMS."""
        if self.email is not None:
            return Channel.EMAIL if self.phone is None else None
        return Channel.SMS if self.phone is not None else None


class TemplateRef(_In):
    """A template by key; without `version`, the version current at acceptance, which the message keeps."""

    key: Slug
    version: Annotated[int, Field(ge=1, le=2_147_483_647, strict=True)] | None = None


class _WithContent(_In):
    channel: Channel | None = None
    template: TemplateRef | None = None
    content: Content | None = None
    sender: Slug | None = Field(default=None, description="A sender's key; the channel's default otherwise")

    @model_validator(mode="before")
    @classmethod
    def _channel_of_content(cls, body: object) -> object:
        """Inline content may leave its channel out where the message says it, or one address tells it."""
        if not isinstance(body, Mapping) or not isinstance(content := body.get("content"), Mapping):
            return body
        if "channel" in content or (channel := body.get("channel") or _channel_of(body.get("to"))) is None:
            return body
        return {**body, "content": {**content, "channel": channel}}

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.template is None) == (self.content is None):
            raise PydanticCustomError("one_content", "Give either template or content.")
        return self


def _channel_of(to: object) -> str | None:
    if not isinstance(to, Mapping) or ("email" in to) == ("phone" in to):
        return None
    return Channel.EMAIL if "email" in to else Channel.SMS


class Fallback(_WithContent):
    """A second message on another channel, sent where the first is not delivered in time."""

    channel: Channel
    after: After
    unless: Literal["delivered"] = "delivered"


class MessageIn(_WithContent):
    """One message. `expires_in` counts from `send_at`, or from now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "to": {"contact": "user-4711"},
                    "template": {"key": "receipt"},
                    "data": {"order": "A-1009", "total": "19.90"},
                    "tags": ["shop"],
                },
                {
                    "to": {"email": "ann@example.com", "phone": "+436641234567"},
                    "class": "login_code",
                    "content": {"channel": "email", "subject": "Your code", "text": "Your code is {{ code }}."},
                    "data": {"code": "918273"},
                    "fallback": {"channel": "sms", "after": "PT30S", "content": {"body": "Code: {{ code }}"}},
                },
            ]
        }
    )

    to: To
    data: Data = Field(default_factory=dict, description="What the template is rendered with; 64 KB at most")
    message_class: RequestedClass = Field(default=MessageClass.TRANSACTIONAL, alias="class")
    send_at: Time | None = None
    expires_in: Expiry | None = None
    locale: Locale | None = None
    reply_to: ReplyTo = ()
    headers: OwnHeaders = Field(default_factory=dict)
    attachments: Attachments = ()
    tags: Tags = ()
    metadata: Metadata | None = None
    unknown_policy: Literal["wait", "at_most_once"] | None = None
    fallback: Fallback | None = None

    @model_validator(mode="after")
    def _expires_after_fallback(self) -> Self:
        if self.fallback is not None and self.fallback.after >= self.life:
            raise PydanticCustomError(
                "fallback_after_expiry", "The message expires before its fallback is due: shorten fallback.after."
            )
        return self

    @property
    def life(self) -> timedelta:
        """How long the message is worth sending, from send_at or now."""
        return self.expires_in or DEFAULT_EXPIRY[self.message_class]


class BatchItemIn(MessageIn):
    """One message of a batch, with a key of its own."""

    idempotency_key: Annotated[str, StringConstraints(pattern=IDEMPOTENCY_KEY)] | None = None


class BatchIn(_In):
    """Up to 500 messages, each with its own verdict."""

    messages: Annotated[list[BatchItemIn], Field(min_length=1, max_length=MAX_BATCH)]


class MessageAccepted(BaseModel):
    """The message is a committed row: it will have exactly one outcome."""

    id: UUID
    status: Literal["accepted"] = "accepted"
    links: Links
    fallback_id: UUID | None = None


class Verdict(BaseModel):
    """What became of one message of a batch. `duplicate`: its key had been used with the same body before."""

    status: Literal["accepted", "duplicate", "refused"]
    id: UUID | None = None
    links: Links | None = None
    fallback_id: UUID | None = None
    problem: Problem | None = None


class Released(BaseModel):
    """The message is due now, late as it is."""

    id: UUID
    status: Literal["released"]


class Cancelled(BaseModel):
    """The message is cancelled, or will be when its execution next looks."""

    id: UUID
    status: Literal["cancelled", "cancelling"]


class BatchVerdicts(BaseModel):
    """The verdicts, in the order of the request."""

    verdicts: list[Verdict]
