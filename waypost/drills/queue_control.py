"""The naive queue as a drill runs it: each part of pause-and-caps once when calm, once under its condition."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waypost.drills.control_arm import CONTROL_DOMAIN, CONTROL_KEY, NAIVE
from waypost.drills.naive_queue import CAP, PAGE, WORKERS, PageQueue
from waypost.drills.overtaking import BOUND_S
from waypost.drills.report import Check
from waypost.drills.staging import Staging
from waypost.drills.waiting import until
from waypost.stack.layout import Stack
from waypost.stack.process import ProcessSpec

_POLL_S = 0.05
_PATIENCE_S = 180.0
CALL_MS = 40.0
"""What a call takes at least; the provider's answer is delayed by so much."""
LONGER_CALL_MS = 100.0
"""Among a large campaign: eight workers then send no more than 80 a second, on any machine."""
PEOPLE = WORKERS * PAGE // 2
"""Two campaigns of so many have a worker for each page."""
PAUSED = 2 * WORKERS * PAGE
SMALL = 100
LARGE = int((BOUND_S + 3) * WORKERS * 1000 / LONGER_CALL_MS)
"""Takes three seconds longer than the small one may."""


def naive_queue_process(stack: Stack) -> ProcessSpec:
    """The control's process, for a staging's supervisor."""
    arguments = ("--jobs", str(_jobs_file(stack.options.data)), "--endpoint", stack.urls["simulators"])
    return ProcessSpec(
        name=NAIVE,
        argv=(sys.executable, "-P", "-m", "waypost.drills.naive_queue", *arguments, "--key", CONTROL_KEY),
        env={"PYTHONUNBUFFERED": "1"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRun:
    """The three parts under one weather."""

    over_the_cap: int
    """People who got more than the cap allows, of two campaigns to the same."""
    after_pause: int
    """Recipients of a paused campaign who were sent to after its pause, but for a call of each worker."""
    small_s: float
    """Until a campaign of 100 was fully sent."""
    astray: int
    """Recipients, of all parts, lost or reached twice by one campaign."""

    def figures(self) -> dict[str, object]:
        """In numbers."""
        return {
            "people over the cap": self.over_the_cap,
            "recipients after the pause": self.after_pause,
            "small fully sent after s": round(self.small_s, 2),
            "lost or doubled": self.astray,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueControlled:
    """Both."""

    calm: QueueRun
    stricken: QueueRun

    def checks(self) -> list[Check]:
        """Calm it must pass every one, or it is a straw man; under its condition it must fail each."""
        calm, stricken = self.calm, self.stricken
        return [
            _check("when calm: people over the cap", calm.over_the_cap, "= 0", calm.over_the_cap == 0),
            _check("when calm: recipients after the pause", calm.after_pause, "= 0", calm.after_pause == 0),
            _check("when calm: small fully sent after, s", calm.small_s, f"≤ {BOUND_S:g}", calm.small_s <= BOUND_S),
            _check("when calm: lost or doubled", calm.astray, "= 0", calm.astray == 0),
            _check("at the same second: people over the cap", stricken.over_the_cap, "> 0", stricken.over_the_cap > 0),
            _check(
                "paused at full rate: recipients after the pause",
                stricken.after_pause,
                "> 0",
                stricken.after_pause > 0,
            ),
            _check(
                "among a large one: small fully sent after, s",
                stricken.small_s,
                f"> {BOUND_S:g}",
                stricken.small_s > BOUND_S,
            ),
        ]

    def figures(self) -> dict[str, object]:
        """In numbers."""
        return {"control calm": self.calm.figures(), "control stricken": self.stricken.figures()}


def _check(name: str, value: float, bound: str, ok: bool) -> Check:
    return Check(name=f"control {name}", value=round(value, 2), bound=bound, ok=ok)


class QueueControl:
    """Runs the control beside Waypost, on an account of its own. One thing after the other: it has one queue."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._queue = PageQueue(_jobs_file(staging.data))

    async def run(self) -> QueueControlled:
        """Every part, calm and stricken."""
        try:
            slow = await self._delay(CALL_MS)
            caps = [await self._caps("calm", together=False), await self._caps("stricken", together=True)]
            pauses = [await self._pause_before_it_starts(), await self._pause_under_way()]
            await asyncio.to_thread(self._staging.control.remove_fault, slow)
            await self._delay(LONGER_CALL_MS)
            smalls = [await self._small_alone(), await self._small_among_large()]
        finally:
            self._queue.close()
        calm, stricken = [
            QueueRun(over_the_cap=cap, after_pause=after, small_s=small, astray=lost + astray)
            for cap, (after, lost), (small, astray) in zip(caps, pauses, smalls, strict=True)
        ]
        return QueueControlled(calm=calm, stricken=stricken)

    async def _delay(self, ms: float) -> int:
        faults = await asyncio.to_thread(self._staging.control.add_fault, fault="slow", ms=ms, account=CONTROL_KEY)
        return int(faults[-1]["id"])

    async def _caps(self, weather: str, *, together: bool) -> int:
        """Two campaigns to the same people, each of whom may get one; how many got more."""
        people = _addresses(f"{weather}-people", PEOPLE)
        if together:
            self._queue.add(people, people)
        else:
            self._queue.add(people)
            await self._finished()
            self._queue.add(people)
        await self._finished()
        got = Counter(entry["recipient"] for entry in await self._arrivals(people))
        return sum(times > CAP for times in got.values())

    async def _pause_before_it_starts(self) -> tuple[int, int]:
        people = _addresses("calm-paused", PAUSED)
        (campaign,) = self._queue.add(people, paused=True)
        return await self._look_and_resume(campaign, people, paused=time.time())

    async def _pause_under_way(self) -> tuple[int, int]:
        people, before = _addresses("stricken-paused", PAUSED), await self._accepted()
        (campaign,) = self._queue.add(people)

        await self._until_accepted(before + PAUSED // 10)
        self._queue.pause(campaign, paused=True)
        return await self._look_and_resume(campaign, people, paused=time.time())

    async def _look_and_resume(self, campaign: int, people: Sequence[str], *, paused: float) -> tuple[int, int]:
        await asyncio.sleep(PAGE * CALL_MS / 1000)
        resumed = time.time()
        after = sum(paused < entry["at"] < resumed for entry in await self._arrivals(people))
        self._queue.pause(campaign, paused=False)
        await self._finished()
        return max(0, after - WORKERS), _astray(people, await self._arrivals(people))

    async def _small_alone(self) -> tuple[float, int]:
        return await self._small(_addresses("calm-small", SMALL))

    async def _small_among_large(self) -> tuple[float, int]:
        large, before = _addresses("stricken-large", LARGE), await self._accepted()
        self._queue.add(large)
        await self._until_accepted(before + LARGE // 20)
        took_s, astray = await self._small(_addresses("stricken-small", SMALL))
        return took_s, astray + _astray(large, await self._arrivals(large))

    async def _small(self, people: Sequence[str]) -> tuple[float, int]:
        asked = time.time()
        self._queue.add(people)
        await self._finished()
        arrived = await self._arrivals(people)
        return max((entry["at"] for entry in arrived), default=float("inf")) - asked, _astray(people, arrived)

    async def _until_accepted(self, count: int) -> None:
        async def enough() -> bool:
            return await self._accepted() >= count

        await until(enough, patience_s=_PATIENCE_S, every_s=_POLL_S)

    async def _accepted(self) -> int:
        stats = await asyncio.to_thread(self._staging.control.stats)
        return sum(each["accepted"] for each in stats["accepted_by_account"] if each["account"] == CONTROL_KEY)

    async def _finished(self) -> None:
        async def empty() -> bool:
            return self._queue.unfinished() == 0

        await until(empty, patience_s=_PATIENCE_S, every_s=_POLL_S)

    async def _arrivals(self, people: Sequence[str]) -> list[dict[str, Any]]:
        log = await asyncio.to_thread(lambda: list(self._staging.control.log()))
        wanted = set(people)
        return [entry for entry in log if entry["account"] == CONTROL_KEY and entry["recipient"] in wanted]


def _addresses(name: str, count: int) -> list[str]:
    return [f"{name}-{number}{CONTROL_DOMAIN}" for number in range(count)]


def _astray(asked: Sequence[str], arrived: Sequence[dict[str, Any]]) -> int:
    times = Counter(entry["recipient"] for entry in arrived)
    return sum(times[address] != 1 for address in asked)


def _jobs_file(data: Path) -> Path:
    return data / "naive-queue.db"
