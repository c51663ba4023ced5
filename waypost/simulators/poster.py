"""A lean HTTP/1.1 client for callbacks: kept-alive connections, a bound an origin, a total time-out."""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

TOTAL_SECONDS = 15.0
"""Both SNS and Twilio give a webhook 15 seconds."""
CONNECTIONS_AN_ORIGIN = 16
MAX_PENDING = 20_000
"""Beyond it a callback is lost and counted as failed, as a provider gives up on a dead webhook."""

Headers = Iterable[tuple[str, str]]


class ResponseReader(asyncio.Protocol):
    """One client connection; resolves `answer` with the status of the response, or None where it broke."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.reusable = False
        self.answer: asyncio.Future[int | None] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._resolve(None)

    def on_message_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        self._resolve(self._parser.get_status_code())

    def connection_lost(self, _exc: Exception | None, /) -> None:
        self.transport = None
        self._resolve(None)

    def request(self, data: bytes) -> asyncio.Future[int | None]:
        """Write a request; the future is its answer."""
        self.reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self.answer = asyncio.get_running_loop().create_future()
        if self.transport is None:
            self._resolve(None)
        else:
            self.transport.write(data)
        return self.answer

    def _resolve(self, status: int | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(status)


@dataclass(slots=True)
class Origin:
    """The connections to one scheme, host and port."""

    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS_AN_ORIGIN))
    idle: list[ResponseReader] = field(default_factory=list)


class Poster:
    """Makes POST requests."""

    def __init__(self) -> None:
        self._origins: dict[tuple[str, str, int], Origin] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.posted = 0
        self.failed = 0
        self._pending = 0

    async def post(self, url: str, headers: Headers, body: bytes) -> int | None:
        """The response's status; None where there was none in time."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        origin = self._origins.setdefault((parts.scheme, parts.hostname or "", port), Origin())
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        data = encode_request(target, parts.netloc, headers, body)
        self.posted += 1
        status: int | None = None
        if self._pending < MAX_PENDING:
            self._pending += 1
            try:
                async with origin.turn, asyncio.timeout(TOTAL_SECONDS):
                    status = await self._exchange(origin, parts.scheme, parts.hostname or "", port, data)
            except (TimeoutError, OSError):
                status = None
            finally:
                self._pending -= 1
        self.failed += status is None or status >= 400
        return status

    def close(self) -> None:
        """Drop every connection."""
        for origin in self._origins.values():
            for each in origin.idle:
                if each.transport is not None:
                    each.transport.abort()

    async def _exchange(self, origin: Origin, scheme: str, host: str, port: int, data: bytes) -> int | None:
        while origin.idle:
            status = await self._ask(origin, origin.idle.pop(), data)
            if status is not None:
                return status  # a kept connection may have been closed meanwhile: try the next, or a new one
        context = ssl.create_default_context() if scheme == "https" else None
        _, reader = await asyncio.get_running_loop().create_connection(ResponseReader, host, port, ssl=context)
        return await self._ask(origin, reader, data)

    async def _ask(self, origin: Origin, reader: ResponseReader, data: bytes) -> int | None:
        try:
            status = await reader.request(data)
        except asyncio.CancelledError:
            if reader.transport is not None:
                reader.transport.abort()
            raise
        if reader.reusable and reader.transport is not None:
            origin.idle.append(reader)
        elif reader.transport is not None:
            reader.transport.close()
        return status


def encode_request(target: str, host: str, headers: Headers, body: bytes) -> bytes:
    """A POST request's bytes."""
    lines = [f"POST {target} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines.extend(f"{name}: {value}" for name, value in headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
