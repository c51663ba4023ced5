import json
import time
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest

from tests.providers.made import ATTEMPT_ID, QUICK, email, ses_account
from tests.providers.scripted_server import (
    ScriptedServer,
    Step,
    close,
    drip,
    hang,
    raw,
    reply,
    reset,
    scripted,
    unused_port,
)
from waypost.messaging.provider import Attachment, Credentials, ProviderReply, RenderedMessage, ReplyKind
from waypost.providers.ses import connection
from waypost.providers.ses.sender import SesSender, send_request

ACCEPTED = reply(200, b'{"MessageId": "0100-ab"}')


def _send(server: ScriptedServer, message: RenderedMessage | None = None) -> ProviderReply:
    sender = SesSender(ses_account(server.url), QUICK)
    try:
        return sender.send(message or email())
    finally:
        sender.close()


def _refusal(status: int, code: str, text: str = "to ada@example.com") -> Step:
    body = json.dumps({"message": text}).encode()
    return reply(status, body, f"x-amzn-ErrorType: {code}:http://internal.amazon.com/")


def test_a_sent_email_comes_back_accepted_with_its_message_id() -> None:
    with scripted(ACCEPTED) as server:
        answer = _send(server)
    assert answer == ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id="0100-ab")


def test_the_request_carries_all_that_the_message_has() -> None:
    message = email(
        from_name="Ada, Inc.",
        reply_to=("help@shop.example",),
        headers=(("List-Unsubscribe", "<https://shop.example/u>"), ("X-Note", "grün")),
        attachments=(Attachment(filename="a.txt", media_type="text/plain", content=b"abc"),),
    )
    with scripted(ACCEPTED) as server:
        _send(server, message)
    [request] = server.requests
    assert request.line == "POST /v2/email/outbound-emails HTTP/1.1"
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
    body = json.loads(request.body)
    simple = body["Content"]["Simple"]
    assert body["FromEmailAddress"] == '"Ada, Inc." <hello@shop.example>'
    assert body["Destination"] == {"ToAddresses": ["ada@example.com"]}
    assert body["ReplyToAddresses"] == ["help@shop.example"]
    assert body["EmailTags"] == [{"Name": "waypost_attempt", "Value": str(ATTEMPT_ID)}]
    assert body["ConfigurationSetName"] == "waypost"
    assert simple["Headers"][0] == {"Name": "List-Unsubscribe", "Value": "<https://shop.example/u>"}
    assert simple["Headers"][1]["Value"].isascii()
    assert simple["Attachments"][0]["RawContent"] == "YWJj"
    assert simple["Body"]["Html"]["Data"] == "<p>Hello</p>"


@pytest.mark.parametrize("name", ["Zoë", "Анна Каренина и её очень длинное имя, которое не помещается в одно слово"])
def test_a_name_beyond_ascii_becomes_encoded_words_on_one_line(name: str) -> None:
    header = send_request(email(from_name=name))["FromEmailAddress"]
    assert header.isascii()
    assert "\n" not in header
    assert all(len(word) <= 75 for word in header.split())
    written, address = parseaddr(header)
    assert (str(make_header(decode_header(written))), address) == (name, "hello@shop.example")


def test_a_domain_beyond_ascii_becomes_punycode() -> None:
    assert send_request(email(to="ada@bücher.example"))["Destination"] == {"ToAddresses": ["ada@xn--bcher-kva.example"]}


def test_an_address_that_cannot_be_written_is_rejected_without_a_request() -> None:
    with scripted(ACCEPTED) as server:
        answer = _send(server, email(to="zoë@example.com"))
    assert (answer.kind, answer.code) == (ReplyKind.REJECTED, "unsendable")
    assert server.requests == []


