"""The closed choices of the message ledger. Words are those of docs/glossary.md; the strings are what is stored."""

from enum import StrEnum


class Channel(StrEnum):
    """How a message reaches a person."""

    EMAIL = "email"
    SMS = "sms"
    WHATSAPP = "whatsapp"


class Lane(StrEnum):
    """`fast` carries transactional messages; `bulk` journeys, campaigns, imports and backfills."""

    FAST = "fast"
    BULK = "bulk"


class MessageClass(StrEnum):
    """`login_code` may be tried a second time while the first try is unknown; the others never are.

    `marketing` is what campaigns and journeys send: it asks for topic, cap and quiet hours. A request never is.
    """

    LOGIN_CODE = "login_code"
    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


class Part(StrEnum):
    """Which of a request's messages this is."""

    PRIMARY = "primary"
    FALLBACK = "fallback"


class Phase(StrEnum):
    """Who drives the message now.

    waiting     a fallback whose primary is still being tried
    ready       the row waits for its `due_at`; the dispatcher starts it
    dispatched  an execution is open for it
    held        an attempt is unknown; evidence, a void or the horizon decides
    closed      the outcome is set
    """

    WAITING = "waiting"
    READY = "ready"
    DISPATCHED = "dispatched"
    HELD = "held"
    CLOSED = "closed"


class Outcome(StrEnum):
    """Set once; the one correction is `maybe_sent` to `sent`, on evidence."""

    SENT = "sent"
    MAYBE_SENT = "maybe_sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Delivery(StrEnum):
    """What happened after the provider took the message; it only climbs."""

    NONE = "none"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"


ARRIVED = frozenset({Delivery.DELIVERED, Delivery.OPENED, Delivery.CLICKED})
"""The message is in its recipient's mailbox or on their phone."""


class AttemptState(StrEnum):
    """The states of one try to hand a message to a provider (DESIGN "Attempts")."""

    IN_FLIGHT = "in_flight"
    ACCEPTED = "accepted"
    VOID = "void"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"
    ASSUMED_SENT = "assumed_sent"


class EventKind(StrEnum):
    """What a provider reported later, in one vocabulary for SES and Twilio."""

    SEND = "send"
    DELAY = "delay"
    DELIVERY = "delivery"
    OPEN = "open"
    CLICK = "click"
    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    REJECT = "reject"
    RENDERING_FAILURE = "rendering_failure"
    STOP = "stop"
    START = "start"


class TenantState(StrEnum):
    """The life of a tenant."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"


class Mode(StrEnum):
    """Whether keys and accounts reach real people."""

    LIVE = "live"
    TEST = "test"


class ProviderKind(StrEnum):
    """The providers that Waypost speaks to."""

    SES = "ses"
    TWILIO = "twilio"


class AccountState(StrEnum):
    """A paused account holds its messages' rows; nothing is burnt."""

    OPEN = "open"
    PAUSED = "paused"


class FeedKind(StrEnum):
    """`durable`: SNS→SQS, silence can prove absence. `lossy`: HTTPS callbacks, silence proves nothing."""

    DURABLE = "durable"
    LOSSY = "lossy"


class SuppressionReason(StrEnum):
    """Why no message may go to an address."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    STOP = "stop"
    UNSUBSCRIBED = "unsubscribed"
    MANUAL = "manual"


class Subscription(StrEnum):
    """A contact's word on a topic. `pending` waits for the click that confirms it."""

    SUBSCRIBED = "subscribed"
    PENDING = "pending"
    UNSUBSCRIBED = "unsubscribed"


class RunState(StrEnum):
    """Where a campaign's run is. What is `paused` or `halted` can go on; the last two are its end."""

    SCHEDULED = "scheduled"
    PREPARING = "preparing"
    SENDING = "sending"
    PAUSED = "paused"
    HALTED = "halted"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


OPEN_ATTEMPT_STATES = frozenset(
    {AttemptState.IN_FLIGHT, AttemptState.UNKNOWN, AttemptState.ACCEPTED, AttemptState.ASSUMED_SENT}
)
