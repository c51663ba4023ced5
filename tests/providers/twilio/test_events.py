from datetime import UTC, datetime

import pytest

from tests.providers.made import ATTEMPT_ID
from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import Channel, EventKind
from waypost.providers.errors import EventError
from waypost.providers.twilio.events import parse_inbound, parse_status

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SID = "SM" + "a" * 32


def _parse(**params: str) -> list[ProviderEvent]:
    return parse_status(
        {"MessageSid": SID, "To": "whatsapp:+15551112222", **params}, attempt_id=ATTEMPT_ID, received_at=NOW
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("accepted", EventKind.SEND),
        ("queued", EventKind.SEND),
        ("sending", EventKind.SEND),
        ("sent", EventKind.SEND),
        ("delivered", EventKind.DELIVERY),
        ("read", EventKind.OPEN),
        ("undelivered", EventKind.BOUNCE),
        ("failed", EventKind.REJECT),
        ("canceled", EventKind.REJECT),
    ],
)
def test_each_status_becomes_an_event_with_an_id_of_sid_and_status(status: str, kind: EventKind) -> None:
    [event] = _parse(MessageStatus=status)
    assert (event.event_id, event.kind, event.attempt_id) == (f"{SID}:{status}", kind, ATTEMPT_ID)
    assert (event.provider_message_id, event.recipient, event.occurred_at) == (SID, "+15551112222", NOW)
    assert "+1555" not in repr(event)


@pytest.mark.parametrize(
    ("code", "permanent"), [("30005", True), ("30006", True), ("30003", False), ("30007", False), ("text", False)]
)
def test_only_a_number_that_cannot_get_messages_is_permanent(code: str, permanent: bool) -> None:
    [event] = _parse(MessageStatus="undelivered", ErrorCode=code)
    assert event.permanent is permanent
    assert event.code == (code if code.isdigit() else None)


def test_an_opt_out_found_later_is_a_stop_as_well() -> None:
    rejected, stop = _parse(MessageStatus="failed", ErrorCode="21610")
    assert (rejected.kind, stop.kind) == (EventKind.REJECT, EventKind.STOP)
    assert (stop.recipient, stop.event_id) == ("+15551112222", f"{SID}:failed:stop")


@pytest.mark.parametrize("params", [{}, {"MessageStatus": "exploded"}, {"MessageStatus": "sent", "MessageSid": "a b"}])
def test_anything_else_is_an_event_error(params: dict[str, str]) -> None:
    with pytest.raises(EventError):
        _parse(**params)


def test_an_inbound_message_says_who_wrote_what_to_whom() -> None:
    inbound = parse_inbound(
        {"MessageSid": SID, "From": "whatsapp:+15551112222", "To": "whatsapp:+15553334444", "Body": " Stop "}
    )
    assert (inbound.channel, inbound.from_number, inbound.to_number) == (
        Channel.WHATSAPP,
        "+15551112222",
        "+15553334444",
    )
    assert (inbound.sid, inbound.body, inbound.opt_out_type) == (SID, " Stop ", None)


def test_an_inbound_message_without_a_sender_is_an_event_error() -> None:
    with pytest.raises(EventError):
        parse_inbound({"MessageSid": SID, "To": "+15553334444"})
