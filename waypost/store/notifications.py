"""Being told by PostgreSQL: LISTEN with reconnection. A notification is a hint; whoever is told re-reads the rows."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from psycopg import sql

from waypost.store.database import Database, DatabaseAway

logger = logging.getLogger(__name__)

READY_CHANNEL = "waypost_ready"
TENANTS_CHANNEL = "waypost_tenants"
OUTBOX_CHANNEL = "waypost_outbox"

_RECONNECT_S = 0.5


async def listen(database: Database, channels: Sequence[str], told: Callable[[str], None]) -> None:
    """Call `told(channel)` on each notification, and for every channel after each (re)connection; runs for ever."""
    while True:
        try:
            await _listen_once(database, channels, told)
        except DatabaseAway as error:
            logger.warning("listening interrupted", extra={"error": type(error).__name__})
        await asyncio.sleep(_RECONNECT_S)


async def _listen_once(database: Database, channels: Sequence[str], told: Callable[[str], None]) -> None:
    async with database.connection() as connection:
        await connection.set_autocommit(True)
        try:
            for channel in channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            for channel in channels:
                told(channel)
            async for notification in connection.notifies():
                told(notification.channel)
        finally:
            if not connection.closed:
                await connection.close()  # a listening connection does not go back to the pool
