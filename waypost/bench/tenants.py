"""`waypost bench tenants`: hundreds of tenants in one process a lane, against bare Temporal on as many Workers."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from waypost.bench.arms import gather_bounded, median_ratio, until
from waypost.bench.control import BareControl
from waypost.bench.footprint import cpu_between, footprints
from waypost.drills.report import Report, at_least, at_most, environment
from waypost.settings import TemporalSettings
from waypost.stack.demo_tenant import SENDERS
from waypost.stack.running import RunningStack, ensured
from waypost.temporal.client import connect

RSS_BOUND_MB = 400
THREADS_BOUND = 800
IDLE_CPU_BOUND = 5.0
THROUGHPUT_BOUND = 0.7
FIRST_MESSAGE_BOUND_S = 3.0
WORKERS = ("worker fast", "worker bulk")

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    tenants: int = 300
    messages: int = 900
    rounds: int = 3
    at_once: int = 32
    idle_s: float = 20.0
    newcomers: int = 5


class TenantArm:
    """Many tenants, each with a key and a sender on the stack's SES test account."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        limits = httpx.Limits(max_connections=64)
        self._api = httpx.AsyncClient(base_url=stack.urls["api"], limits=limits, timeout=30, trust_env=False)
        self._simulators = httpx.AsyncClient(base_url=stack.urls["simulators"], timeout=30, trust_env=False)
        self._admin = {"authorization": f"Bearer {stack.admin_key}"}
        self.keys: list[str] = []

    async def add(self) -> str:
        """Make a tenant; its API key."""
        tenant = await self._post("/v1/tenants", {"name": f"bench {uuid4().hex[:8]}"})
        answer = await self._api.put(
            f"/v1/tenants/{tenant['id']}/senders/email", json=dict(SENDERS["email"]), headers=self._admin
        )
        answer.raise_for_status()
        key = await self._post(f"/v1/tenants/{tenant['id']}/keys", {"name": "bench", "mode": "test", "scopes": ["*"]})
        return str(key["key"])

    async def populate(self, count: int) -> None:
        """Make all tenants."""

        async def one(_: int) -> None:
            self.keys.append(await self.add())

        await gather_bounded(count, 4, one)

    async def send(self, key: str, number: int) -> None:
        """One message of the tenant that has this key."""
        answer = await self._api.post(
            "/v1/messages",
            json={
                "to": {"email": f"t-{number}@example.test"},
                "content": {"channel": "email", "subject": "Receipt {{ data.n }}", "html": "<p>{{ data.n }}</p>"},
                "data": {"n": number},
            },
            headers={"authorization": f"Bearer {key}"},
        )
        answer.raise_for_status()

    async def rate(self, *, count: int, at_once: int) -> float:
        """Messages a second over all tenants in turn, to the last arrival."""
        before = await self.arrived()
        began = time.perf_counter()
        keys = itertools.cycle(self.keys)
        await gather_bounded(count, at_once, lambda number: self.send(next(keys), number))
        await until(self._has_arrived(before + count))
        return count / (time.perf_counter() - began)

    async def first_message(self) -> float:
        """Seconds from the creation of a tenant to the arrival of its first message."""
        before = await self.arrived()
        began = time.perf_counter()
        await self.send(await self.add(), 0)
        await until(self._has_arrived(before + 1), every_s=0.01)
        return time.perf_counter() - began

    async def arrived(self) -> int:
        """How many messages the provider has taken."""
        return int((await self._simulators.get("/control/stats")).json()["accepted"])

    def _has_arrived(self, wanted: int) -> Callable[[], Awaitable[bool]]:
        async def has() -> bool:
            return await self.arrived() >= wanted

        return has

    async def close(self) -> None:
        """Close the connections."""
        await self._api.aclose()
        await self._simulators.aclose()

    async def _post(self, path: str, body: Mapping[str, object]) -> dict[str, object]:
        answer = await self._api.post(path, json=body, headers=self._admin)
        answer.raise_for_status()
        made: dict[str, object] = answer.json()
        return made


def run(plan: Plan, tell: Tell) -> Report:
    """Measure on a stack of its own that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        tell("starting the stack")
        with ensured(Path(own) / "stack") as stack:
            return asyncio.run(_measure(stack, plan, tell))


async def _measure(stack: RunningStack, plan: Plan, tell: Tell) -> Report:
    client = await connect(TemporalSettings.model_validate({"address": stack.environment["TEMPORAL_ADDRESS"]}))
    arm = TenantArm(stack)
    tell(f"making {plan.tenants} tenants")
    await arm.populate(plan.tenants)
    tell("a message on every queue")
    await arm.rate(count=plan.tenants, at_once=plan.at_once)
    tell(f"idle for {plan.idle_s:.0f} s")
    idle = await _idle_cpu(stack, plan.idle_s)
    firsts = [await arm.first_message() for _ in range(plan.newcomers)]
    ours, bare = [], []
    with BareControl(stack.environment, queues=plan.tenants) as control:
        await control.rate(client, count=plan.tenants, at_once=plan.at_once)
        for number in range(plan.rounds):
            ours.append(await arm.rate(count=plan.messages, at_once=plan.at_once))
            bare.append(await control.rate(client, count=plan.messages, at_once=plan.at_once))
            tell(f"round {number + 1}/{plan.rounds}: {ours[-1]:.1f}/s against {bare[-1]:.1f}/s bare")
    processes = footprints(stack.pid)
    await arm.close()
    figures: dict[str, object] = {
        "messages_per_s": [round(rate, 1) for rate in ours],
        "bare_executions_per_s": [round(rate, 1) for rate in bare],
        "first_message_s": [round(seconds, 2) for seconds in firsts],
    }
    checks = [
        at_least("messages a second over bare on as many Workers, median", median_ratio(ours, bare), THROUGHPUT_BOUND),
        at_most("a new tenant's first message, slowest, seconds", max(firsts), FIRST_MESSAGE_BOUND_S),
    ]
    for name in WORKERS:
        used = processes[name]
        checks += [
            at_most(f"{name}: memory, MB", round(used.rss / 1e6), RSS_BOUND_MB),
            at_most(f"{name}: threads", used.threads, THREADS_BOUND),
            at_most(f"{name}: idle CPU, % of a core", round(idle[name], 2), IDLE_CPU_BOUND),
        ]
    return Report(
        name="bench tenants",
        checks=tuple(checks),
        figures=figures,
        environment=environment(tenants=plan.tenants, messages=plan.messages, rounds=plan.rounds),
    )


async def _idle_cpu(stack: RunningStack, seconds: float) -> dict[str, float]:
    """CPU of each process while nothing is sent, % of a core."""
    await asyncio.sleep(5)
    before = footprints(stack.pid)
    await asyncio.sleep(seconds)
    return {name: used / seconds * 100 for name, used in cpu_between(before, footprints(stack.pid)).items()}
