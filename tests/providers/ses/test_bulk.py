"""Many emails in one request: what SES is told, and what each of them came to."""

import json
from uuid import UUID, uuid4

import pytest

from tests.providers.made import QUICK, email, ses_account, sms
from tests.providers.scripted_server import ScriptedServer, Step, hang, reply, reset, scripted, unused_port
from waypost.messaging.provider import (
    Attachment,
    BulkSender,
    ProviderReply,
    RenderedMessage,
    ReplyKind,
    SharedContent,
    SlottedContent,
)
from waypost.providers.ses.bulk import bulk_key, bulk_request
from waypost.providers.ses.sender import SesSender

SHARED = SharedContent(subject="Hello {{a}}", html="<p>{{a}}: {{b}}</p>", text="{{a}}")


def _send(server: ScriptedServer, *messages: RenderedMessage) -> list[ProviderReply]:
    sender = SesSender(ses_account(server.url), QUICK)
    try:
        return sender.send_bulk(messages)
    finally:
        sender.close()


def _answer(*statuses: str) -> Step:
    results = [
        {"Status": status, "MessageId": f"id-{number}"} if status == "SUCCESS" else {"Status": status, "Error": "ada@x"}
        for number, status in enumerate(statuses)
    ]
    return reply(200, json.dumps({"BulkEmailEntryResults": results}).encode())


def _slotted(**slots: str) -> RenderedMessage:
    return email(attempt_id=uuid4(), subject="", html=None, text="", slotted=SlottedContent(shared=SHARED, slots=slots))


def test_ses_can_be_sent_to_in_bulk() -> None:
    sender = SesSender(ses_account("http://127.0.0.1:1"), QUICK)
    assert isinstance(sender, BulkSender)
    sender.close()


def test_one_request_carries_what_is_shared_once_and_each_ones_own() -> None:
    first, second = UUID(int=1), UUID(int=2)
    messages = [
        email(attempt_id=first, reply_to=("help@shop.example",), headers=(("List-Unsubscribe", "<https://u/1>"),)),
        email(attempt_id=second, reply_to=("help@shop.example",), to="bo@bücher.example", subject="Oh \u2028"),
    ]
    with scripted(_answer("SUCCESS", "SUCCESS")) as server:
        replies = _send(server, *messages)
    [request] = server.requests
    body = json.loads(request.body)
    assert request.line == "POST /v2/email/outbound-bulk-emails HTTP/1.1"
    assert body["FromEmailAddress"] == "hello@shop.example"
    assert body["ReplyToAddresses"] == ["help@shop.example"]
    assert body["ConfigurationSetName"] == "waypost"
    assert body["DefaultContent"]["Template"]["TemplateContent"] == {
        "Subject": "{{s}}",
        "Html": "{{h}}",
        "Text": "{{t}}",
    }
    one, two = body["BulkEmailEntries"]
    assert one["ReplacementTags"] == [{"Name": "waypost_attempt", "Value": str(first)}]
    assert one["ReplacementHeaders"] == [{"Name": "List-Unsubscribe", "Value": "<https://u/1>"}]
    assert two["Destination"] == {"ToAddresses": ["bo@xn--bcher-kva.example"]}
    data = json.loads(two["ReplacementEmailContent"]["ReplacementTemplate"]["ReplacementTemplateData"])
    assert data == {"s": "Oh \u2028", "h": "<p>Hello</p>", "t": "Hello"}
    assert replies == [
        ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id="id-0"),
        ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id="id-1"),
    ]


def test_a_slotted_content_goes_once_with_each_ones_values() -> None:
    request = bulk_request([_slotted(a="Ada", b="1"), _slotted(a="Bo", b="2")])
    assert request["DefaultContent"]["Template"]["TemplateContent"] == {
        "Subject": "Hello {{a}}",
        "Html": "<p>{{a}}: {{b}}</p>",
        "Text": "{{a}}",
    }
    replaced = [entry["ReplacementEmailContent"]["ReplacementTemplate"] for entry in request["BulkEmailEntries"]]
    assert [json.loads(each["ReplacementTemplateData"])["a"] for each in replaced] == ["Ada", "Bo"]


