"""Interleaved arms and their ratios: a noisy machine is noisy for both."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence


async def gather_bounded(count: int, at_once: int, one: Callable[[int], Awaitable[None]]) -> None:
    """Run `one(0) … one(count - 1)`, at most `at_once` at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(work() for _ in range(at_once)))


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


async def until(done: Callable[[], Awaitable[bool]], *, timeout_s: float = 180.0, every_s: float = 0.02) -> None:
    """Ask again and again until it is so; what is waited for happens in another process. Raises TimeoutError."""
    give_up = time.monotonic() + timeout_s
    while not await done():
        if time.monotonic() > give_up:
            raise TimeoutError(f"not done after {timeout_s:.0f} s")
        await asyncio.sleep(every_s)
