"""A wire to PostgreSQL that counts how often a client waited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from tests import services
from waypost.settings import DatabaseSettings


def role_settings(url: str) -> DatabaseSettings:
    """Settings that reach `url` as any of the roles."""
    passwords = services.ROLE_PASSWORDS
    return DatabaseSettings(
        database_url=SecretStr(url),
        app_password=SecretStr(passwords["waypost_app"]),
        relay_password=SecretStr(passwords["waypost_relay"]),
        segments_password=SecretStr(passwords["waypost_segments"]),
        database_timeout_s=5,
    )


@dataclass
class Wire:
    """`turns`: how often the client spoke after the server had, which is how often it waited."""

    url: str = ""
    turns: int = 0
    client_spoke_last: bool = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool) -> None:
        while data := await reader.read(65536):
            self.turns += from_client and not self.client_spoke_last
            self.client_spoke_last = from_client
            writer.write(data)
        writer.close()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    """A wire to the server of `url`, for one connection at a time."""
    target = urlsplit(url)
    wire = Wire()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(
            wire.carry(reader, server_writer, from_client=True), wire.carry(server_reader, writer, from_client=False)
        )

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        wire.url = f"postgresql://127.0.0.1:{server.sockets[0].getsockname()[1]}{target.path}"
        yield wire
