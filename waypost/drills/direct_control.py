"""How dependency-outage runs its control: requests of its own at the same times, faced with the same checks."""

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass

import httpx

from waypost.drills.control_arm import CONTROL_DOMAIN
from waypost.drills.fates import Fates, fates
from waypost.drills.report import Check
from waypost.drills.staging import Staging
from waypost.drills.waiting import until
from waypost.stack.layout import Stack
from waypost.stack.ports import free_port
from waypost.stack.process import HttpReady, ProcessSpec

_NAME = "naive-temporal"
_KEY = "DRILLDIRECT"
_TIMEOUT_S = 10.0
_PATIENCE_S = 20.0


def direct_process(stack: Stack) -> ProcessSpec:
    """The control's process, for a staging's supervisor."""
    port = free_port()
    (stack.options.data / "direct-port").write_text(str(port))
    arguments = {
        "--port": str(port),
        "--temporal": stack.environment["TEMPORAL_ADDRESS"],
        "--endpoint": stack.urls["simulators"],
        "--key": _KEY,
    }
    return ProcessSpec(
        name=_NAME,
        argv=(
            sys.executable,
            "-P",
            "-m",
            "waypost.drills.naive_temporal",
            *(x for pair in arguments.items() for x in pair),
        ),
        env={"PYTHONUNBUFFERED": "1"},
        ready=HttpReady(port=port),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to the control; `status` 0: no answer. Times are seconds."""

    recipient: str
    status: int
    took: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectOutcome:
    """What the control answered, and what became of what it accepted when calm."""

    calm: list[Asked]
    calm_fates: Fates
    stricken: list[Asked]

    def checks(self, ratio: float) -> list[Check]:
        """It must pass when calm, or it is a straw man; and fail under the condition, or the drill proves nothing."""
        calm = _refused(self.calm) + len(self.calm_fates.lost) + len(self.calm_fates.duplicated)
        refused, slower = _refused(self.stricken), _median(self.stricken) / _median(self.calm)
        return [
            Check(name="control when calm: not 202 + lost + duplicated", value=calm, bound="= 0", ok=calm == 0),
            Check(
                name="control with Temporal away: fails",
                value=f"{refused} not 202, median × {slower:.0f}",
                bound=f"any, or > {ratio:g}",
                ok=refused > 0 or slower > ratio,
            ),
        ]

    def figures(self) -> dict[str, object]:
        """In numbers."""
        return {
            "control calm": {
                **self.calm_fates.figures(),
                "not 202": _refused(self.calm),
                "median ms": _median(self.calm) * 1000,
            },
            "control stricken": {
                "asked": len(self.stricken),
                "not 202": _refused(self.stricken),
                "median ms": _median(self.stricken) * 1000,
            },
        }


def _refused(asked: list[Asked]) -> int:
    return sum(each.status != 202 for each in asked)


def _median(asked: list[Asked]) -> float:
    return statistics.median(each.took for each in asked) if asked else float("nan")


class DirectControl:
    """Sends to the control's API; each request once."""

    def __init__(self, staging: Staging, *, rate: float) -> None:
        self._staging = staging
        self._rate = rate
        port = int((staging.data / "direct-port").read_text())
        self._url = f"http://127.0.0.1:{port}"
        self._calm: list[Asked] = []
        self._stricken: list[Asked] = []

    async def calm(self, seconds: float) -> None:
        """Requests while all is well."""
        self._calm = await self._ask("calm", seconds)

    async def settle(self) -> None:
        """Wait until what was accepted when calm has arrived and Temporal knows it: the outage is to hit none of it."""
        accepted = [each.recipient for each in self._calm if each.status == 202]

        async def arrived() -> bool:
            return not fates(accepted, await asyncio.to_thread(self._staging.truth)).lost

        await until(arrived, patience_s=_PATIENCE_S, every_s=0.2)
        await asyncio.sleep(1)

    async def stricken(self, seconds: float) -> None:
        """Requests while Temporal is away."""
        self._stricken = await self._ask("stricken", seconds)

    async def outcome(self) -> DirectOutcome:
        """Compare what was accepted when calm with the provider's log."""
        accepted = [each.recipient for each in self._calm if each.status == 202]
        return DirectOutcome(
            calm=self._calm,
            calm_fates=fates(accepted, await asyncio.to_thread(self._staging.truth)),
            stricken=self._stricken,
        )

    async def _ask(self, run: str, seconds: float) -> list[Asked]:
        began = time.monotonic()
        asking: list[asyncio.Task[Asked]] = []
        async with httpx.AsyncClient(base_url=self._url, timeout=_TIMEOUT_S, trust_env=False) as http:
            while time.monotonic() - began < seconds:
                recipient = f"{run}-{len(asking)}{CONTROL_DOMAIN}"
                asking.append(asyncio.create_task(_post(http, recipient)))
                await asyncio.sleep(max(0.0, began + len(asking) / self._rate - time.monotonic()))
            return list(await asyncio.gather(*asking))


async def _post(http: httpx.AsyncClient, recipient: str) -> Asked:
    began = time.monotonic()
    try:
        status = (await http.post("/send", json={"to": recipient})).status_code
    except httpx.TransportError:
        status = 0
    return Asked(recipient, status, time.monotonic() - began)
