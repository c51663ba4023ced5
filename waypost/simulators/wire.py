"""A small HTTP/1.1 server on httptools: it has to cost little CPU, and to misbehave on the wire exactly as told."""

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, assert_never, cast
from urllib.parse import parse_qsl

import httptools
import orjson

MAX_BODY_BYTES = 48 * 1024 * 1024
"""SES takes messages of 40 MB; base64 and JSON come on top."""

RST_ON_CLOSE = struct.pack("ii", 1, 0)
JSON = b"application/json"


class Manner(StrEnum):
    """How a reply leaves the server."""

    NORMAL = "normal"
    RESET = "reset"
    HANG = "hang"
    DRIP = "drip"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response. `delay` and `drip_interval` are seconds."""

    body: bytes = b""
    status: int = 200
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    manner: Manner = Manner.NORMAL
    delay: float = 0.0
    drip_interval: float = 0.5

    def encode(self, *, keep_alive: bool) -> bytes:
        """The bytes on the wire."""
        lines = [
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n"
            % (self.status, HTTPStatus(self.status).phrase.encode(), self.content_type, len(self.body))
        ]
        lines.extend(b"%s: %s\r\n" % header for header in self.headers)
        lines.append(b"connection: keep-alive\r\n\r\n" if keep_alive else b"connection: close\r\n\r\n")
        lines.append(self.body)
        return b"".join(lines)


def json_reply(value: Any, *, status: int = 200) -> Reply:
    """A reply of JSON."""
    return Reply(orjson.dumps(value), status)


def text_reply(text: str, *, status: int = 200, content_type: bytes = b"text/plain; charset=utf-8") -> Reply:
    """A reply of text."""
    return Reply(text.encode(), status, content_type)


@dataclass(slots=True)
class Request:
    """One HTTP request, its body read whole. Header names are lower case."""

    method: str = ""
    path: str = ""
    query_string: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: bytes) -> str:
        """A header's value, empty where it is missing."""
        return self.headers.get(name, b"").decode("latin-1")

    def query(self) -> dict[str, str]:
        """The query's parameters; the last of a repeated name counts."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    def form(self) -> list[tuple[str, str]]:
        """The body as a form."""
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)


Handler = Callable[[Request], Reply | Awaitable[Reply]]


class HttpConnection(asyncio.Protocol):
    """One client connection. Requests are answered in order, one at a time."""

    def __init__(self, handle: Handler, open_connections: set["HttpConnection"]) -> None:
        self._handle = handle
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._request = Request()
        self._url = b""
        self._body: list[bytes] = []
        self._size = 0
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False
        self._task: asyncio.Future[Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, _exc: Exception | None, /) -> None:
        self._transport = None
        self._open.discard(self)
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.BAD_REQUEST)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)

    def on_message_begin(self) -> None:
        self._request = Request()
        self._url = b""
        self._body = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        path, _, query = self._url.partition(b"?")
        request.path = path.decode("latin-1")
        request.query_string = query.decode("latin-1")
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        keep_alive = self._parser.should_keep_alive()
        if self._busy:
            self._waiting.append((request, keep_alive))
        else:
            self._answer(request, keep_alive)

    def _answer(self, request: Request, keep_alive: bool) -> None:
        self._busy = True
        outcome = self._handle(request)
        if isinstance(outcome, Reply):
            self._emit(outcome, keep_alive)
            return
        self._task = asyncio.ensure_future(outcome)
        self._task.add_done_callback(lambda task: self._answered(task, keep_alive))

    def _answered(self, task: asyncio.Future[Reply], keep_alive: bool) -> None:
        self._task = None
        if not task.cancelled():
            self._emit(task.result(), keep_alive)

    def _emit(self, reply: Reply, keep_alive: bool) -> None:
        if reply.delay > 0:
            asyncio.get_running_loop().call_later(reply.delay, self._deliver, reply, keep_alive)
        else:
            self._deliver(reply, keep_alive)

    def _deliver(self, reply: Reply, keep_alive: bool) -> None:
        match reply.manner:
            case Manner.NORMAL:
                self._write(reply.encode(keep_alive=keep_alive))
                self._finish(keep_alive)
            case Manner.RESET:
                self._reset()
            case Manner.HANG:
                pass  # the connection stays busy until the client gives up
            case Manner.DRIP:
                self._task = asyncio.ensure_future(self._drip(reply))
            case _:
                assert_never(reply.manner)

    async def _drip(self, reply: Reply) -> None:
        for byte in reply.encode(keep_alive=False):
            self._write(bytes((byte,)))
            await asyncio.sleep(reply.drip_interval)
        self._finish(keep_alive=False)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _finish(self, keep_alive: bool) -> None:
        self._busy = False
        if not keep_alive:
            self._close_after_flush()
        elif self._waiting:
            self._answer(*self._waiting.popleft())

    def _close_after_flush(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _reset(self) -> None:
        """Send RST instead of FIN, as a dying load balancer does."""
        if self._transport is None:
            return
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self._transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        self._write(text_reply(status.phrase, status=status).encode(keep_alive=False))
        self._close_after_flush()
