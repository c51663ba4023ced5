"""The adapters against our simulators, which were written from the wire formats and not from the adapters."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from tests.providers.made import QUICK, email, ses_account, sms, twilio_account
from tests.providers.scripted_server import reply, scripted
from waypost.messaging.provider import (
    Credentials,
    ProviderAccount,
    ProviderEvent,
    ReplyKind,
    SharedContent,
    SlottedContent,
)
from waypost.messaging.values import EventKind
from waypost.providers.ses.certificates import CertificateStore, fetch_trusted
from waypost.providers.ses.check import describe_account, probe_message
from waypost.providers.ses.events import parse_ses_event
from waypost.providers.ses.queue import SqsFeed
from waypost.providers.ses.sender import SesSender
from waypost.providers.ses.sns import SnsTrust, SnsType, SnsVerifier, open_queue_body, parse_envelope
from waypost.providers.twilio.look_up import TwilioLookUp
from waypost.providers.twilio.sender import TwilioSender
from waypost.simulators.running import RunningSimulator
from waypost.simulators.truth import body_digest


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator(in_thread=True, event_delay_ms=1.0) as running:
        yield running


def _account(simulator: RunningSimulator, key: str) -> ProviderAccount:
    return ses_account(
        simulator.url,
        credentials=Credentials(key=key, secret="a-secret"),
        topic_arn=f"arn:aws:sns:us-east-1:000000000000:waypost-{key}",
        certificate_origin=simulator.url,
        queue_url=simulator.queue_url(key),
    )


def _events(account: ProviderAccount, wanted: int) -> list[ProviderEvent]:
    """Poll the account's queue until it has brought as many events, each envelope's signature verified."""
    verifier = SnsVerifier(SnsTrust.from_account(account), CertificateStore())
    feed = SqsFeed(account, QUICK)
    events: list[ProviderEvent] = []
    ends = time.monotonic() + 5
    while len(events) < wanted and time.monotonic() < ends:
        received = feed.receive(wait_seconds=1)
        for message in received.messages:
            verifier.verify(parse_envelope(message.body))
            notification = open_queue_body(message.body, topic_arn=account.topic_arn)
            assert notification is not None
            events += parse_ses_event(notification.message, event_id=notification.event_id)
        if received.messages:
            assert feed.delete([message.receipt for message in received.messages]) == len(received.messages)
    assert feed.depth().in_flight == 0
    feed.close()
    return events


def _send(account: ProviderAccount, to: str) -> UUID:
    attempt_id = uuid4()
    sender = SesSender(account, QUICK)
    assert sender.send(email(attempt_id=attempt_id, to=to)).kind is ReplyKind.ACCEPTED
    sender.close()
    return attempt_id


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_emails_events_come_back_by_the_queue_signed_and_tagged(simulator: RunningSimulator, version: str) -> None:
    account = _account(simulator, f"AKIAEVENTS{version}")
    simulator.control.account("ses", account.credentials.key, secret="a-secret", signature_version=version)
    attempt_id = _send(account, "ada@example.com")
    events = _events(account, 2)
    assert {event.kind for event in events} >= {EventKind.SEND, EventKind.DELIVERY}
    assert {event.attempt_id for event in events} == {attempt_id}
    assert len({event.event_id for event in events}) == len(events)


def test_a_bounce_comes_back_permanent_with_its_recipient(simulator: RunningSimulator) -> None:
    account = _account(simulator, "AKIABOUNCE")
    _send(account, "bounce@simulator.amazonses.com")
    [bounce] = [event for event in _events(account, 2) if event.kind is EventKind.BOUNCE]
    assert (bounce.permanent, bounce.recipient) == (True, "bounce@simulator.amazonses.com")


def test_the_probe_proves_the_feed_and_the_account_tells_its_standing(simulator: RunningSimulator) -> None:
    account = _account(simulator, "AKIAPROBE")
    assert describe_account(account, QUICK).sending_enabled
    attempt_id = uuid4()
    sender = SesSender(account, QUICK)
    sender.send(probe_message(attempt_id=attempt_id, from_address="a@shop.example", configuration_set="waypost"))
    sender.close()
    assert attempt_id in {event.attempt_id for event in _events(account, 1)}


def test_a_bulk_call_is_fifty_emails_each_with_its_own_content_events_and_tag(simulator: RunningSimulator) -> None:
    account = _account(simulator, "AKIABULK")
    shared = SharedContent(subject="News {{s}}", html="<p>" + "x" * 5_000 + "{{h0}}{{c0}}</p>", text="{{h0}} {{c0}}")
    messages = [
        email(
            attempt_id=uuid4(),
            to=f"reader-{number}@example.com",
            subject="",
            html=None,
            text="",
            headers=(("List-Unsubscribe", f"<https://u.example.com/{number}>"),),
            slotted=SlottedContent(shared=shared, slots={"s": str(number), "h0": f"{{{{s}}}} {number}", "c0": "}}"}),
        )
        for number in range(50)
    ]
    sender = SesSender(account, QUICK)
    replies = sender.send_bulk(messages)
    sender.close()
    assert {reply.kind for reply in replies} == {ReplyKind.ACCEPTED}
    events = _events(account, 100)
    assert {event.attempt_id for event in events} == {message.attempt_id for message in messages}
    assert {event.provider_message_id for event in events} == {reply.provider_message_id for reply in replies}
    accepted = {line["attempt_id"]: line for line in simulator.control.log() if line["account"] == "AKIABULK"}
    for message in messages:
        whole, line = message.whole(), accepted[str(message.attempt_id)]
        assert line["recipient"] == message.to
        assert line["body_sha256"] == body_digest(subject=whole.subject, html=whole.html or "", text=whole.text)


def test_a_bulk_calls_entries_can_fail_alone_and_its_reply_can_be_lost(simulator: RunningSimulator) -> None:
    account = _account(simulator, "AKIABULKFAULT")
    sender = SesSender(account, QUICK)
    both = [email(attempt_id=uuid4(), to="a@example.com"), email(attempt_id=uuid4(), to="b@example.com")]
    kinds = []
    for fault in (
        {"fault": "bulk_entry", "account": "AKIABULKFAULT", "match": "b@", "status": "ACCOUNT_THROTTLED"},
        {"fault": "accept_then_reset", "account": "AKIABULKFAULT"},
        {"fault": "throttle", "account": "AKIABULKFAULT"},
    ):
        simulator.control.faults(fault)
        kinds.append([reply.kind for reply in sender.send_bulk(both)])
    simulator.control.faults()
    sender.close()
    assert kinds == [
        [ReplyKind.ACCEPTED, ReplyKind.THROTTLED],
        [ReplyKind.UNKNOWN, ReplyKind.UNKNOWN],
        [ReplyKind.THROTTLED, ReplyKind.THROTTLED],
    ]


@pytest.mark.parametrize(
    ("fault", "ses", "twilio"),
    [
        ("throttle", ReplyKind.THROTTLED, ReplyKind.THROTTLED),
        ("error_5xx", ReplyKind.UNKNOWN, ReplyKind.UNKNOWN),
        ("accept_then_5xx", ReplyKind.UNKNOWN, ReplyKind.UNKNOWN),
        ("hang", ReplyKind.UNKNOWN, ReplyKind.UNKNOWN),
        ("drip", ReplyKind.UNKNOWN, ReplyKind.UNKNOWN),
        ("reset", ReplyKind.UNKNOWN, ReplyKind.UNKNOWN),
        ("accept_then_reset", ReplyKind.UNKNOWN, ReplyKind.UNKNOWN),
        ("credentials_expired", ReplyKind.ACCOUNT_BLOCKED, ReplyKind.ACCOUNT_BLOCKED),
        ("quota", ReplyKind.ACCOUNT_BLOCKED, ReplyKind.ACCOUNT_BLOCKED),
        ("sending_paused", ReplyKind.ACCOUNT_BLOCKED, ReplyKind.ACCOUNT_BLOCKED),
    ],
)
def test_every_misbehaviour_is_told_for_what_it_is(
    simulator: RunningSimulator, fault: str, ses: ReplyKind, twilio: ReplyKind
) -> None:
    mail = SesSender(_account(simulator, "AKIAFAULTS"), QUICK)
    text = TwilioSender(twilio_account(simulator.url), QUICK)
    simulator.control.faults({"fault": fault})
    try:
        replies = [mail.send(email()), text.send(sms())]
    finally:
        simulator.control.faults()
        mail.close()
        text.close()
    assert [answer.kind for answer in replies] == [ses, twilio]


def test_a_text_whose_reply_was_lost_is_found_by_look_up(simulator: RunningSimulator) -> None:
    account = twilio_account(simulator.url, credentials=Credentials(key="AC" + "1" * 32, secret="t"))
    sender, look_up = TwilioSender(account, QUICK), TwilioLookUp(account, QUICK)
    since = datetime.now(UTC) - timedelta(seconds=5)
    lost = sms(text="It\u2019s 42", to="+15557770000")
    assert look_up.find(lost, since=since) == []
    simulator.control.faults({"fault": "accept_then_reset"})
    try:
        assert sender.send(lost).kind is ReplyKind.UNKNOWN
    finally:
        simulator.control.faults()
    assert len(look_up.find(lost, since=since)) == 1
    sender.close()
    look_up.close()


def test_a_webhook_subscription_is_verified_and_confirmed(simulator: RunningSimulator) -> None:
    account = _account(simulator, "AKIAWEBHOOK")
    verifier = SnsVerifier(SnsTrust.from_account(account), CertificateStore())
    with scripted(reply(200)) as hook:
        simulator.control.account("ses", account.credentials.key, webhook_url=hook.url)
        ends = time.monotonic() + 3
        while not hook.requests and time.monotonic() < ends:
            time.sleep(0.01)
        envelope = parse_envelope(hook.requests[0].body)
        assert envelope.type is SnsType.SUBSCRIPTION
        verifier.verify(envelope)
        verifier.confirm(envelope, fetch_trusted)
        _send(account, "ada@example.com")
        while len(hook.requests) < 2 and time.monotonic() < ends:
            time.sleep(0.01)
    notification = parse_envelope(hook.requests[1].body)
    verifier.verify(notification)
    assert parse_ses_event(notification.message, event_id=notification.message_id)
