from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator

from tests.simulators.clients import twilio
from tests.simulators.webhook import Received, Webhook
from waypost.simulators.running import RunningSimulator

SENDER = "+15005550006"
ADA = "+14155552671"


def form(received: Received) -> dict[str, str]:
    return dict(parse_qsl(received.body.decode()))


def by_status(calls: list[Received]) -> dict[str, dict[str, str]]:
    """Callbacks by their status: they may overtake each other, as Twilio's do."""
    return {form(each)["MessageStatus"]: form(each) for each in calls}


def code_of(simulator: RunningSimulator, sid: str, **message: str) -> tuple[int, int | None]:
    with pytest.raises(TwilioRestException) as error:
        twilio(simulator, sid).messages.create(**{"to": ADA, "from_": SENDER, "body": "Hi", **message})
    return error.value.status, error.value.code


def test_a_message_goes_through_its_statuses_and_signed_callbacks(
    simulator: RunningSimulator, sid: str, webhook: Webhook
) -> None:
    callback = f"{webhook.url}/webhooks/7/twilio/status/0f-attempt"
    client = twilio(simulator, sid)
    made = client.messages.create(to=ADA, from_=SENDER, body="Hi", status_callback=callback, validity_period=60)
    assert (made.status, made.num_segments) == ("queued", "1")
    calls = webhook.wait(3)
    assert set(by_status(calls)) == {"queued", "sent", "delivered"}
    for each in calls:
        assert RequestValidator("token").validate(callback, form(each), each.headers["x-twilio-signature"])
    assert client.messages(made.sid or "").fetch().status == "delivered"
    entry = next(each for each in simulator.control.log() if each["message_id"] == made.sid)
    assert (entry["attempt_id"], entry["recipient"], entry["operation"]) == ("0f-attempt", ADA, "CreateMessage")


def test_an_undelivered_message_carries_its_error_code(simulator: RunningSimulator, sid: str, webhook: Webhook) -> None:
    client = twilio(simulator, sid)
    made = client.messages.create(
        to="+15005630001", messaging_service_sid="MG1", body="Hi", status_callback=f"{webhook.url}/status/a"
    )
    assert made.status == "accepted"
    last = by_status(webhook.wait(3))["undelivered"]
    assert (last["ErrorCode"], last["MessagingServiceSid"]) == ("30006", "MG1")
    assert client.messages(made.sid or "").fetch().error_code == 30006


def test_whatsapp_messages_are_read(simulator: RunningSimulator, sid: str, webhook: Webhook) -> None:
    twilio(simulator, sid).messages.create(
        to=f"whatsapp:{ADA}", from_=f"whatsapp:{SENDER}", body="Hi", status_callback=f"{webhook.url}/status/a"
    )
    assert set(by_status(webhook.wait(4))) == {"queued", "sent", "delivered", "read"}


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ({"to": "+15005550001"}, 400, 21211),
        ({"to": "12"}, 400, 21211),
        ({"to": "+15005550004"}, 400, 21610),
        ({"to": "+15005621234"}, 400, 21610),
        ({"to": "+15005550009"}, 400, 21614),
        ({"to": "+15005671234"}, 400, 21635),
        ({"from_": "+15005550007"}, 400, 21606),
        ({"from_": "+15005550008"}, 429, 21611),
        ({"body": ""}, 400, 21602),
        ({"body": "x" * 1601}, 400, 21617),
        ({"validity_period": "0"}, 400, 20001),
    ],
)
def test_magic_numbers_and_bad_parameters_are_refused(
    simulator: RunningSimulator, sid: str, message: dict[str, str], status: int, code: int
) -> None:
    assert code_of(simulator, sid, **message) == (status, code)


def test_the_first_token_shown_is_the_accounts_token(simulator: RunningSimulator, sid: str) -> None:
    twilio(simulator, sid, "first").messages.create(to=ADA, from_=SENDER, body="Hi")
    with pytest.raises(TwilioRestException) as error:
        twilio(simulator, sid, "second").messages.create(to=ADA, from_=SENDER, body="Hi")
    assert (error.value.status, error.value.code) == (401, 20003)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("throttle", 429, 20429), ("error_5xx", 500, 20500), ("accept_then_5xx", 500, 20500), ("quota", 429, 63038)],
)
def test_faults_have_twilios_codes(
    simulator: RunningSimulator, sid: str, fault: Callable[..., None], kind: str, status: int, code: int
) -> None:
    fault(kind, provider="twilio", account=sid)
    assert code_of(simulator, sid) == (status, code)
    assert len(twilio(simulator, sid).messages.list()) == (1 if kind.startswith("accept") else 0)


def test_the_rate_of_an_account_is_enforced(simulator: RunningSimulator, sid: str) -> None:
    simulator.control.account("twilio", sid, sending_rate=1)
    twilio(simulator, sid).messages.create(to=ADA, from_=SENDER, body="Hi")
    assert code_of(simulator, sid) == (429, 20429)


def test_the_list_filters_by_recipient_and_time_and_pages(simulator: RunningSimulator, sid: str) -> None:
    client = twilio(simulator, sid)
    for number in range(5):
        client.messages.create(to=ADA, from_=SENDER, body=f"n{number}")
    client.messages.create(to="+14155552672", from_=SENDER, body="other")
    simulator.control.wait_until(lambda stats: stats["events"]["scheduled"] == 0)
    now = datetime.now(UTC)
    found = client.messages.list(to=ADA, page_size=2)
    assert [each.body for each in found] == ["n4", "n3", "n2", "n1", "n0"]
    assert len(client.messages.list(to=ADA, date_sent_after=now - timedelta(minutes=1))) == 5
    assert client.messages.list(to=ADA, date_sent_after=now + timedelta(minutes=1)) == []
    assert len(client.messages.list(limit=10)) == 6
    assert found[0].date_created is not None
    assert abs(found[0].date_created - now) < timedelta(seconds=5)


def test_a_person_can_write_and_stop_refuses_what_follows(
    simulator: RunningSimulator, sid: str, webhook: Webhook
) -> None:
    client = twilio(simulator, sid)
    callback = f"{webhook.url}/webhooks/7/twilio/status/a-1"
    client.messages.create(to=ADA, from_=SENDER, body="Hi", status_callback=callback)
    webhook.wait(3)
    sent = simulator.control.inbound(person=ADA, number=SENDER, body="Stop", account=sid)
    assert sent["url"] == f"{webhook.url}/webhooks/7/twilio/inbound"
    inbound = webhook.wait(4)[3]
    assert inbound.path == "/webhooks/7/twilio/inbound"
    assert (form(inbound)["From"], form(inbound)["To"], form(inbound)["Body"]) == (ADA, SENDER, "Stop")
    assert RequestValidator("token").validate(sent["url"], form(inbound), inbound.headers["x-twilio-signature"])
    assert code_of(simulator, sid) == (400, 21610)
    simulator.control.inbound(person=ADA, number=SENDER, body="START", account=sid)
    assert client.messages.create(to=ADA, from_=SENDER, body="Hi again").sid


def test_callbacks_can_be_lost(
    simulator: RunningSimulator, sid: str, webhook: Webhook, fault: Callable[..., None]
) -> None:
    fault("drop_events", provider="twilio", account=sid, kinds=["sent"])
    twilio(simulator, sid).messages.create(to=ADA, from_=SENDER, body="Hi", status_callback=f"{webhook.url}/status/a")
    assert set(by_status(webhook.wait(2))) == {"queued", "delivered"}
