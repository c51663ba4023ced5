"""The simulated clock: it stands still while something is done, and jumps to when something is due next."""

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

_TICK = timedelta(microseconds=1)
_TRIES = 5


class Clock:
    """What rows are told that it is. The time-skipping server's own clock is never behind it.

    What a machine takes for its work is not seen on this clock: a wait of two days ends to the millisecond after two
    days, and the same simulation tells the same times again.
    """

    def __init__(self, environment: WorkflowEnvironment) -> None:
        self._environment = environment
        self._now = datetime.fromtimestamp(0, UTC)
        self._behind = timedelta()

    def begin_at(self, start: datetime) -> None:
        """It is `start` now."""
        self._now, self._behind = start, timedelta()

    def now(self) -> datetime:
        """What time it is: each time that it is asked a little later, so that one thing comes after another."""
        self.set_to(self._now + _TICK)
        return self._now

    def set_to(self, moment: datetime) -> None:
        """It is `moment`, and no timer has noticed yet."""
        self._behind += moment - self._now
        self._now = moment

    async def move_to(self, moment: datetime) -> None:
        """Let the time pass; timers that are due by then fire, and what they lead to sees this moment."""
        self.set_to(max(moment, self._now))
        behind, self._behind = self._behind, timedelta()
        await self._sleep(behind)

    async def nudge(self, by: timedelta) -> None:
        """Let short timers fire that no row knows of; on this clock no time passes."""
        await self._sleep(by)

    async def _sleep(self, seconds: timedelta) -> None:
        """The server drops a connection now and then, for its time runs ahead of the connection's. Asked again it may
        be ahead of this clock: a timer that fires early finds nothing due, and rests on."""
        for _ in range(_TRIES):
            try:
                return await self._environment.sleep(seconds)
            except RPCError:
                await asyncio.sleep(0.05)
        return await self._environment.sleep(seconds)
