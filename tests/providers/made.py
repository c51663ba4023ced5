"""Accounts and messages for these tests."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from waypost.messaging.provider import Credentials, ProviderAccount, RenderedMessage
from waypost.messaging.values import Channel, FeedKind, Mode, ProviderKind
from waypost.providers.deadlines import Deadlines

ACCOUNT_ID = UUID("11111111-1111-4111-8111-111111111111")
ATTEMPT_ID = UUID("22222222-2222-4222-8222-222222222222")
TOPIC = "arn:aws:sns:us-east-1:123456789012:waypost"
QUICK = Deadlines(connect=0.5, read=0.4, total=0.8)


def ses_account(endpoint: str | None, **changes: object) -> ProviderAccount:
    values: dict[str, object] = {
        "id": ACCOUNT_ID,
        "kind": ProviderKind.SES,
        "mode": Mode.TEST,
        "region": "us-east-1",
        "endpoint": endpoint,
        "feed": FeedKind.DURABLE,
        "credentials": Credentials(key="AKIAEXAMPLE", secret="a-secret"),
        "topic_arn": TOPIC,
        **changes,
    }
    return ProviderAccount(**values)  # type: ignore[arg-type]  # the changes are each test's own


def twilio_account(endpoint: str | None, **changes: object) -> ProviderAccount:
    return ses_account(
        endpoint,
        **{
            "kind": ProviderKind.TWILIO,
            "feed": FeedKind.LOSSY,
            "credentials": Credentials(key="AC" + "0" * 32, secret="a-token"),
            "callback_base": "https://events.example.com",
            **changes,
        },
    )


def email(**changes: object) -> RenderedMessage:
    values: dict[str, object] = {
        "attempt_id": ATTEMPT_ID,
        "channel": Channel.EMAIL,
        "to": "ada@example.com",
        "from_address": "hello@shop.example",
        "subject": "Hello",
        "html": "<p>Hello</p>",
        "text": "Hello",
        "configuration_set": "waypost",
        **changes,
    }
    return RenderedMessage(**values)  # type: ignore[arg-type]  # the changes are each test's own


def sms(**changes: object) -> RenderedMessage:
    return email(
        **{
            "channel": Channel.SMS,
            "to": "+15551112222",
            "from_address": "+15553334444",
            "subject": "",
            "html": None,
            "text": "Your code is 123456",
            "configuration_set": None,
            **changes,
        }
    )


def certificate(
    key: rsa.RSAPrivateKey, *, since: timedelta = timedelta(days=-1), until: timedelta = timedelta(days=1)
) -> bytes:
    """A self-signed certificate for 127.0.0.1, in PEM."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
