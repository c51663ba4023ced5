"""SES's event publishing in our words.

Source: SES developer guide, "Contents of event data that Amazon SES publishes to Amazon SNS".
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import EventKind
from waypost.providers.errors import EventError
from waypost.providers.ses.machines import made_by_machine
from waypost.providers.ses.tags import ATTEMPT_TAG

_KINDS: Mapping[str, tuple[EventKind, str]] = {
    "Send": (EventKind.SEND, "send"),
    "Delivery": (EventKind.DELIVERY, "delivery"),
    "DeliveryDelay": (EventKind.DELAY, "deliveryDelay"),
    "Bounce": (EventKind.BOUNCE, "bounce"),
    "Complaint": (EventKind.COMPLAINT, "complaint"),
    "Open": (EventKind.OPEN, "open"),
    "Click": (EventKind.CLICK, "click"),
    "Reject": (EventKind.REJECT, "reject"),
    "Rendering Failure": (EventKind.RENDERING_FAILURE, "failure"),
}
"""SES's name of the event → ours, and the key of the part that tells more."""

_IGNORED = frozenset({"Subscription"})
"""SES's own list management, which Waypost does not use."""

_GREETING = "Successfully validated SNS topic"
"""What SES publishes, as plain text, when an event destination is made."""

_PERHAPS_AUTOMATIC_REPLY = ("Transient", "General")
"""SES also reports somebody's out-of-office reply so ("Bounce types"). Every other bounce is final for its message: SES
tells of soft ones only when it tries no more."""

_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


def parse_ses_event(message: str | bytes, *, event_id: str) -> list[ProviderEvent]:
    """The events of one SES notification: one for each recipient it names, none for what Waypost does not use.

    `event_id` is the SNS MessageId (or `body_id`). Raises `EventError` for anything that SES does not write.
    """
    raw = message if isinstance(message, str) else message.decode(errors="replace")
    if raw.startswith(_GREETING):
        return []
    try:
        event = orjson.loads(raw)
        name = event.get("eventType") or event["notificationType"]
        if name in _IGNORED:
            return []
        if name not in _KINDS:
            raise EventError("unknown_event")
        kind, key = _KINDS[name]
        return _events(kind, mail=event["mail"], detail=event.get(key) or {}, event_id=event_id, raw=raw)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        raise EventError("malformed_event") from None


def body_id(body: str) -> str:
    """An event id for raw delivery, where there is no SNS MessageId: the same bytes are the same event."""
    return f"raw:{hashlib.sha256(body.encode()).hexdigest()}"


def _events(kind: EventKind, *, mail: Any, detail: Any, event_id: str, raw: str) -> list[ProviderEvent]:
    if kind is EventKind.COMPLAINT and detail.get("complaintFeedbackType") == "not-spam":
        return []  # somebody took a message out of the spam folder: the opposite of a complaint
    recipients = _recipients(kind, detail)
    return [
        ProviderEvent(
            event_id=event_id if len(recipients) == 1 else f"{event_id}:{index}",
            kind=kind,
            occurred_at=_moment(detail.get("timestamp") or mail["timestamp"]),
            attempt_id=_attempt(mail),
            provider_message_id=_string(mail["messageId"]),
            recipient=recipient,
            permanent=kind is EventKind.BOUNCE and detail["bounceType"] == "Permanent",
            machine=_machine(kind, detail),
            code=_code(kind, detail),
            raw=raw,
        )
        for index, recipient in enumerate(recipients)
    ]


def _recipients(kind: EventKind, detail: Any) -> list[str | None]:
    """Who bounced or complained; other kinds suppress nobody, and Waypost sends to one recipient a message."""
    match kind:
        case EventKind.BOUNCE:
            return [_string(who["emailAddress"]) for who in detail["bouncedRecipients"]] or [None]
        case EventKind.COMPLAINT:
            return [_string(who["emailAddress"]) for who in detail["complainedRecipients"]] or [None]
        case _:
            return [None]


def _attempt(mail: Any) -> UUID | None:
    """The tag's value; None for mail that Waypost did not send through this account."""
    values = (mail.get("tags") or {}).get(ATTEMPT_TAG) or [None]
    try:
        return UUID(values[0])
    except (ValueError, TypeError, AttributeError):
        return None


def _code(kind: EventKind, detail: Any) -> str | None:
    match kind:
        case EventKind.BOUNCE:
            return _safe("_".join(filter(None, (detail["bounceType"], detail.get("bounceSubType")))))
        case EventKind.COMPLAINT:
            return _safe(detail.get("complaintFeedbackType") or detail.get("complaintSubType"))
        case EventKind.DELAY:
            return _safe(detail.get("delayType"))
        case EventKind.REJECT | EventKind.RENDERING_FAILURE:
            return kind.value  # SES's reason is text
        case _:
            return None


def _machine(kind: EventKind, detail: Any) -> bool:
    if kind is EventKind.BOUNCE:
        return (detail["bounceType"], detail.get("bounceSubType")) == _PERHAPS_AUTOMATIC_REPLY
    if kind not in (EventKind.OPEN, EventKind.CLICK):
        return False
    return made_by_machine(user_agent=detail.get("userAgent") or "", ip=detail.get("ipAddress") or "")


def _moment(value: Any) -> datetime:
    """ISO 8601 as SES writes it, always UTC."""
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _safe(value: Any) -> str | None:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
