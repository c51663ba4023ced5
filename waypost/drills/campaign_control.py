"""The naive campaigns as a drill runs them: their process in the staging, two calm ones, two under the condition."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from waypost.drills.control_arm import CONTROL_DOMAIN, CONTROL_KEY, NAIVE, Control, ControlRun
from waypost.drills.fates import fates
from waypost.drills.naive_campaigns import Campaigns
from waypost.drills.staging import Staging
from waypost.drills.waiting import until
from waypost.stack.layout import Stack
from waypost.stack.process import ProcessSpec

_POLL_S = 0.2


def naive_campaigns_process(watchdog_s: float) -> Callable[[Stack], ProcessSpec]:
    """The control's process, for a staging's supervisor."""

    def process(stack: Stack) -> ProcessSpec:
        jobs = str(_jobs_file(stack.options.data))
        arguments = ("--jobs", jobs, "--endpoint", stack.urls["simulators"], "--key", CONTROL_KEY)
        module = (sys.executable, "-P", "-m", "waypost.drills.naive_campaigns")
        return ProcessSpec(
            name=NAIVE, argv=(*module, *arguments, "--watchdog", str(watchdog_s)), env={"PYTHONUNBUFFERED": "1"}
        )

    return process


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlan:
    """Recipients a campaign, and kills while the provider is slow. Times are seconds."""

    recipients: int
    kills: int
    kill_every_s: float
    slow_ms: float
    watchdog_s: float
    """Longer than a calm campaign takes, shorter than a slow one."""
    patience_s: float


class CampaignControl:
    """Runs the control beside Waypost, on an account of its own."""

    def __init__(self, staging: Staging, plan: ControlPlan) -> None:
        self._staging = staging
        self._plan = plan
        self._campaigns = Campaigns(_jobs_file(staging.data))

    async def run(self) -> Control:
        """Two campaigns at the same moment when calm; then two with a slow provider, while the process is killed."""
        try:
            calm = await self._outcome(self._schedule("calm"))
            slow = {"fault": "slow", "ms": self._plan.slow_ms, "account": CONTROL_KEY}
            await asyncio.to_thread(self._staging.control.add_fault, **slow)
            addresses = self._schedule("stricken")
            kills = asyncio.create_task(self._kill())
            stricken = await self._outcome(addresses)
            return Control(calm=calm, stricken=stricken, kills=await kills)
        finally:
            self._campaigns.close()

    def _schedule(self, run: str) -> list[str]:
        both = [
            [f"{run}-{name}-{number}{CONTROL_DOMAIN}" for number in range(self._plan.recipients)]
            for name in ("one", "two")
        ]
        for addresses in both:
            self._campaigns.add(addresses)
        return [address for addresses in both for address in addresses]

    async def _kill(self) -> int:
        kills = 0
        while kills < self._plan.kills and self._campaigns.unfinished():
            await asyncio.sleep(self._plan.kill_every_s)
            await self._staging.restart(NAIVE)
            kills += 1
        return kills

    async def _outcome(self, addresses: list[str]) -> ControlRun:
        async def finished() -> bool:
            return self._campaigns.unfinished() == 0

        await until(finished, patience_s=self._plan.patience_s, every_s=_POLL_S)
        log = await asyncio.to_thread(self._staging.truth)
        return ControlRun(fates=fates(addresses, log), unfinished=self._campaigns.unfinished())


def _jobs_file(data: Path) -> Path:
    return data / "naive-campaigns.db"
