import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.providers.made import ATTEMPT_ID
from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import EventKind
from waypost.providers.errors import EventError
from waypost.providers.ses.events import body_id, parse_ses_event
from waypost.providers.ses.machines import made_by_machine

MAIL: dict[str, Any] = {
    "timestamp": "2026-11-24T10:00:00.000Z",
    "messageId": "0100-ab",
    "destination": ["ada@example.com"],
    "tags": {"waypost_attempt": [str(ATTEMPT_ID)], "ses:configuration-set": ["waypost"]},
}
LATER = "2026-11-24T10:00:05.500Z"


def _parse(kind: str, key: str, detail: dict[str, Any], **mail: Any) -> list[ProviderEvent]:
    return parse_ses_event(json.dumps({"eventType": kind, "mail": {**MAIL, **mail}, key: detail}), event_id="sns-1")


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [
        ("Send", "send", EventKind.SEND),
        ("Delivery", "delivery", EventKind.DELIVERY),
        ("DeliveryDelay", "deliveryDelay", EventKind.DELAY),
        ("Open", "open", EventKind.OPEN),
        ("Click", "click", EventKind.CLICK),
        ("Reject", "reject", EventKind.REJECT),
        ("Rendering Failure", "failure", EventKind.RENDERING_FAILURE),
    ],
)
def test_each_event_becomes_ours_with_its_attempt_and_time(name: str, key: str, kind: EventKind) -> None:
    [event] = _parse(name, key, {"timestamp": LATER, "reason": "Bad content", "errorMessage": "ada@example.com"})
    assert (event.kind, event.attempt_id, event.provider_message_id) == (kind, ATTEMPT_ID, "0100-ab")
    assert event.occurred_at == datetime(2026, 11, 24, 10, 0, 5, 500_000, UTC)
    assert (event.event_id, event.recipient, event.permanent) == ("sns-1", None, False)
    assert "ada" not in repr(event)


def test_an_event_without_a_time_of_its_own_has_the_mails() -> None:
    [event] = _parse("Send", "send", {})
    assert event.occurred_at == datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bounce_type", "permanent"), [("Permanent", True), ("Transient", False), ("Undetermined", False)]
)
def test_only_a_permanent_bounce_is_permanent(bounce_type: str, permanent: bool) -> None:
    detail = {
        "bounceType": bounce_type,
        "bounceSubType": "General",
        "bouncedRecipients": [{"emailAddress": "ada@example.com", "diagnosticCode": "550 ada@example.com unknown"}],
        "timestamp": LATER,
    }
    [event] = _parse("Bounce", "bounce", detail)
    assert (event.permanent, event.recipient, event.code) == (permanent, "ada@example.com", f"{bounce_type}_General")


@pytest.mark.parametrize(
    ("bounce_type", "subtype", "machine"),
    [("Transient", "General", True), ("Transient", "MailboxFull", False), ("Permanent", "General", False)],
)
def test_a_bounce_that_may_be_an_out_of_office_reply_is_a_machines(
    bounce_type: str, subtype: str, machine: bool
) -> None:
    who = [{"emailAddress": "ada@example.com"}]
    detail = {"bounceType": bounce_type, "bounceSubType": subtype, "bouncedRecipients": who, "timestamp": LATER}
    [event] = _parse("Bounce", "bounce", detail)
    assert event.machine is machine


def test_several_recipients_become_several_events_with_ids_of_their_own() -> None:
    who = [{"emailAddress": "ada@example.com"}, {"emailAddress": "bob@example.com"}]
    events = _parse("Complaint", "complaint", {"complainedRecipients": who, "complaintFeedbackType": "abuse"})
    assert [(event.event_id, event.recipient) for event in events] == [
        ("sns-1:0", "ada@example.com"),
        ("sns-1:1", "bob@example.com"),
    ]
    assert events[0].code == "abuse"


def test_taking_a_message_out_of_spam_is_no_complaint() -> None:
    detail = {"complainedRecipients": [{"emailAddress": "a@example.com"}], "complaintFeedbackType": "not-spam"}
    assert _parse("Complaint", "complaint", detail) == []


@pytest.mark.parametrize("tags", [{}, None, {"waypost_attempt": []}, {"waypost_attempt": ["mine"]}])
def test_mail_that_is_not_ours_has_no_attempt(tags: object) -> None:
    [event] = _parse("Send", "send", {}, tags=tags)
    assert event.attempt_id is None


def test_what_ses_says_when_a_destination_is_made_is_no_event() -> None:
    assert parse_ses_event("Successfully validated SNS topic for Amazon SES event publishing.", event_id="x") == []


def test_an_open_by_a_privacy_proxy_is_a_machines() -> None:
    [machine] = _parse("Open", "open", {"userAgent": "Mozilla/5.0", "ipAddress": "1.2.3.4"})
    [person] = _parse("Open", "open", {"userAgent": "Mozilla/5.0 (Windows) GoogleImageProxy", "ipAddress": "1.2.3.4"})
    assert (machine.machine, person.machine) == (True, False)


@pytest.mark.parametrize(
    ("agent", "ip", "machine"),
    [
        ("", "1.2.3.4", True),
        ("Barracuda Sentinel (EE)", "1.2.3.4", True),
        ("python-requests/2.3", "1.2.3.4", True),
        ("Mozilla/5.0 (iPhone) Mobile/15E148", "17.58.1.2", True),
        ("Mozilla/5.0 (iPhone) Mobile/15E148", "not an ip", False),
        ("YahooMailProxy; https://help.yahoo.com", "1.2.3.4", False),
    ],
)
def test_scanners_are_told_from_people(agent: str, ip: str, machine: bool) -> None:
    assert made_by_machine(user_agent=agent, ip=ip) is machine


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[]",
        "{}",
        '"x"',
        '{"eventType": "Send"}',
        '{"eventType": [], "mail": {}}',
        '{"eventType": "Send", "mail": []}',
        '{"eventType": "Send", "mail": {"timestamp": 5, "messageId": "x"}}',
        '{"eventType": "Bounce", "mail": {"timestamp": "2026-01-01T00:00:00Z", "messageId": "x"}, "bounce": {}}',
        '{"eventType": "Bounce", "mail": {"timestamp": "2026-01-01T00:00:00Z", "messageId": "x"}, "bounce": 5}',
        '{"eventType": "Nonsense", "mail": {}}',
        "[" * 5000,
        b"\xff\xfe",
    ],
)
def test_anything_else_is_an_event_error(message: str | bytes) -> None:
    with pytest.raises(EventError):
        parse_ses_event(message, event_id="x")


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["eventType", "mail", "bounce", "tags", "timestamp", "messageId", "bouncedRecipients"]),
                inner | st.sampled_from(["Bounce", "Send", "2026-01-01T00:00:00Z"]),
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_whatever_raises_anything_but_an_event_error(value: object) -> None:
    with suppress(EventError):
        parse_ses_event(json.dumps(value), event_id="x")


def test_the_same_body_has_the_same_id() -> None:
    assert body_id("a") == body_id("a") != body_id("b")
