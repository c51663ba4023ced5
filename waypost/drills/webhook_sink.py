"""Another system that journeys tell: HTTPS on loopback, in the drill's own process, which is never killed.

`/taken` is taken, but the first post of every seventh visit is not yet; `/refused` is refused for good.
"""

import asyncio
import datetime
import ipaddress
import ssl
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_EVERY = 7


class WebhookSink:
    """`async with WebhookSink(folder) as sink:` `certificate` is what posters must trust."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "webhooks.pem"
        self.posts: Counter[UUID] = Counter()
        """How often each visit was posted."""
        self._server: asyncio.Server | None = None
        self._context = _context(self.certificate)

    @property
    def url(self) -> str:
        """Its origin."""
        assert self._server is not None
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status = await self._answer(reader)
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):  # whoever posted was killed
            return
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> str:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        await reader.readexactly(int(headers["content-length"]))
        visit = UUID(headers["webhook-id"])
        self.posts[visit] += 1
        if " /refused " in first:
            return "410 Gone"
        return "503 Later" if visit.int % _EVERY == 0 and self.posts[visit] == 1 else "204 Taken"


def _context(certificate: Path) -> ssl.SSLContext:
    """A key and a certificate of its own, of which the latter is written where posters find it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "drill")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = certificate.with_suffix(".key")
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return context
