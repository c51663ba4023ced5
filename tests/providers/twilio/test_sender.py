import json
import time
from datetime import timedelta
from urllib.parse import parse_qs

import pytest

from tests.providers.made import ACCOUNT_ID, ATTEMPT_ID, QUICK, sms, twilio_account
from tests.providers.scripted_server import (
    ScriptedServer,
    Step,
    close,
    drip,
    hang,
    reply,
    reset,
    scripted,
    unused_port,
)
from waypost.messaging.provider import ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import Channel
from waypost.providers.twilio.sender import TwilioSender

SID = "SM" + "a" * 32
ACCEPTED = reply(201, json.dumps({"sid": SID, "status": "queued"}).encode())


def _send(server: ScriptedServer, message: RenderedMessage | None = None) -> ProviderReply:
    sender = TwilioSender(twilio_account(server.url), QUICK)
    try:
        return sender.send(message or sms())
    finally:
        sender.close()


def _refusal(status: int, code: int) -> Step:
    return reply(status, json.dumps({"code": code, "message": "to +15551112222", "status": status}).encode())


def test_a_sent_message_comes_back_accepted_with_its_sid() -> None:
    with scripted(ACCEPTED) as server:
        assert _send(server) == ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id=SID)
    [request] = server.requests
    assert request.line == f"POST /2010-04-01/Accounts/AC{'0' * 32}/Messages.json HTTP/1.1"
    assert request.headers["authorization"].startswith("Basic ")
    assert parse_qs(request.body.decode()) == {
        "To": ["+15551112222"],
        "From": ["+15553334444"],
        "Body": ["Your code is 123456"],
        "StatusCallback": [f"https://events.example.com/webhooks/{ACCOUNT_ID}/twilio/status/{ATTEMPT_ID}"],
    }


def test_whatsapp_addresses_have_its_prefix_and_a_service_replaces_the_number() -> None:
    with scripted(ACCEPTED) as server:
        _send(server, sms(channel=Channel.WHATSAPP))
        _send(server, sms(messaging_service="MG1"))
    whatsapp, service = (parse_qs(request.body.decode()) for request in server.requests)
    assert (whatsapp["To"], whatsapp["From"]) == (["whatsapp:+15551112222"], ["whatsapp:+15553334444"])
    assert service["MessagingServiceSid"] == ["MG1"]
    assert "From" not in service


@pytest.mark.parametrize(("seconds", "sent"), [(0.2, "1"), (59.9, "59"), (90_000, "36000")])
def test_the_messages_own_life_becomes_a_validity_period_in_range(seconds: float, sent: str) -> None:
    with scripted(ACCEPTED) as server:
        _send(server, sms(valid_for=timedelta(seconds=seconds)))
    assert parse_qs(server.requests[0].body.decode())["ValidityPeriod"] == [sent]


@pytest.mark.parametrize(
    ("step", "kind", "code"),
    [
        (_refusal(429, 20429), ReplyKind.THROTTLED, "20429"),
        (_refusal(429, 63038), ReplyKind.ACCOUNT_BLOCKED, "63038"),
        (reply(429, b""), ReplyKind.THROTTLED, "http_429"),
        (_refusal(400, 21611), ReplyKind.THROTTLED, "21611"),
        (_refusal(400, 21211), ReplyKind.REJECTED, "21211"),
        (_refusal(400, 21614), ReplyKind.REJECTED, "21614"),
        (_refusal(404, 20404), ReplyKind.REJECTED, "20404"),
        (_refusal(401, 20003), ReplyKind.ACCOUNT_BLOCKED, "20003"),
        (_refusal(403, 20005), ReplyKind.ACCOUNT_BLOCKED, "20005"),
        (_refusal(400, 30002), ReplyKind.ACCOUNT_BLOCKED, "30002"),
        (_refusal(403, 20006), ReplyKind.DENIED, "20006"),
        (reply(403, b"<html>"), ReplyKind.DENIED, "http_403"),
        (_refusal(403, 21408), ReplyKind.REJECTED, "21408"),
        (_refusal(500, 20500), ReplyKind.UNKNOWN, "20500"),
        (reply(503, b"<html>"), ReplyKind.UNKNOWN, "http_503"),
        (reply(302, b"", "Location: http://127.0.0.1:1/"), ReplyKind.UNKNOWN, "http_302"),
        (reply(201, b"<html>"), ReplyKind.UNKNOWN, "unreadable_reply"),
        (reply(201, b"{}"), ReplyKind.UNKNOWN, "unreadable_reply"),
        (hang, ReplyKind.UNKNOWN, "timed_out"),
        (drip, ReplyKind.UNKNOWN, "timed_out"),
        (reset, ReplyKind.UNKNOWN, "reset"),
        (close, ReplyKind.UNKNOWN, "closed_before_reply"),
    ],
)
def test_a_failure_is_told_for_what_it_is_after_exactly_one_request(step: Step, kind: ReplyKind, code: str) -> None:
    started = time.monotonic()
    with scripted(step) as server:
        answer = _send(server)
    assert (answer.kind, answer.code) == (kind, code)
    assert "+1555" not in repr(answer)
    assert len(server.requests) == 1
    assert time.monotonic() - started < QUICK.total + 1.0


def test_an_error_in_twilios_newer_form_is_understood_too() -> None:
    problem = {"type": "https://t", "title": "no", "status": 400, "code": 21610}
    with scripted(reply(400, json.dumps(problem).encode())) as server:
        answer = _send(server)
    assert (answer.kind, answer.code, answer.suppresses) == (ReplyKind.REJECTED, "21610", True)


def test_only_an_opted_out_number_suppresses() -> None:
    with scripted(_refusal(400, 21610), _refusal(400, 21211)) as server:
        assert [_send(server).suppresses for _ in range(2)] == [True, False]


def test_a_throttling_reply_may_say_how_long() -> None:
    with scripted(reply(429, b"", "Retry-After: 3")) as server:
        assert _send(server).retry_after == timedelta(seconds=3)


def test_an_endpoint_nobody_listens_on_is_not_reached() -> None:
    sender = TwilioSender(twilio_account(f"http://127.0.0.1:{unused_port()}"), QUICK)
    answer = sender.send(sms())
    assert (answer.kind, answer.code) == (ReplyKind.NOT_REACHED, "connect_refused")


def test_the_environment_does_not_send_messages_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    sender = TwilioSender(twilio_account(None), QUICK)
    assert sender._client.get_hostname("https://api.twilio.com/x") == "https://api.twilio.com/x"
    with scripted(ACCEPTED) as server:
        assert _send(server).kind is ReplyKind.ACCEPTED
