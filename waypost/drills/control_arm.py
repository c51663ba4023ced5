"""The naive control as a drill runs it: its process in the staging, a calm run, and one under the condition."""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waypost.drills.fates import Fates, fates
from waypost.drills.fault_points import FOLDER_VARIABLE, WORKER_POINTS, FaultPoints
from waypost.drills.killer import Killer
from waypost.drills.naive import Jobs
from waypost.drills.report import Check
from waypost.drills.staging import Staging
from waypost.drills.waiting import until
from waypost.stack.layout import Stack
from waypost.stack.process import ProcessSpec

NAIVE = "naive"
CONTROL_KEY = "DRILLNAIVE"
CONTROL_DOMAIN = "@control.test"
_RATE = 20.0


def is_ours(recipient: str) -> bool:
    """Whether it is not the control's."""
    return not recipient.endswith(CONTROL_DOMAIN)


def naive_process(stack: Stack) -> ProcessSpec:
    """The control's process, for a staging's supervisor."""
    data = stack.options.data
    arguments = ("--jobs", str(_jobs_file(data)), "--endpoint", stack.urls["simulators"], "--key", CONTROL_KEY)
    return ProcessSpec(
        name=NAIVE,
        argv=(sys.executable, "-P", "-m", "waypost.drills.naive", *arguments),
        env={FOLDER_VARIABLE: str(_points_folder(data)), "PYTHONUNBUFFERED": "1"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRun:
    """One run of the control: what became of its messages, and how many it never finished."""

    fates: Fates
    unfinished: int

    @property
    def failures(self) -> int:
        """What the checks count."""
        return len(self.fates.lost) + len(self.fates.duplicated) + self.unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Both runs of the control."""

    calm: ControlRun
    stricken: ControlRun
    kills: int

    def checks(self) -> list[Check]:
        """It must pass when calm, or it is a straw man; and fail under the condition, or the drill proves nothing."""
        calm, stricken = self.calm.failures, self.stricken.failures
        return [
            Check(name="control when calm: lost + duplicated + unfinished", value=calm, bound="= 0", ok=calm == 0),
            Check(
                name="control under the condition: lost + duplicated + unfinished",
                value=stricken,
                bound="> 0",
                ok=stricken > 0,
            ),
        ]

    def figures(self) -> dict[str, object]:
        """In numbers."""
        return {
            "control calm": {**self.calm.fates.figures(), "unfinished": self.calm.unfinished},
            "control stricken": {
                **self.stricken.fates.figures(),
                "unfinished": self.stricken.unfinished,
                "kills": self.kills,
            },
        }


class ControlArm:
    """Runs the control beside Waypost, on an account of its own: faults of one do not touch the other."""

    def __init__(self, staging: Staging, *, messages: int, kills_per_point: int, patience_s: float) -> None:
        self._staging = staging
        self._messages = messages
        self._kills_per_point = kills_per_point
        self._patience_s = patience_s
        self._jobs = Jobs(_jobs_file(staging.data))

    async def run(self, faults: Iterable[Mapping[str, Any]]) -> Control:
        """Calm first, then under these faults of its account, and killed at every point."""
        try:
            calm = await self._calm()
            for fault in faults:
                await asyncio.to_thread(self._staging.control.add_fault, **fault, account=CONTROL_KEY)
            return await self._stricken(calm)
        finally:
            self._jobs.close()

    async def _calm(self) -> ControlRun:
        recipients = [f"calm-{number}{CONTROL_DOMAIN}" for number in range(self._messages)]
        self._jobs.add(recipients)
        return await self._outcome(recipients)

    async def _stricken(self, calm: ControlRun) -> Control:
        killer = Killer(
            FaultPoints(_points_folder(self._staging.data)),
            WORKER_POINTS,
            times=self._kills_per_point,
            work=self._tries,
        )
        killing = asyncio.create_task(killer.run())
        recipients: list[str] = []
        while len(recipients) < self._messages or not killing.done():
            recipients.append(f"stricken-{len(recipients)}{CONTROL_DOMAIN}")
            self._jobs.add(recipients[-1:])
            await asyncio.sleep(1 / _RATE)
        await killing
        return Control(calm=calm, stricken=await self._outcome(recipients), kills=killer.done)

    async def _tries(self) -> int:
        return self._jobs.tries()

    async def _finished(self) -> bool:
        return self._jobs.unfinished() == 0

    async def _outcome(self, recipients: list[str]) -> ControlRun:
        await until(self._finished, patience_s=self._patience_s)
        log = await asyncio.to_thread(self._staging.truth)
        return ControlRun(fates=fates(recipients, log), unfinished=self._jobs.unfinished())


def _jobs_file(data: Path) -> Path:
    return data / "naive.db"


def _points_folder(data: Path) -> Path:
    return data / "faults" / NAIVE
