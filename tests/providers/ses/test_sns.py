import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tests.providers.made import QUICK, TOPIC, certificate, ses_account
from tests.providers.scripted_server import drip, reply, scripted
from waypost.providers.errors import (
    AccountUnusableError,
    EventError,
    ProviderError,
    SignatureError,
    TrustUnavailableError,
)
from waypost.providers.ses import certificates
from waypost.providers.ses.certificates import KEPT, KEPT_SECONDS, CertificateStore, fetch_trusted
from waypost.providers.ses.sns import SnsEnvelope, SnsTrust, SnsVerifier, open_queue_body, parse_envelope

ORIGIN = "https://sns.us-east-1.amazonaws.com"
CERTIFICATE_URL = f"{ORIGIN}/SimpleNotificationService-1.pem"


def _signed(key: rsa.RSAPrivateKey, *, version: str = "2", **changes: str) -> dict[str, str]:
    """An envelope as SNS makes it, signed by the rule in its developer guide."""
    raw = {
        "Type": "Notification",
        "MessageId": "sns-1",
        "TopicArn": TOPIC,
        "Message": '{"eventType": "Send"}',
        "Timestamp": "2026-11-24T10:00:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        **changes,
    }
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{raw[name]}\n" for name in names if name in raw)
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303  SNS's version 1
    return {**raw, "Signature": base64.b64encode(key.sign(text.encode(), PKCS1v15(), digest)).decode()}


def _verify(key: rsa.RSAPrivateKey, raw: dict[str, str], *, pem: bytes | None = None) -> SnsEnvelope:
    served = certificate(key) if pem is None else pem
    verifier = SnsVerifier(SnsTrust.from_account(ses_account(None)), CertificateStore(lambda _: served))
    envelope = parse_envelope(json.dumps(raw))
    verifier.verify(envelope)
    return envelope


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Subject": "Hello"},
        {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": f"{ORIGIN}/?Action=ConfirmSubscription"},
        {"Type": "UnsubscribeConfirmation", "Token": "t", "SubscribeURL": f"{ORIGIN}/?Action=ConfirmSubscription"},
    ],
)
def test_what_sns_signed_is_believed(key: rsa.RSAPrivateKey, version: str, changes: dict[str, str]) -> None:
    assert _verify(key, _signed(key, version=version, **changes)).message_id == "sns-1"


@pytest.mark.parametrize("field", ["Message", "MessageId", "Timestamp"])
def test_a_changed_field_is_refused(key: rsa.RSAPrivateKey, field: str) -> None:
    with pytest.raises(SignatureError, match="bad_signature"):
        _verify(key, {**_signed(key), field: "changed"})


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!"])
def test_a_missing_or_broken_signature_is_refused(key: rsa.RSAPrivateKey, signature: str) -> None:
    with pytest.raises(SignatureError, match="bad_signature"):
        _verify(key, {**_signed(key), "Signature": signature})


@pytest.mark.parametrize("version", ["", "3"])
def test_an_unknown_signature_version_is_refused(key: rsa.RSAPrivateKey, version: str) -> None:
    with pytest.raises(SignatureError, match="unknown_signature_version"):
        _verify(key, {**_signed(key), "SignatureVersion": version})


def test_another_topic_is_refused_though_sns_signed_it(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SignatureError, match="wrong_topic"):
        _verify(key, _signed(key, TopicArn="arn:aws:sns:us-east-1:666666666666:evil"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com:8443/x.pem",
        "https://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com.evil.example/x.pem",
        "https://sns.us-east-1.amazonaws.com@evil.example/x.pem",
        "https://evil.example\\@sns.us-east-1.amazonaws.com/x.pem",
        "https://evil.example/?sns.us-east-1.amazonaws.com/x.pem",
        f"{ORIGIN}/x.txt",
        "file:///etc/x.pem",
        "https://sns.us-east-1.amazonaws.com:bad/x.pem",
    ],
)
def test_a_certificate_from_elsewhere_is_never_fetched(key: rsa.RSAPrivateKey, url: str) -> None:
    def never(url: str) -> bytes:
        raise AssertionError(url)

    verifier = SnsVerifier(SnsTrust.from_account(ses_account(None)), CertificateStore(never))
    with pytest.raises(SignatureError, match="untrusted_certificate_url"):
        verifier.verify(parse_envelope(json.dumps(_signed(key, SigningCertURL=url))))


@pytest.mark.parametrize(
    ("since", "until"), [(timedelta(days=-9), timedelta(days=-1)), (timedelta(days=1), timedelta(days=9))]
)
def test_a_certificate_out_of_its_time_is_refused(key: rsa.RSAPrivateKey, since: timedelta, until: timedelta) -> None:
    with pytest.raises(SignatureError, match="certificate_out_of_date"):
        _verify(key, _signed(key), pem=certificate(key, since=since, until=until))


def test_something_that_is_no_certificate_is_refused(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SignatureError, match="certificate_unreadable"):
        _verify(key, _signed(key), pem=b"<html>")


