"""SNS envelopes: read, verify, confirm.

Source: SNS developer guide, "Verifying the signatures of Amazon SNS messages". Anyone with an AWS account can have SNS
sign a message, so the topic is pinned; anyone can send a URL, so certificates and SubscribeURL must have the trusted
origin.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, assert_never

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from waypost.messaging.provider import ProviderAccount
from waypost.providers.errors import AccountUnusableError, EventError, SignatureError, TrustUnavailableError
from waypost.providers.ses.certificates import CertificateStore, Fetch
from waypost.providers.ses.events import body_id
from waypost.providers.wire import Origin


class SnsType(StrEnum):
    """What an envelope is for."""

    NOTIFICATION = "Notification"
    SUBSCRIPTION = "SubscriptionConfirmation"
    UNSUBSCRIPTION = "UnsubscribeConfirmation"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnsEnvelope:
    """An SNS message as it came; nothing in it is believed before `SnsVerifier.verify`."""

    type: SnsType
    message_id: str
    topic_arn: str
    message: str = field(repr=False)
    timestamp: str
    subject: str | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    subscribe_url: str = field(default="", repr=False)
    signature_version: str = ""
    signature: str = field(default="", repr=False)
    certificate_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnsTrust:
    """Whose messages an account believes: one topic, one origin of certificates and confirmations."""

    topic_arn: str
    origin: Origin

    @classmethod
    def from_account(cls, account: ProviderAccount) -> "SnsTrust":
        """The account's trust; the origin is the region's SNS host by default. Raises `AccountUnusableError`."""
        if not account.topic_arn:
            raise AccountUnusableError("no_topic_arn")
        suffix = ".cn" if account.region.startswith("cn-") else ""
        default = f"https://sns.{account.region}.amazonaws.com{suffix}"
        return cls(topic_arn=account.topic_arn, origin=Origin.of(account.certificate_origin or default))

    def covers(self, url: str) -> bool:
        """Whether the URL has exactly the trusted scheme, host and port, and nothing that hides another."""
        try:
            return "@" not in url and "\\" not in url and Origin.of(url) == self.origin
        except ValueError:
            return False


class SnsVerifier:
    """Verifies envelopes of one account. Thread-safe; blocks (two seconds at most) when a certificate is new."""

    def __init__(
        self,
        trust: SnsTrust,
        certificates: CertificateStore,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._trust = trust
        self._certificates = certificates
        self._now = now

    def verify(self, envelope: SnsEnvelope) -> None:
        """Return if the envelope is of the pinned topic and signed by SNS.

        Raises `SignatureError` where it is not, `TrustUnavailableError` where the certificate cannot be had just now.
        """
        if envelope.topic_arn != self._trust.topic_arn:
            raise SignatureError("wrong_topic")
        if not self._trust.covers(envelope.certificate_url) or not envelope.certificate_url.endswith(".pem"):
            raise SignatureError("untrusted_certificate_url")
        key = _valid_key(self._certificates.get(envelope.certificate_url), self._now())
        try:
            signature = base64.b64decode(envelope.signature, validate=True)
            key.verify(signature, _signed_text(envelope), PKCS1v15(), _digest(envelope.signature_version))
        except (InvalidSignature, binascii.Error, ValueError):
            raise SignatureError("bad_signature") from None

    def confirm(self, envelope: SnsEnvelope, fetch: Fetch) -> None:
        """Visit a verified confirmation's SubscribeURL, without redirects.

        Raises `SignatureError` for a URL elsewhere, `TrustUnavailableError` where SNS did not answer 200.
        """
        if envelope.type is not SnsType.SUBSCRIPTION or not self._trust.covers(envelope.subscribe_url):
            raise SignatureError("untrusted_subscribe_url")
        if not fetch(envelope.subscribe_url):
            raise TrustUnavailableError("subscription_not_confirmed")


def parse_envelope(body: str | bytes) -> SnsEnvelope:
    """Read an SNS message. Raises `EventError` for anything that SNS does not write."""
    try:
        raw = orjson.loads(body)
    except (TypeError, ValueError):
        raise EventError("malformed_envelope") from None
    return _envelope(raw)


def _envelope(raw: Any) -> SnsEnvelope:
    try:
        return SnsEnvelope(
            type=SnsType(raw["Type"]),
            message_id=_text(raw["MessageId"]),
            topic_arn=_text(raw["TopicArn"]),
            message=_text(raw["Message"]),
            timestamp=_text(raw["Timestamp"]),
            subject=None if raw.get("Subject") is None else _text(raw["Subject"]),
            token=_text(raw.get("Token") or ""),
            subscribe_url=_text(raw.get("SubscribeURL") or ""),
            signature_version=_text(raw.get("SignatureVersion") or ""),
            signature=_text(raw.get("Signature") or ""),
            certificate_url=_text(raw.get("SigningCertURL") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EventError("malformed_envelope") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SesNotification:
    """SES's event JSON and the id that de-duplicates it."""

    event_id: str
    message: str = field(repr=False)


def open_queue_body(body: str, *, topic_arn: str | None) -> SesNotification | None:
    """What a queue message holds: an SNS envelope, or under raw delivery the event itself. None: not a notification.

    The queue's policy is what says who may write to it, so the topic is compared and no signature asked for.
    Raises `EventError`, or `SignatureError` for another topic.
    """
    try:
        raw = orjson.loads(body)
        enveloped = "TopicArn" in raw and "Message" in raw
    except (ValueError, TypeError):
        raise EventError("malformed_body") from None
    if not enveloped:
        return SesNotification(event_id=body_id(body), message=body)
    envelope = _envelope(raw)
    if topic_arn and envelope.topic_arn != topic_arn:
        raise SignatureError("wrong_topic")
    if envelope.type is not SnsType.NOTIFICATION:
        return None
    return SesNotification(event_id=envelope.message_id, message=envelope.message)


def _signed_text(envelope: SnsEnvelope) -> bytes:
    """The fields that SNS signs, in its order, each as its name and value on a line."""
    pairs: list[tuple[str, str]] = [("Message", envelope.message), ("MessageId", envelope.message_id)]
    match envelope.type:
        case SnsType.NOTIFICATION:
            if envelope.subject is not None:
                pairs.append(("Subject", envelope.subject))
            pairs += [("Timestamp", envelope.timestamp)]
        case SnsType.SUBSCRIPTION | SnsType.UNSUBSCRIPTION:
            pairs += [
                ("SubscribeURL", envelope.subscribe_url),
                ("Timestamp", envelope.timestamp),
                ("Token", envelope.token),
            ]
        case _:
            assert_never(envelope.type)
    pairs += [("TopicArn", envelope.topic_arn), ("Type", envelope.type.value)]
    return "".join(f"{name}\n{value}\n" for name, value in pairs).encode()


def _digest(version: str) -> hashes.HashAlgorithm:
    match version:
        case "1":
            return hashes.SHA1()  # noqa: S303  SNS's own choice for version 1, still its default
        case "2":
            return hashes.SHA256()
        case _:
            raise SignatureError("unknown_signature_version")


def _valid_key(certificate: x509.Certificate, now: datetime) -> RSAPublicKey:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise SignatureError("certificate_out_of_date")
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise SignatureError("certificate_not_rsa")
    return key


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
