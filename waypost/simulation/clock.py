"""The simulated clock, and connections on which PostgreSQL's `waypost_now()` is its time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.testing import WorkflowEnvironment

from waypost.settings import DatabaseSettings
from waypost.store.database import Connection, Database, Role

Now = Callable[[], Awaitable[datetime]]

_SET_NOW = "SELECT set_config('app.now', %s, true)"
_SET_NOW_SESSION = text("SELECT set_config('app.now', :now, true)")


class Clock:
    """The time-skipping server's time, moved so that the simulation begins when it is to."""

    def __init__(self, environment: WorkflowEnvironment) -> None:
        self._environment = environment
        self._moved = timedelta()

    async def begin_at(self, start: datetime) -> None:
        """It is `start` now."""
        self._moved = start - await self._environment.get_current_time()

    async def now(self) -> datetime:
        """What time it is."""
        return await self._environment.get_current_time() + self._moved

    async def move_to(self, moment: datetime) -> None:
        """Let the time pass; what is due meanwhile is done at its own time."""
        left = moment - await self.now()
        if left > timedelta():
            await self._environment.sleep(left)


class ClockedDatabase(Database):
    """A database that tells the clock's time to every transaction."""

    def __init__(self, settings: DatabaseSettings, role: Role, now: Now, *, size: int = 4) -> None:
        super().__init__(settings, role, size=size)
        self._now = now

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[Connection]:
        """One transaction at one simulated moment."""
        now = await self._now()
        async with super().transaction(tenant) as connection:
            await connection.execute(_SET_NOW, (now.isoformat(),))
            yield connection

    @asynccontextmanager
    async def session(self, tenant: UUID | None = None) -> AsyncIterator[AsyncSession]:
        """The same as an SQLModel session."""
        now = await self._now()
        async with super().session(tenant) as session:
            await (await session.connection()).execute(_SET_NOW_SESSION, {"now": now.isoformat()})
            yield session
