"""Connections on which PostgreSQL's `waypost_now()` is somebody else's time: for simulations."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.settings import DatabaseSettings
from waypost.store.database import Connection, Database, Role

Now = Callable[[], datetime]

_SET_NOW = "SELECT set_config('app.now', %s, true)"
_SET_NOW_SESSION = text("SELECT set_config('app.now', :now, true)")


class ClockedDatabase(Database):
    """A database that tells the clock's time to every transaction."""

    def __init__(self, settings: DatabaseSettings, role: Role, now: Now, *, size: int = 4) -> None:
        super().__init__(settings, role, size=size)
        self._now = now

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[Connection]:
        """One transaction at one simulated moment."""
        async with super().transaction(tenant) as connection:
            await connection.execute(_SET_NOW, (self._now().isoformat(),))
            yield connection

    @asynccontextmanager
    async def session(self, tenant: UUID | None = None) -> AsyncIterator[AsyncSession]:
        """The same as an SQLModel session."""
        async with super().session(tenant) as session:
            await (await session.connection()).execute(_SET_NOW_SESSION, {"now": self._now().isoformat()})
            yield session
