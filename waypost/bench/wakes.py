"""Wakes of enrollments by events, beside signals of bare executions at the same times. The load is open.

All times are of the machine's clock: when a wake was meant to be offered, and when its activity began; of an enrollment
the latter is the time of its decision's first statement.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from temporalio.client import Client

from waypost.bench.journey_arm import JourneyArm
from waypost.bench.journey_crowd import external_id
from waypost.bench.waiting_control import WaitingControl
from waypost.drills.waiting import until

_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds from each offer to its activity; what never came is missing."""

    offered: int
    seconds: Sequence[float] = field(repr=False)

    @property
    def missing(self) -> int:
        """Offers that led to nothing."""
        return self.offered - len(self.seconds)

    def at(self, percent: int) -> float:
        """A percentile."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[percent - 1]

    def figures(self) -> Mapping[str, float]:
        """In milliseconds."""
        return {name: round(self.at(percent) * 1000, 1) for name, percent in (("p50", 50), ("p99", 99))} | {
            "most": round(max(self.seconds) * 1000, 1)
        }


async def wakes(
    arm: JourneyArm, name: str, waiting: Sequence[int], *, count: int, per_s: float, bare: "Bare | None" = None
) -> tuple[Waits, Waits | None]:
    """Offer events of this name for those who wait for it, one after the other; and as many signals, where asked."""
    since = time.time()
    offered: dict[str, list[float]] = {}
    signalled: dict[int, float] = {}

    async def one(number: int, at: float) -> None:
        contact = waiting[number % len(waiting)]
        offered.setdefault(external_id(contact), []).append(at)
        event = {"id": f"wake-{uuid4()}", "contact": external_id(contact), "name": name, "properties": {"total": 12.5}}
        both: list[Awaitable[object]] = [arm.poster.post("/v1/events", event)]
        if bare is not None:
            signal = bare.first + number
            signalled[signal] = at
            both.append(bare.control.wake(bare.client, listener=number % bare.listeners, number=signal))
        await asyncio.gather(*both)

    await _offer(count, began=since + 0.5, every_s=1 / per_s, one=one)
    left = await _left(arm, since, offered)
    ours = Waits(offered=count, seconds=_waits(offered, left))
    if bare is None:
        return ours, None
    stamps = await _stamps(bare, signalled)
    return ours, Waits(
        offered=count, seconds=[stamps[number] - at for number, at in signalled.items() if number in stamps]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """The executions beside, so many that wait, and the first number that no stamp has yet."""

    control: WaitingControl
    client: Client
    listeners: int
    first: int


async def _offer(
    count: int, *, began: float, every_s: float, one: Callable[[int, float], Coroutine[Any, Any, None]]
) -> None:
    """At set times, whatever becomes of those before; each is told the time that was set."""
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            at = began + number * every_s
            await asyncio.sleep(max(0.0, at - time.time()))
            group.create_task(one(number, at))


async def _left(arm: JourneyArm, since: float, offered: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """When each contact's enrollment went on, once for each event; what is missing after some patience stays so."""

    async def all_left() -> bool:
        found = arm.ledger.left(since)
        return all(len(found.get(name, ())) >= len(times) for name, times in offered.items())

    await until(all_left, patience_s=_PATIENCE_S, every_s=0.5)
    return arm.ledger.left(since)


def _waits(offered: Mapping[str, Sequence[float]], left: Mapping[str, Sequence[float]]) -> list[float]:
    return [went - at for name, times in offered.items() for at, went in zip(times, left.get(name, ()), strict=False)]


async def _stamps(bare: Bare, signalled: Mapping[int, float]) -> dict[int, float]:
    async def all_there() -> bool:
        return signalled.keys() <= bare.control.stamps().keys()

    await until(all_there, patience_s=_PATIENCE_S, every_s=0.5)
    return bare.control.stamps()
