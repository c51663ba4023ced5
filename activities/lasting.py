"""What lasts in an activity: heartbeats, provider calls that run to their end, records that must be committed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from temporalio import activity

from waypost.store.database import DatabaseAway

RECORD_PATIENCE_S = 8.0
"""So long the answer of a provider is held in hand while PostgreSQL is away, before it is left to evidence: less than
`record_grace_s`, after which the reconcile loop takes the worker for dead."""
_RECORD_AGAIN_S = 0.5

BEAT_EVERY_S = 1.0
"""An activity that still runs after this says so; one that does not take that long costs Temporal nothing."""

T = TypeVar("T")


@contextmanager
def beating() -> Iterator[None]:
    """Heartbeats while the block runs: by their absence Temporal notices within seconds that a worker was killed."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def beat() -> None:
        nonlocal timer
        activity.heartbeat()
        timer = loop.call_later(BEAT_EVERY_S, beat)

    timer = loop.call_later(BEAT_EVERY_S, beat)
    try:
        yield
    finally:
        timer.cancel()


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Claim, call and record run to their end, whoever cancels the activity meanwhile: a deploy makes no unknowns."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def write_down(commit: Callable[[], Awaitable[T]]) -> T:
    """Commit the reply that is in hand, as long as it takes: without it the attempt would be unknown."""
    give_up_at = time.monotonic() + RECORD_PATIENCE_S
    while True:
        try:
            return await commit()
        except DatabaseAway:
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(_RECORD_AGAIN_S)