def test_a_certificate_is_fetched_once_and_again_when_it_is_old(key: rsa.RSAPrivateKey) -> None:
    fetched: list[str] = []
    pem, now = certificate(key), [0.0]

    def fetch(url: str) -> bytes:
        fetched.append(url)
        return pem

    store = CertificateStore(fetch, clock=lambda: now[0])
    store.get("a")
    store.get("a")
    assert fetched == ["a"]
    now[0] = KEPT_SECONDS + 1
    store.get("a")
    assert fetched == ["a", "a"]
    for number in range(KEPT + 5):
        store.get(str(number))
    assert len(store._kept) == KEPT


def test_a_certificate_is_got_over_http_in_one_request(key: rsa.RSAPrivateKey) -> None:
    with scripted(reply(200, certificate(key))) as server:
        trust = SnsTrust.from_account(ses_account(None, certificate_origin=server.url))
        envelope = parse_envelope(json.dumps(_signed(key, SigningCertURL=f"{server.url}/a.pem")))
        verifier = SnsVerifier(trust, CertificateStore(), now=lambda: datetime.now(UTC))
        verifier.verify(envelope)
        verifier.verify(replace(envelope))
    assert [request.line for request in server.requests] == ["GET /a.pem HTTP/1.1"]


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (reply(302, b"", "Location: http://127.0.0.1:1/"), "http_302"),
        (reply(500), "http_500"),
        (reply(200, b"x" * 70_000), "reply_too_large"),
    ],
)
def test_a_fetch_follows_nothing_and_bounds_its_reply(step: object, code: str) -> None:
    with scripted(step) as server, pytest.raises(TrustUnavailableError) as failed:  # type: ignore[arg-type]  # a Step
        fetch_trusted(f"{server.url}/a.pem")
    assert failed.value.code == code
    assert len(server.requests) == 1


def test_a_dripping_certificate_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "FETCH_DEADLINES", QUICK)
    with scripted(drip) as server, pytest.raises(TrustUnavailableError, match="timed_out"):
        fetch_trusted(f"{server.url}/a.pem")


def test_a_subscription_is_confirmed_at_the_trusted_origin_alone(key: rsa.RSAPrivateKey) -> None:
    with scripted(reply(200, b"<ConfirmSubscriptionResponse/>")) as server:
        trust = SnsTrust.from_account(ses_account(None, certificate_origin=server.url))
        verifier = SnsVerifier(trust, CertificateStore())
        raw = _signed(key, Type="SubscriptionConfirmation", Token="t", SubscribeURL=f"{server.url}/?Action=Confirm")
        verifier.confirm(parse_envelope(json.dumps(raw)), fetch_trusted)
        elsewhere = _signed(key, Type="SubscriptionConfirmation", Token="t", SubscribeURL="http://127.0.0.1:1/")
        for refused in (elsewhere, _signed(key)):
            with pytest.raises(SignatureError, match="untrusted_subscribe_url"):
                verifier.confirm(parse_envelope(json.dumps(refused)), fetch_trusted)
    assert [request.line for request in server.requests] == ["GET /?Action=Confirm HTTP/1.1"]


def test_trust_is_the_regions_own_host_unless_the_account_names_one() -> None:
    assert str(SnsTrust.from_account(ses_account(None)).origin) == f"{ORIGIN}:443"
    china = SnsTrust.from_account(ses_account(None, region="cn-north-1"))
    assert china.origin.host == "sns.cn-north-1.amazonaws.com.cn"
    with pytest.raises(AccountUnusableError):
        SnsTrust.from_account(ses_account(None, topic_arn=None))


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", '{"Type": "Notification"}', '{"Type": "Other"}', b"\xff"])
def test_anything_that_is_no_envelope_is_an_event_error(body: str | bytes) -> None:
    with pytest.raises(EventError):
        parse_envelope(body)


def test_a_queue_body_is_an_envelope_or_the_event_itself(key: rsa.RSAPrivateKey) -> None:
    enveloped = open_queue_body(json.dumps(_signed(key)), topic_arn=TOPIC)
    assert enveloped is not None
    assert (enveloped.event_id, enveloped.message) == ("sns-1", '{"eventType": "Send"}')
    bare = open_queue_body('{"eventType": "Send"}', topic_arn=TOPIC)
    assert bare is not None
    assert bare.event_id.startswith("raw:")
    assert open_queue_body(json.dumps(_signed(key, Type="UnsubscribeConfirmation")), topic_arn=TOPIC) is None


@pytest.mark.parametrize("body", ["", "5", "null", '{"TopicArn": 1, "Message": 2}'])
def test_a_queue_body_that_is_neither_is_a_provider_error(body: str) -> None:
    with pytest.raises(ProviderError):
        open_queue_body(body, topic_arn=TOPIC)


def test_a_queue_body_of_another_topic_is_refused(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SignatureError):
        open_queue_body(json.dumps(_signed(key, TopicArn="other")), topic_arn=TOPIC)