@pytest.mark.parametrize(
    ("step", "kind", "code"),
    [
        (_refusal(429, "TooManyRequestsException", "Maximum sending rate exceeded."), ReplyKind.THROTTLED, None),
        (reply(429, b""), ReplyKind.THROTTLED, "http_429"),
        (
            _refusal(429, "TooManyRequestsException", "Daily message quota exceeded."),
            ReplyKind.ACCOUNT_BLOCKED,
            "daily_quota",
        ),
        (
            _refusal(400, "LimitExceededException", "Daily message quota exceeded."),
            ReplyKind.ACCOUNT_BLOCKED,
            "daily_quota",
        ),
        (_refusal(400, "LimitExceededException", "Maximum sending rate exceeded."), ReplyKind.THROTTLED, None),
        (_refusal(400, "SendingPausedException"), ReplyKind.ACCOUNT_BLOCKED, "SendingPausedException"),
        (_refusal(400, "AccountSuspendedException"), ReplyKind.ACCOUNT_BLOCKED, "AccountSuspendedException"),
        (_refusal(403, "ExpiredTokenException"), ReplyKind.ACCOUNT_BLOCKED, "ExpiredTokenException"),
        (_refusal(403, "UnrecognizedClientException"), ReplyKind.ACCOUNT_BLOCKED, "UnrecognizedClientException"),
        (_refusal(403, "SignatureDoesNotMatch"), ReplyKind.ACCOUNT_BLOCKED, "SignatureDoesNotMatch"),
        (_refusal(403, "AccessDeniedException"), ReplyKind.DENIED, "access_denied"),
        (_refusal(403, "SomethingNew"), ReplyKind.DENIED, "SomethingNew"),
        (reply(401, b""), ReplyKind.DENIED, None),
        (_refusal(400, "MessageRejected"), ReplyKind.REJECTED, "MessageRejected"),
        (_refusal(400, "BadRequestException"), ReplyKind.REJECTED, "BadRequestException"),
        (_refusal(404, "NotFoundException"), ReplyKind.REJECTED, "NotFoundException"),
        (_refusal(400, "MailFromDomainNotVerifiedException"), ReplyKind.REJECTED, None),
        (_refusal(500, "InternalFailure"), ReplyKind.UNKNOWN, "InternalFailure"),
        (reply(503, b"<html>"), ReplyKind.UNKNOWN, "http_503"),
        (reply(302, b"", "Location: http://127.0.0.1:1/"), ReplyKind.UNKNOWN, None),
        (_refusal(408, "RequestTimeout"), ReplyKind.UNKNOWN, "RequestTimeout"),
        (reply(200, b"{}"), ReplyKind.UNKNOWN, "unreadable_reply"),
        (reply(200, b"<html>not ses</html>"), ReplyKind.UNKNOWN, "unreadable_reply"),
        (hang, ReplyKind.UNKNOWN, "timed_out"),
        (drip, ReplyKind.UNKNOWN, "timed_out"),
        (reset, ReplyKind.UNKNOWN, "reset"),
        (close, ReplyKind.UNKNOWN, "closed_before_reply"),
        (raw(b"garbage\r\n\r\n"), ReplyKind.UNKNOWN, "unreadable_reply"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), ReplyKind.UNKNOWN, "closed_before_reply"),
    ],
)
def test_a_failure_is_told_for_what_it_is_after_exactly_one_request(
    step: Step, kind: ReplyKind, code: str | None
) -> None:
    started = time.monotonic()
    with scripted(step) as server:
        answer = _send(server)
    assert answer.kind is kind
    assert code is None or answer.code == code
    assert "ada@" not in repr(answer)
    assert len(server.requests) == 1
    assert time.monotonic() - started < QUICK.total + 1.0


def test_a_throttling_reply_may_say_how_long() -> None:
    with scripted(reply(429, b"", "Retry-After: 7")) as server:
        answer = _send(server)
    assert answer.retry_after is not None
    assert answer.retry_after.total_seconds() == 7


def test_an_endpoint_nobody_listens_on_is_not_reached() -> None:
    sender = SesSender(ses_account(f"http://127.0.0.1:{unused_port()}"), QUICK)
    answer = sender.send(email())
    assert (answer.kind, answer.code) == (ReplyKind.NOT_REACHED, "connect_refused")


def test_missing_credentials_block_the_account_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    connection._session.cache_clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with scripted(ACCEPTED) as server:
        sender = SesSender(ses_account(server.url, credentials=Credentials(key="", secret="")), QUICK)
        answer = sender.send(email())
    assert (answer.kind, answer.code) == (ReplyKind.ACCOUNT_BLOCKED, "no_credentials")
    assert server.requests == []


def test_the_environment_brings_back_neither_retries_nor_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    with scripted(reply(500)) as elsewhere, scripted(reply(500)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SESV2", elsewhere.url)
        _send(server)
        live = SesSender(ses_account(None), QUICK)
        assert live._client.meta.endpoint_url == "https://email.us-east-1.amazonaws.com"
    assert (len(server.requests), len(elsewhere.requests)) == (1, 0)


def test_one_sender_serves_a_throttled_send_and_then_a_good_one() -> None:
    with scripted(reply(429), hang, ACCEPTED) as server:
        sender = SesSender(ses_account(server.url), QUICK)
        kinds = [sender.send(email()).kind for _ in range(3)]
        sender.close()
    assert kinds == [ReplyKind.THROTTLED, ReplyKind.UNKNOWN, ReplyKind.ACCEPTED]
    assert len(server.requests) == 3
