"""What the send path needs of a provider: rendered content in, a classified reply out.

The adapter names what happened (`ProviderReply`); `activities/failures.py` alone decides what that means for a retry.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable
from uuid import UUID

from waypost.messaging.values import Channel, EventKind, FeedKind, Mode, ProviderKind


class ReplyKind(StrEnum):
    """What one HTTP request to a provider came to.

    accepted         2xx: the provider has the message
    throttled        429 or the like: proof that it was not sent, slow down
    not_reached      the connection could not be made: proof that no byte of the request arrived
    account_blocked  quota used up, sending paused, credentials refused: not sent, pause the account
    denied           401 or 403 that does not tell whether it means the account or this one message: not sent
    rejected         permanent refusal of this one message
    unknown          5xx, time-out, reset: nobody knows
    """

    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    NOT_REACHED = "not_reached"
    ACCOUNT_BLOCKED = "account_blocked"
    DENIED = "denied"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReply:
    """The classified reply. `code` is the provider's own code or ours (never text that may carry an address)."""

    kind: ReplyKind
    provider_message_id: str | None = None
    code: str | None = None
    retry_after: timedelta | None = None
    suppresses: bool = False
    """The provider says that this address must not be written to again (Twilio 21610)."""
    of_whole_call: bool = False
    """Said of a bulk call as a whole. If it is a refusal, only sending each message alone tells which one it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of an email. `content` is raw bytes; `media_type` as in RFC 6838."""

    filename: str
    media_type: str
    content: bytes = field(repr=False)


_PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9]*)\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedContent:
    """What the emails of a bulk call share: text with `{{name}}` where each has its own. None: no such part."""

    subject: str
    html: str | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlottedContent:
    """One email's content as the shared part and its own values; putting them in gives the whole, byte for byte."""

    shared: SharedContent = field(repr=False)
    slots: Mapping[str, str] = field(repr=False)

    def fill(self, shared: str) -> str:
        """A shared part with this email's values put in."""
        return _PLACEHOLDER.sub(lambda found: self.slots[found[1]], shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedMessage:
    """One message, ready to hand over. Email uses subject, html, text, headers, attachments; SMS uses text.

    One that has `slotted` says there what it says, and leaves subject, html and text empty: `whole` puts it together.
    """

    attempt_id: UUID
    channel: Channel
    to: str = field(repr=False)
    from_address: str = field(repr=False)
    from_name: str | None = field(default=None, repr=False)
    reply_to: tuple[str, ...] = field(default=(), repr=False)
    subject: str = field(default="", repr=False)
    html: str | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    attachments: tuple[Attachment, ...] = field(default=(), repr=False)
    configuration_set: str | None = None
    messaging_service: str | None = None
    valid_for: timedelta | None = None
    """What is left of the message's own life, for providers that take a validity period (Twilio)."""
    slotted: SlottedContent | None = field(default=None, repr=False)

    def whole(self) -> "RenderedMessage":
        """The same message with its content put together; itself where it is already."""
        if self.slotted is None:
            return self
        shared, fill = self.slotted.shared, self.slotted.fill
        return replace(
            self,
            subject=fill(shared.subject),
            html=None if shared.html is None else fill(shared.html),
            text="" if shared.text is None else fill(shared.text),
            slotted=None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccount:
    """An SES or Twilio account as data, credentials opened. `endpoint` None means the provider's own origin."""

    id: UUID
    kind: ProviderKind
    mode: Mode
    region: str
    endpoint: str | None
    feed: FeedKind
    credentials: "Credentials"
    topic_arn: str | None = None
    certificate_origin: str | None = None
    queue_url: str | None = None
    callback_base: str | None = None
    """The public base URL of ingest, e.g. `https://events.example.com`; the account id is appended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """SES: access key id and secret (empty key: the ambient AWS chain). Twilio: account SID and auth token."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


class Sender(Protocol):
    """One account's door. Thread-safe, blocking: called in the account's own bounded executor."""

    def send(self, message: RenderedMessage, /) -> ProviderReply:
        """Make exactly one HTTP request, within all deadlines. Never raises for what a provider does."""
        ...

    def close(self) -> None:
        """Give back sockets."""
        ...


@runtime_checkable
class BulkSender(Sender, Protocol):
    """The door of an account that takes many messages in one request."""

    def bulk_key(self, message: RenderedMessage, /) -> Hashable | None:
        """Messages of equal keys may share a call; None: this one goes alone."""
        ...

    def send_bulk(self, messages: Sequence[RenderedMessage], /) -> list[ProviderReply]:
        """Make exactly one HTTP request, within all deadlines, for 1 to 50 messages of one key; a reply for each.

        Never raises for what a provider does; `ValueError` for messages that do not belong together.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """One delivery event as a provider reported it, in our words.

    `event_id` is unique an account (SNS MessageId, or `sid:status`). `recipient` is set for what suppresses.
    """

    event_id: str
    kind: EventKind
    occurred_at: datetime
    attempt_id: UUID | None
    provider_message_id: str | None
    recipient: str | None = field(default=None, repr=False)
    permanent: bool = False
    """A bounce that will not go away: suppress the address."""
    machine: bool = False
    """An open or click made by a scanner or privacy proxy."""
    code: str | None = None
    raw: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessage:
    """A message that a provider's list shows (Twilio look-up)."""

    provider_message_id: str
    created_at: datetime
    status: str


class LookUp(Protocol):
    """Search a provider's own list for a message whose reply was lost (Twilio; SES has none)."""

    def find(self, message: RenderedMessage, *, since: datetime) -> list[FoundMessage]:
        """Messages to the same address with the same body and sender made at or after `since`. Raises `LookUpError`."""
        ...

    def close(self) -> None:
        """Give back sockets."""
        ...


class LookUpError(Exception):
    """The list could not be read; nothing may be concluded."""
