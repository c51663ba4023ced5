import base64
from typing import Any

import httpx
import orjson
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.simulators.clients import Aws
from tests.simulators.webhook import Webhook
from waypost.simulators.running import RunningSimulator
from waypost.simulators.sns import CONFIRMATION_FIELDS, NOTIFICATION_FIELDS, string_to_sign


def verify(envelope: dict[str, Any], fields: tuple[str, ...]) -> None:
    pem = httpx.get(envelope["SigningCertURL"], trust_env=False).content
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    algorithm = hashes.SHA1() if envelope["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303  version 1 is SHA-1
    signature = base64.b64decode(envelope["Signature"])
    key.verify(signature, string_to_sign(envelope, fields), padding.PKCS1v15(), algorithm)


@pytest.mark.parametrize(
    ("recipient", "kinds"),
    [
        ("ada@example.com", ["Send", "Delivery"]),
        ("success+l@simulator.amazonses.com", ["Send", "Delivery"]),
        ("bounce@simulator.amazonses.com", ["Send", "Bounce"]),
        ("complaint@simulator.amazonses.com", ["Send", "Delivery", "Complaint"]),
        ("suppressionlist@simulator.amazonses.com", ["Send", "Bounce"]),
        ("ooto@simulator.amazonses.com", ["Send", "Delivery"]),
        ("bounce+x@example.com", ["Send", "Bounce"]),
        ("soft-bounce+x@example.com", ["Send", "Bounce"]),
        ("delay+x@example.com", ["Send", "DeliveryDelay", "Delivery"]),
        ("click+x@example.com", ["Send", "Delivery", "Open", "Click"]),
        ("reject+x@example.com", ["Reject"]),
        ("rendering-failure+x@example.com", ["Rendering Failure"]),
        ("silent+x@example.com", ["Send"]),
        ("bounce@example.com", ["Send", "Delivery"]),
    ],
)
def test_a_recipient_decides_the_events(aws: Aws, recipient: str, kinds: list[str]) -> None:
    message_id = aws.send(recipient, tag="tag-9")
    events = aws.events(len(kinds))
    assert [each["eventType"] for each in events] == kinds
    for each in events:
        assert each["mail"]["messageId"] == message_id
        assert each["mail"]["destination"] == [recipient]
        assert each["mail"]["tags"]["waypost_attempt"] == ["tag-9"]
        assert each["mail"]["tags"]["ses:configuration-set"] == ["cs"]


def test_bounces_name_their_kind(aws: Aws) -> None:
    aws.send("soft-bounce+a@example.com")
    aws.send("suppressed+a@example.com")
    bounces = {each["bounce"]["bounceType"]: each["bounce"] for each in aws.events(4) if each["eventType"] == "Bounce"}
    assert bounces["Transient"]["bounceSubType"] == "MailboxFull"
    assert bounces["Permanent"]["bounceSubType"] == "Suppressed"
    assert bounces["Transient"]["bouncedRecipients"][0]["emailAddress"] == "soft-bounce+a@example.com"


def test_without_a_configuration_set_no_event_is_published(simulator: RunningSimulator, aws: Aws) -> None:
    aws.send("bounce+a@example.com", configuration_set=None)
    assert aws.events(1, seconds=0.2) == []
    simulator.control.account("ses", aws.key, identity_notifications=True)
    aws.send("bounce+a@example.com", configuration_set=None)
    (event,) = aws.events(1)
    assert event["notificationType"] == "Bounce"
    assert "tags" not in event["mail"]


def test_a_configuration_set_may_publish_only_some_kinds(simulator: RunningSimulator, aws: Aws) -> None:
    simulator.control.account("ses", aws.key, event_kinds=["Delivery"])
    aws.send()
    assert [each["eventType"] for each in aws.events(1)] == ["Delivery"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_envelopes_in_the_queue_are_signed(simulator: RunningSimulator, aws: Aws, version: str) -> None:
    simulator.control.account("ses", aws.key, signature_version=version)
    aws.send()
    envelope = aws.receive(1)[0]
    assert envelope["SignatureVersion"] == version
    assert envelope["TopicArn"] == f"arn:aws:sns:us-east-1:000000000000:waypost-{aws.key}"
    assert envelope["SigningCertURL"].startswith(simulator.url)
    verify(envelope, NOTIFICATION_FIELDS)
    with pytest.raises(InvalidSignature):
        verify({**envelope, "Message": envelope["Message"] + " "}, NOTIFICATION_FIELDS)


def test_raw_delivery_puts_the_bare_event_into_the_queue(simulator: RunningSimulator, aws: Aws) -> None:
    simulator.control.account("ses", aws.key, raw_delivery=True)
    aws.send()
    assert aws.receive(1)[0]["eventType"] == "Send"


def test_a_webhook_gets_events_only_after_its_subscription_was_confirmed(
    simulator: RunningSimulator, aws: Aws, webhook: Webhook
) -> None:
    simulator.control.account("ses", aws.key, webhook_url=f"{webhook.url}/webhooks/1/ses", queues=[])
    confirmation = webhook.wait(1)[0]
    assert confirmation.headers["x-amz-sns-message-type"] == "SubscriptionConfirmation"
    envelope = orjson.loads(confirmation.body)
    verify(envelope, CONFIRMATION_FIELDS)
    assert envelope["SubscribeURL"].startswith(simulator.url)
    aws.send("silent+a@example.com")
    simulator.control.wait_until(lambda stats: stats["events"]["scheduled"] == 0)
    assert "ConfirmSubscriptionResult" in httpx.get(envelope["SubscribeURL"], trust_env=False).text
    aws.send("silent+b@example.com")
    notification = webhook.wait(2)[1]
    assert notification.path == "/webhooks/1/ses"
    assert notification.headers["x-amz-sns-message-type"] == "Notification"
    verify(orjson.loads(notification.body), NOTIFICATION_FIELDS)
    assert "silent+b@example.com" in notification.body.decode()


def test_an_unknown_token_confirms_nothing(simulator: RunningSimulator) -> None:
    assert httpx.get(f"{simulator.url}/sns/confirm?Token=guess", trust_env=False).status_code == 404