def test_a_slotted_message_that_goes_alone_is_put_together() -> None:
    with scripted(reply(200, b'{"MessageId": "0100-ab"}')) as server:
        sender = SesSender(ses_account(server.url), QUICK)
        assert sender.send(_slotted(a="{{b}}", b="2 & 3")).kind is ReplyKind.ACCEPTED
        sender.close()
    simple = json.loads(server.requests[0].body)["Content"]["Simple"]
    assert simple["Subject"]["Data"] == "Hello {{b}}"
    assert simple["Body"]["Html"]["Data"] == "<p>{{b}}: 2 & 3</p>"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        ("MESSAGE_REJECTED", ReplyKind.REJECTED, "MessageRejected"),
        ("INVALID_PARAMETER", ReplyKind.REJECTED, "BadRequestException"),
        ("CONFIGURATION_SET_NOT_FOUND", ReplyKind.REJECTED, "NotFoundException"),
        ("ACCOUNT_THROTTLED", ReplyKind.THROTTLED, "TooManyRequestsException"),
        ("ACCOUNT_DAILY_QUOTA_EXCEEDED", ReplyKind.ACCOUNT_BLOCKED, "daily_quota"),
        ("ACCOUNT_SENDING_PAUSED", ReplyKind.ACCOUNT_BLOCKED, "SendingPausedException"),
        ("TRANSIENT_FAILURE", ReplyKind.UNKNOWN, "TRANSIENT_FAILURE"),
        ("FAILED", ReplyKind.UNKNOWN, "FAILED"),
        ("SOMETHING_NEW", ReplyKind.UNKNOWN, "unreadable_reply"),
    ],
)
def test_each_entry_is_told_for_what_it_is(status: str, kind: ReplyKind, code: str) -> None:
    with scripted(_answer("SUCCESS", status, "SUCCESS")) as server:
        replies = _send(server, *(email(attempt_id=uuid4()) for _ in range(3)))
    assert [each.kind for each in replies] == [ReplyKind.ACCEPTED, kind, ReplyKind.ACCEPTED]
    assert (replies[1].code, replies[1].of_whole_call, replies[2].provider_message_id) == (code, False, "id-2")
    assert "ada@" not in repr(replies)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (hang, ReplyKind.UNKNOWN),
        (reset, ReplyKind.UNKNOWN),
        (reply(500), ReplyKind.UNKNOWN),
        (reply(429), ReplyKind.THROTTLED),
        (reply(400), ReplyKind.REJECTED),
        (reply(403), ReplyKind.DENIED),
    ],
)
def test_what_a_call_comes_to_is_what_each_of_its_messages_came_to(step: Step, kind: ReplyKind) -> None:
    with scripted(step) as server:
        replies = _send(server, *(email(attempt_id=uuid4()) for _ in range(3)))
    assert [(each.kind, each.of_whole_call) for each in replies] == [(kind, True)] * 3
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"{}", b'{"BulkEmailEntryResults": [{"Status": "SUCCESS", "MessageId": "a"}]}', b"<"])
def test_a_reply_that_does_not_tell_of_every_message_tells_of_none(body: bytes) -> None:
    with scripted(reply(200, body)) as server:
        replies = _send(server, email(attempt_id=uuid4()), email(attempt_id=uuid4()))
    assert [each.kind for each in replies] == [ReplyKind.UNKNOWN] * 2


def test_nobody_listening_is_proof_for_all_that_nothing_was_sent() -> None:
    sender = SesSender(ses_account(f"http://127.0.0.1:{unused_port()}"), QUICK)
    assert [each.kind for each in sender.send_bulk([email(), email()])] == [ReplyKind.NOT_REACHED] * 2
    sender.close()


def test_an_address_that_cannot_be_written_is_rejected_and_the_others_go() -> None:
    with scripted(_answer("SUCCESS", "SUCCESS")) as server:
        replies = _send(server, email(to="a@x.example"), email(to="zoë@x.example"), email(to="b@x.example"))
    assert [each.kind for each in replies] == [ReplyKind.ACCEPTED, ReplyKind.REJECTED, ReplyKind.ACCEPTED]
    assert len(json.loads(server.requests[0].body)["BulkEmailEntries"]) == 2


def test_a_call_of_addresses_that_cannot_be_written_makes_no_request() -> None:
    with scripted(_answer("SUCCESS")) as server:
        assert _send(server, email(to="zoë@x.example"))[0].code == "unsendable"
    assert server.requests == []


@pytest.mark.parametrize(
    "alone",
    [
        email(attachments=(Attachment(filename="a.txt", media_type="text/plain", content=b"abc"),)),
        email(html="x" * 262_144),
        email(html="\u20ac" * 100_000),
        sms(),
    ],
)
def test_what_ses_takes_no_bulk_entry_of_goes_alone(alone: RenderedMessage) -> None:
    assert bulk_key(alone) is None


def test_messages_share_a_call_where_sender_and_shared_content_are_the_same() -> None:
    key = bulk_key(email())
    assert bulk_key(email(to="bo@example.com", subject="Other", html="<b>", headers=(("X-A", "b"),))) == key
    others = [
        email(from_address="you@shop.example"),
        email(reply_to=("a@shop.example",)),
        email(configuration_set=None),
        email(html=None),
        email(text=""),
        _slotted(a="1", b="2"),
    ]
    assert len({key, *(bulk_key(other) for other in others)}) == len(others) + 1
    assert bulk_key(_slotted(a="1", b="2")) == bulk_key(_slotted(a="3", b="4"))


@pytest.mark.parametrize("messages", [[], [email()] * 51, [email(), email(html=None)]])
def test_messages_that_do_not_belong_together_are_refused_before_anything_is_sent(
    messages: list[RenderedMessage],
) -> None:
    with scripted(_answer("SUCCESS")) as server, pytest.raises(ValueError, match="bulk call"):
        _send(server, *messages)
    assert server.requests == []
