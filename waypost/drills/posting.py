"""JSON over HTTP for an open load: as many connections as there are requests, kept for reuse, and hardly any CPU.

A pool with a limit would let requests wait for each other while the API is slow, and count that as the API's time.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_KEPT_S = 3.0
"""A server closes idle connections after five seconds; a request must not cross that."""


class NoAnswerError(Exception):
    """The connection failed, or there was no answer in time. Whether the request was read is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> dict[str, Any]:
        """The body as JSON."""
        content: dict[str, Any] = json.loads(self.body)
        return content


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_at: float = 0.0


class Poster:
    """Posts to one origin."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []

    async def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answered:
        """One request. Raises `NoAnswerError`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = self._take() or _Connection(*await asyncio.open_connection(self._host, self._port))
                return await self._exchange(connection, self._request(path, body, headers))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise NoAnswerError(type(error).__name__) from None

    def close(self) -> None:
        """Close what is idle."""
        for connection in self._idle:
            connection.writer.close()
        self._idle.clear()

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.used_at < _KEPT_S and not connection.reader.at_eof():
                return connection
            connection.writer.close()
        return None

    async def _exchange(self, connection: _Connection, request: bytes) -> Answered:
        try:
            connection.writer.write(request)
            answered = await _read(connection.reader)
        except BaseException:
            connection.writer.close()
            raise
        if answered.headers.get("connection") == "close":
            connection.writer.close()
        else:
            connection.used_at = time.monotonic()
            self._idle.append(connection)
        return answered

    def _request(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
        content = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", f"host: {self._host}:{self._port}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"content-length: {len(content)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def _read(reader: asyncio.StreamReader) -> Answered:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answered(status=int(head[0].split(" ", 2)[1]), headers=headers, body=body)
