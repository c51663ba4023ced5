"""Twilio's status callbacks and inbound messages in our words.

Source: Twilio "Message resource" (statuses), error dictionary (codes). Callbacks carry no time of their own and may
come late, twice or in any order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson

from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import Channel, EventKind
from waypost.providers.errors import EventError
from waypost.providers.twilio.errors import OPTED_OUT

_KINDS: Mapping[str, EventKind] = {
    "accepted": EventKind.SEND,
    "scheduled": EventKind.SEND,
    "queued": EventKind.SEND,
    "sending": EventKind.SEND,
    "sent": EventKind.SEND,
    "delivered": EventKind.DELIVERY,
    "read": EventKind.OPEN,
    "undelivered": EventKind.BOUNCE,
    "failed": EventKind.REJECT,
    "canceled": EventKind.REJECT,
}

_PERMANENT = frozenset({"21211", "21214", "21217", "21614", "21635", "30005", "30006", "63024"})
"""The number does not exist, or cannot get messages. A phone that is off (30003) or a filter (30007) is not that: their
message has bounced, for `undelivered` is Twilio's last word on it, but the number stays good for others."""

_SID = re.compile(r"[A-Za-z0-9]{2,64}")
_WHATSAPP = "whatsapp:"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """What a person wrote to one of the account's numbers. `sid` de-duplicates it."""

    sid: str
    channel: Channel
    from_number: str = field(repr=False)
    to_number: str = field(repr=False)
    body: str = field(repr=False)
    opt_out_type: str | None = None
    """`STOP`, `START` or `HELP` where Twilio's Advanced Opt-Out has already handled it."""


def parse_status(params: Mapping[str, str], *, attempt_id: UUID | None, received_at: datetime) -> list[ProviderEvent]:
    """The events of one status callback: one, and a `stop` beside it where Twilio says that the person opted out.

    Raises `EventError` for anything that Twilio does not write.
    """
    sid = _sid(params)
    status = params.get("MessageStatus") or params.get("SmsStatus") or ""
    if status not in _KINDS:
        raise EventError("unknown_status")
    code = _code(params.get("ErrorCode", ""))
    event = ProviderEvent(
        event_id=f"{sid}:{status}",
        kind=_KINDS[status],
        occurred_at=received_at,
        attempt_id=attempt_id,
        provider_message_id=sid,
        recipient=_number(params.get("To", "")) or None,
        permanent=_KINDS[status] in (EventKind.BOUNCE, EventKind.REJECT) and code in _PERMANENT,
        code="canceled" if status == "canceled" else code,
        raw=orjson.dumps(dict(params)).decode(),
    )
    return [event, _stop(event)] if code == OPTED_OUT else [event]


def parse_inbound(params: Mapping[str, str]) -> InboundMessage:
    """A message that came in. Raises `EventError` for anything that Twilio does not write."""
    sender, receiver = params.get("From", ""), params.get("To", "")
    if not sender or not receiver:
        raise EventError("malformed_inbound")
    return InboundMessage(
        sid=_sid(params),
        channel=Channel.WHATSAPP if sender.startswith(_WHATSAPP) else Channel.SMS,
        from_number=_number(sender),
        to_number=_number(receiver),
        body=params.get("Body", ""),
        opt_out_type=params.get("OptOutType") or None,
    )


def _stop(event: ProviderEvent) -> ProviderEvent:
    return ProviderEvent(
        event_id=f"{event.event_id}:stop",
        kind=EventKind.STOP,
        occurred_at=event.occurred_at,
        attempt_id=event.attempt_id,
        provider_message_id=event.provider_message_id,
        recipient=event.recipient,
        code=event.code,
        raw=event.raw,
    )


def _sid(params: Mapping[str, str]) -> str:
    sid = params.get("MessageSid") or params.get("SmsSid") or ""
    if not _SID.fullmatch(sid):
        raise EventError("malformed_sid")
    return sid


def _number(address: str) -> str:
    return address.removeprefix(_WHATSAPP)


def _code(value: str) -> str | None:
    return value if value.isascii() and value.isdigit() and len(value) == 5 else None
