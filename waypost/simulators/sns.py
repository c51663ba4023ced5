"""SNS envelopes: a topic's notification as subscribers get it, signed as AWS signs it (versions 1 and 2).

Source: AWS, "Verifying the signatures of Amazon SNS messages". The string to sign names its fields in byte order.
"""

import base64
import datetime
import time
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from waypost.simulators.acceptance import aws_timestamp

CERTIFICATE_PATH = "/sns/cert/"
CONFIRM_PATH = "/sns/confirm"
NOTIFICATION_FIELDS = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
CONFIRMATION_FIELDS = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303  SNS version 1 is SHA-1


def string_to_sign(envelope: dict[str, Any], fields: tuple[str, ...]) -> bytes:
    """The canonical string of an envelope; an absent Subject is left out."""
    return "".join(f"{name}\n{envelope[name]}\n" for name in fields if name in envelope).encode()


class Notary:
    """A key, a certificate made on the spot, and the envelopes signed with them."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate = self_signed(self._key)
        self.certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()[:32]
        self.certificate_path = f"{CERTIFICATE_PATH}SimpleNotificationService-{fingerprint}.pem"

    def notification(
        self,
        message: bytes,
        *,
        sns_id: str,
        subject: str,
        topic_arn: str,
        version: str,
        base_url: str,
        signed: bool = True,
    ) -> bytes:
        """A Notification's JSON. Unsigned ones carry an empty Signature."""
        envelope: dict[str, Any] = {
            "Type": "Notification",
            "MessageId": sns_id,
            "TopicArn": topic_arn,
            "Subject": subject,
            "Message": message.decode(),
            "Timestamp": aws_timestamp(time.time()),
            "SignatureVersion": version,
        }
        envelope["Signature"] = self._sign(envelope, NOTIFICATION_FIELDS) if signed else ""
        envelope["SigningCertURL"] = base_url + self.certificate_path
        envelope["UnsubscribeURL"] = f"{base_url}/sns/unsubscribe?SubscriptionArn={topic_arn}"
        return orjson.dumps(envelope)

    def confirmation(self, *, sns_id: str, token: str, topic_arn: str, version: str, base_url: str) -> bytes:
        """A SubscriptionConfirmation's JSON."""
        envelope: dict[str, Any] = {
            "Type": "SubscriptionConfirmation",
            "MessageId": sns_id,
            "Token": token,
            "TopicArn": topic_arn,
            "Message": f"You have chosen to subscribe to the topic {topic_arn}.\n"
            "To confirm the subscription, visit the SubscribeURL included in this message.",
            "SubscribeURL": f"{base_url}{CONFIRM_PATH}?Action=ConfirmSubscription&TopicArn={topic_arn}&Token={token}",
            "Timestamp": aws_timestamp(time.time()),
            "SignatureVersion": version,
        }
        envelope["Signature"] = self._sign(envelope, CONFIRMATION_FIELDS)
        envelope["SigningCertURL"] = base_url + self.certificate_path
        return orjson.dumps(envelope)

    def _sign(self, envelope: dict[str, Any], fields: tuple[str, ...]) -> str:
        algorithm = HASHES[envelope["SignatureVersion"]]
        signature = self._key.sign(string_to_sign(envelope, fields), padding.PKCS1v15(), algorithm)
        return base64.b64encode(signature).decode()


def self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """A certificate for the key, valid for ten years."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.simulator.waypost")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
