"""Being told by PostgreSQL: LISTEN with reconnection. A notification is a hint; whoever is told re-reads the rows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from psycopg import OperationalError, sql

from waypost.messaging.values import Lane
from waypost.store.database import Connection, Database, DatabaseAway

logger = logging.getLogger(__name__)

TENANTS_CHANNEL = "waypost_tenants"
OUTBOX_CHANNEL = "waypost_outbox"
CAMPAIGNS_CHANNEL = "waypost_campaigns"
"""Told when a run was scheduled, moved or approved."""
JOURNEYS_CHANNEL = "waypost_journeys"
"""Told when somebody was enrolled."""


def ready_channel(lane: Lane) -> str:
    """Told when a lane has rows that are due."""
    return f"waypost_ready_{lane}"


_RECONNECT_S = 0.5
_TELL_EVERY_S = 0.02


async def listen(database: Database, channels: Sequence[str], told: Callable[[str], None]) -> None:
    """Call `told(channel)` on each notification, and for every channel after each (re)connection; runs for ever."""
    while True:
        try:
            await _listen_once(database, channels, told)
        except DatabaseAway as error:
            logger.warning("listening interrupted", extra={"error": type(error).__name__})
        await asyncio.sleep(_RECONNECT_S)


async def _listen_once(database: Database, channels: Sequence[str], told: Callable[[str], None]) -> None:
    async with database.dedicated() as connection:
        for channel in channels:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        for channel in channels:
            told(channel)
        await _until_broken(connection, told)


async def _until_broken(connection: Connection, told: Callable[[str], None]) -> None:
    """Read the socket only when it has something: psycopg's own generator took a seventh of a worker's CPU."""
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[None] = loop.create_future()

    def read() -> None:
        try:
            connection.pgconn.consume_input()
        except OperationalError as error:
            loop.remove_reader(descriptor)
            broken.set_exception(error)
            return
        for channel in _drain(connection):
            told(channel)

    descriptor = connection.fileno()
    loop.add_reader(descriptor, read)
    try:
        await broken
    finally:
        loop.remove_reader(descriptor)


def _drain(connection: Connection) -> set[str]:
    channels = set()
    while notification := connection.pgconn.notifies():
        channels.add(notification.relname.decode())
    return channels


class Teller:
    """Tells other processes of rows, at once when quiet and at most every 20 ms when busy.

    Outside the transactions that made the rows: NOTIFY inside them takes a lock that all commits would share.
    """

    def __init__(self, notify: Callable[[str], Awaitable[None]]) -> None:
        self._notify = notify
        self._waiting: set[str] = set()
        self._telling: asyncio.Task[None] | None = None

    def tell(self, channel: str) -> None:
        """Tell, soon. What is lost on the way is found by polling."""
        self._waiting.add(channel)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Tell what is left."""
        if self._telling is not None:
            await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        while self._waiting:
            channels, self._waiting = self._waiting, set()
            try:
                for channel in channels:
                    await self._notify(channel)
            except DatabaseAway as error:
                logger.warning("rows not told of", extra={"error": type(error).__name__})
            await asyncio.sleep(_TELL_EVERY_S)


async def notify(database: Database, channel: str) -> None:
    """NOTIFY, committed."""
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_notify(%s, '')", (channel,))
