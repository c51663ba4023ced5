"""A load generator that costs next to nothing: a client library's milliseconds would count as ours on two cores."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class JsonPoster:
    """Kept-alive HTTP/1.1 connections to one origin, POSTs of JSON, and answers with a Content-Length."""

    def __init__(self, origin: str, *, headers: dict[str, str]) -> None:
        parts = urlsplit(origin)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        fixed = {"host": parts.netloc, "content-type": "application/json", **headers}
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()
        self._idle.clear()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # a server closes what was idle for some seconds
                return reader, writer
            writer.close()
        return await asyncio.open_connection(*self._address)

    async def post(self, path: str, body: object, **headers: str) -> dict[str, Any]:
        """The answer's JSON; a body in bytes is JSON already. Raises RuntimeError on a status other than 2xx."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\n{self._fixed}{more}content-length: {len(data)}\r\n\r\n"
        reader, writer = await self._connection()
        writer.write(head.encode() + data)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(answer.split("content-length: ", 1)[1].split("\r\n", 1)[0])
        found = await reader.readexactly(length)
        self._idle.append((reader, writer))
        status = int(answer.split(" ", 2)[1])
        if not 200 <= status < 300:
            raise RuntimeError(f"POST {path} was answered {status}: {found[:200].decode(errors='replace')}")
        made: dict[str, Any] = json.loads(found)
        return made
