"""The runner of the relay's loops: each does a bounded piece of work, again and again, and never dies of an error."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from waypost.store.database import DatabaseAway

logger = logging.getLogger(__name__)

_AWAY_S = 0.5
_BUSY_S = 0.02
_BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One loop. `work` returns whether more waits, so that it goes on at once; `told` cuts a pause short."""

    name: str
    interval_s: float
    work: Callable[[], Awaitable[bool]]
    told: asyncio.Event = field(default_factory=asyncio.Event)


async def run_loops(loops: Sequence[Loop]) -> None:
    """Run them side by side until cancelled."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(_run(loop), name=f"loop {loop.name}")


async def _run(loop: Loop) -> None:
    # Processes that start together need not look at the same rows at the same time.
    await _pause(loop, random.uniform(0, loop.interval_s))  # noqa: S311 - no secret
    failures = 0
    while True:
        try:
            pause = _BUSY_S if await loop.work() else loop.interval_s * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
            failures = 0
        except DatabaseAway as error:
            pause = _AWAY_S
            logger.warning("loop paused", extra=_facts(loop, error))
        except Exception as error:
            pause = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
            failures += 1
            logger.error("loop failed", extra=_facts(loop, error))
        await _pause(loop, pause)


async def _pause(loop: Loop, seconds: float) -> None:
    try:
        await asyncio.wait_for(loop.told.wait(), seconds)
    except TimeoutError:
        return
    loop.told.clear()


def _facts(loop: Loop, error: Exception) -> dict[str, str]:
    """Types only: an exception's text may carry an address."""
    return {"loop": loop.name, "error": type(error).__name__}
