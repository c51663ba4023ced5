"""Posts to other systems, over TLS on loopback: what is taken, what is refused, and how long anything may last."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.providers.scripted_server import ScriptedServer, Step, close, drip, hang, raw, reply, scripted, unused_port
from waypost.messaging.webhooks import Answer, signing_secret, written_secret
from waypost.providers.webhooks import Poster

IDENTITY = UUID(int=7)
BODY = b'{"a":1}'
NAME = "hooks.example.com"
SECRETS = (b"s" * 32, b"t" * 32)


@dataclass(frozen=True)
class Certificate:
    """For 127.0.0.1, localhost and NAME."""

    file: str
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"), x509.DNSName(NAME)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder: Path = tmp_path_factory.mktemp("tls")
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return Certificate(str(pem), context)


Serve = Callable[..., Any]


@pytest.fixture
def serve(certificate: Certificate) -> Iterator[Serve]:
    @contextmanager
    def serving(*steps: Step) -> Iterator[ScriptedServer]:
        with scripted(*steps, tls=certificate.context) as server:
            yield server

    yield serving


async def post(url: str, certificate: Certificate, *, private: bool = True, total_s: float = 5) -> Answer:
    async with Poster(allow_private=private, ca_file=certificate.file, total_s=total_s) as poster:
        return await poster.post(url, BODY, identity=IDENTITY, secrets=SECRETS)


async def test_what_is_taken_arrives_whole_and_signed(serve: Serve, certificate: Certificate) -> None:
    with serve(reply(204)) as server:
        answer = await post(f"{server.url}/in?x=1", certificate)
        (request,) = server.requests
    assert answer == Answer(taken=True, code="204", again=False)
    assert (request.line, request.body) == ("POST /in?x=1 HTTP/1.1", BODY)
    headers = request.headers
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == str(IDENTITY)
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    macs = [hmac.new(secret, said, hashlib.sha256).digest() for secret in SECRETS]
    assert headers["webhook-signature"].split(" ") == [f"v1,{base64.b64encode(mac).decode()}" for mac in macs]


def test_a_secret_is_the_tenants_own_and_written_as_the_standard_says() -> None:
    one, other = signing_secret("k" * 32, UUID(int=1)), signing_secret("k" * 32, UUID(int=2))
    assert len({one, other, signing_secret("l" * 32, UUID(int=1))}) == 3
    assert base64.b64decode(written_secret(one).removeprefix("whsec_")) == one
    assert 24 <= len(one) <= 64


@pytest.mark.parametrize(
    ("status", "taken", "again"),
    [
        (200, True, False),
        (301, False, False),
        (400, False, False),
        (404, False, False),
        (408, False, True),
        (410, False, False),
        (425, False, True),
        (429, False, True),
        (500, False, True),
        (503, False, True),
    ],
)
async def test_statuses_are_judged(
    serve: Serve, certificate: Certificate, status: int, taken: bool, again: bool
) -> None:
    with serve(reply(status, b"{}")) as server:
        assert await post(server.url, certificate) == Answer(taken=taken, code=str(status), again=again)


async def test_a_redirect_is_not_followed(serve: Serve, certificate: Certificate) -> None:
    with serve(reply(200)) as inner, serve(reply(307, b"", f"Location: {inner.url}/")) as server:
        assert await post(server.url, certificate) == Answer(taken=False, code="307", again=False)
        assert inner.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - refused
        "224.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::1]",
        "[fe80::1]",
        "[fd00::1]",
        "2130706433",  # 127.0.0.1 as a number
        "0x7f.1",
    ],
)
async def test_our_own_network_is_not_posted_to(serve: Serve, certificate: Certificate, host: str) -> None:
    with serve(reply(200)) as server:
        answer = await post(f"https://{host}:{server.port}/", certificate, private=False)
        assert server.connections == 0
    assert not answer.taken
    assert answer.code in ("private_address", "name_not_found", "bad_url")


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def found(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert host == NAME
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)


async def test_a_name_with_one_private_address_is_refused(
    serve: Serve, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(reply(200)) as server:
        resolving(monkeypatch, "93.184.215.14", "127.0.0.1")
        answer = await post(f"https://{NAME}:{server.port}/", certificate, private=False)
        assert server.connections == 0
    assert answer == Answer(taken=False, code="private_address", again=False)


async def test_the_address_that_was_looked_at_is_posted_to_under_the_name(
    serve: Serve, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(reply(200)) as server:
        resolving(monkeypatch, "127.0.0.1")
        answer = await post(f"https://{NAME}:{server.port}/", certificate)
        (request,) = server.requests
    assert answer.taken
    assert request.headers["host"] == f"{NAME}:{server.port}"


async def test_a_certificate_of_another_name_is_not_trusted_nor_is_one_of_nobody(
    serve: Serve, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(reply(200)) as server:
        async with Poster(allow_private=True) as poster:
            stranger = await poster.post(server.url, BODY, identity=IDENTITY, secrets=SECRETS)
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port))]
        )
        other = await post(f"https://other.example.com:{server.port}/", certificate)
        assert server.requests == []
    assert {stranger, other} == {Answer(taken=False, code="not_connected", again=True)}


async def test_no_connection_is_used_for_another_name(
    serve: Serve, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(reply(200)) as server:
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port))]
        )
        async with Poster(allow_private=True, ca_file=certificate.file) as poster:
            for host in (NAME, "other.example.com"):
                answer = await poster.post(f"https://{host}:{server.port}/", BODY, identity=IDENTITY, secrets=SECRETS)
        assert len(server.requests) == 1
    assert not answer.taken


def drip_headers(connection: socket.socket, over: Any) -> bool:
    """A header that never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not over.wait(0.02):
        connection.sendall(b"x")
    return False


@pytest.mark.parametrize("step", [hang, drip_headers])
async def test_all_of_it_has_one_deadline(serve: Serve, certificate: Certificate, step: Step) -> None:
    with serve(step) as server:
        began = time.monotonic()
        answer = await post(server.url, certificate, total_s=0.4)
        assert time.monotonic() - began < 3
    assert answer == Answer(taken=False, code="timeout", again=True)


async def test_a_body_that_never_ends_is_not_waited_for(serve: Serve, certificate: Certificate) -> None:
    with serve(drip) as server:
        began = time.monotonic()
        assert (await post(server.url, certificate)).taken
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("step", [close, raw(b"what?\r\n\r\n")])
async def test_an_answer_that_is_none_is_asked_for_again(serve: Serve, certificate: Certificate, step: Step) -> None:
    with serve(step) as server:
        assert await post(server.url, certificate) == Answer(taken=False, code="broken_off", again=True)


@pytest.mark.parametrize(
    ("url", "code", "again"),
    [
        ("https://nowhere.invalid/", "name_not_found", True),
        (f"https://{'a' * 70}.example.com/", "name_not_found", True),
        ("https://[::1/", "bad_url", False),
        ("https://127.0.0.1:99999/", "bad_url", False),
        ("https://?x", "bad_url", False),
    ],
)
async def test_addresses_that_are_none(certificate: Certificate, url: str, code: str, again: bool) -> None:
    assert await post(url, certificate, total_s=3) == Answer(taken=False, code=code, again=again)


async def test_where_nobody_listens_is_asked_again(certificate: Certificate) -> None:
    answer = await post(f"https://127.0.0.1:{unused_port()}/", certificate)
    assert answer == Answer(taken=False, code="not_connected", again=True)
