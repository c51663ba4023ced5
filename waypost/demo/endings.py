"""How a message ends: what its row shows, and what its address foretells (docs/simulators.md)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from waypost.messaging.values import Channel, Delivery, Outcome


class End(StrEnum):
    """Where a message is."""

    UNDERWAY = "under way"
    UNREPORTED = "sent"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    BOUNCED = "bounced"
    NOT_REACHED = "not reached for now"
    UNDELIVERABLE = "undeliverable"
    UNKNOWN = "perhaps sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_OUTCOMES = {
    Outcome.MAYBE_SENT: End.UNKNOWN,
    Outcome.FAILED: End.FAILED,
    Outcome.SUPPRESSED: End.SUPPRESSED,
    Outcome.SKIPPED: End.SKIPPED,
    Outcome.EXPIRED: End.EXPIRED,
    Outcome.CANCELLED: End.CANCELLED,
}
_DELIVERIES = {
    Delivery.NONE: End.UNREPORTED,
    Delivery.DELAYED: End.NOT_REACHED,
    Delivery.DELIVERED: End.DELIVERED,
    Delivery.OPENED: End.OPENED,
    Delivery.CLICKED: End.CLICKED,
}
_FLAGS = {"complained": End.COMPLAINED, "bounced": End.BOUNCED, "undeliverable": End.UNDELIVERABLE}


def observed(message: Mapping[str, Any]) -> End:
    """The end of a message as `GET /v1/messages` shows it."""
    if message["outcome"] is None:
        return End.UNDERWAY
    outcome = Outcome(message["outcome"])
    if outcome is not Outcome.SENT:
        return _OUTCOMES[outcome]
    flagged = (end for flag, end in _FLAGS.items() if message[flag])
    return next(flagged, _DELIVERIES[Delivery(message["delivery"])])


_EMAIL_WORDS = {
    "bounce": End.BOUNCED,
    "click": End.CLICKED,
    "complaint": End.COMPLAINED,
    "open": End.OPENED,
    "silent": End.UNREPORTED,
}
_PHONE_BLOCKS = {"+1500561": End.BOUNCED, "+1500562": End.FAILED}


def foretold(channel: Channel, address: str) -> End:
    """How a message to that address ends, where nothing keeps it from being sent."""
    if channel is Channel.EMAIL:
        return _EMAIL_WORDS.get(address.partition("+")[0], End.DELIVERED)
    return _PHONE_BLOCKS.get(address[:8], End.DELIVERED)
