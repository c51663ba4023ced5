"""Kills a process at its points, one after the other, and counts only kills that interrupted work."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from waypost.drills.fault_points import FaultPoint, FaultPoints
from waypost.drills.waiting import FOREVER, until

_PATIENCE_S = 10.0
"""A point that nobody reaches in this time is passed over for now: there may be nothing to do."""


class Killer:
    """Arms one point at a time. `work` counts what the processes have committed so far."""

    def __init__(
        self,
        points: FaultPoints,
        schedule: Sequence[FaultPoint],
        *,
        times: int,
        work: Callable[[], Awaitable[int]],
        pause_s: float = 0.0,
    ) -> None:
        self._points = points
        self.schedule = schedule
        self._times = times
        self._work = work
        self._pause_s = pause_s
        self.hits: Counter[FaultPoint] = Counter()
        self.missed: Counter[FaultPoint] = Counter()
        """Armed in vain."""
        self.resumed: list[float] = []
        """Seconds from each kill until work was committed again."""
        self._killed_at: float | None = None

    @property
    def done(self) -> int:
        """Kills so far, of `wanted`."""
        return sum(min(self._times, self.hits[point]) for point in self.schedule)

    @property
    def wanted(self) -> int:
        """Kills in all."""
        return self._times * len(self.schedule)

    async def run(self) -> None:
        """Until every point was hit so many times."""
        while self.done < self.wanted:
            for point in self.schedule:
                if self.hits[point] < self._times:
                    await self._kill(point)

    async def _kill(self, point: FaultPoint) -> None:
        before = await self._work()

        async def worked() -> bool:
            return await self._work() > before

        await until(worked, patience_s=FOREVER)
        if self._killed_at is not None:
            self.resumed.append(time.monotonic() - self._killed_at)
            self._killed_at = None
        self._points.arm(point)
        if await self._is_hit(point):
            self.hits[point] += 1
            self._killed_at = time.monotonic()
        else:
            self.missed[point] += 1
        await asyncio.sleep(self._pause_s)

    async def _is_hit(self, point: FaultPoint) -> bool:
        async def hit() -> bool:
            return not self._points.is_armed(point)

        return await until(hit, patience_s=_PATIENCE_S) or not self._points.disarm(point)
