"""Things to do later, on one timer: a heap costs less than a loop timer for each of many events."""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count

TICK_SECONDS = 0.01
"""Events due within one tick leave together, so that a long poll returns several."""


class Schedule:
    """Runs callables at their monotonic time, in order; everything due within a tick at once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` about `seconds` from now; at once where it is not positive."""
        if seconds <= 0:
            action()
            return
        due = time.monotonic() + seconds
        heapq.heappush(self._heap, (due, next(self._order), action))
        if self._timer is None or self._heap[0][0] >= due:
            self._arm()

    def run_all(self) -> None:
        """Do everything now, in order, also what that schedules."""
        while self._heap:
            heapq.heappop(self._heap)[2]()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = max(TICK_SECONDS, self._heap[0][0] - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
        if self._heap:
            self._arm()
