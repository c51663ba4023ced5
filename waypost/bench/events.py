"""`waypost bench events`: contacts' events over the API against their rows alone, and how soon they wake who waits."""

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waypost.bench.arms import gather_bounded, median_ratio
from waypost.bench.event_rows import BareRows
from waypost.bench.footprint import cpu_between, footprints
from waypost.bench.journey_arm import BATCH, JourneyArm, batch
from waypost.bench.journey_documents import AWAITED, PURCHASE, WAITING
from waypost.bench.statements import owner_conninfo
from waypost.bench.waiting_control import WaitingControl
from waypost.bench.wakes import Bare, Waits, wakes
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.settings import TemporalSettings
from waypost.stack.running import RunningStack, ensured
from waypost.temporal.client import connect

RATE_BOUND = 0.5
WAKE_BOUND = 1.5
WAKE_BOUND_S = 2.0

NAMES = ("viewed", "searched", "added", AWAITED, "rated")
PROPERTIES: Mapping[str, Any] = {"order": "A-10023", "total": 12.5, "currency": "EUR", "items": ["A-1", "B-2"]}

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. Of the events' names every fifth is the awaited one."""

    contacts: int = 100_000
    waiting: int = 1_000
    rounds: int = 5
    batches: int = 60
    """A round and arm, of 500 events each."""
    at_once: int = 2
    """Requests, or statements, at a time."""
    wakes: int = 1_500
    beside_per_s: float = 10.0
    """Wakes a second while as many bare executions are signalled at the same times."""
    alone_per_s: float = 20.0


@dataclass(frozen=True, kw_only=True)
class _Rates:
    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Woken:
    beside: Waits
    bare: Waits
    alone: Waits


def run(data: Path | None, plan: Plan, tell: Tell) -> Report:
    """Measure on the stack of `data`, or on one of its own that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        where = environment(contacts=plan.contacts, waiting=plan.waiting, rounds=plan.rounds, at_once=plan.at_once)
        tell("starting the stack")
        with ensured(data or Path(own) / "stack") as stack:
            rates, woken = asyncio.run(_measure(stack, plan, tell))
    return _report(plan, rates, woken, where)


async def _measure(stack: RunningStack, plan: Plan, tell: Tell) -> tuple[_Rates, _Woken]:
    async with JourneyArm(stack) as arm:
        tell(f"{plan.contacts} contacts, of whom {plan.waiting} begin to wait")
        arm.ledger.gather(plan.contacts)
        waiting = range(0, plan.contacts, plan.contacts // plan.waiting)[: plan.waiting]
        await arm.publish(WAITING)
        await arm.join(waiting, {})
        await arm.until_resting(PURCHASE, len(waiting))
        try:
            rates = await _rates(stack, arm, plan, tell)
            return rates, await _wakes(stack, arm, waiting, plan, tell)
        finally:
            await arm.archive(WAITING["journey"])


async def _rates(stack: RunningStack, arm: JourneyArm, plan: Plan, tell: Tell) -> _Rates:
    rates, people = _Rates(), _crowds(plan)
    async with BareRows(owner_conninfo(stack), tenant=arm.tenant, connections=plan.at_once) as bare:
        for number in range(plan.rounds + 1):
            bodies = [batch(f"r{number}-{place}", next(people), NAMES, PROPERTIES) for place in range(plan.batches)]
            rows = [bare.rows(next(people), NAMES, PROPERTIES) for _ in range(plan.batches)]
            before = footprints(stack.pid)
            ours = await _posted(arm, bodies, at_once=plan.at_once)
            cpu = cpu_between(before, footprints(stack.pid))
            await arm.until_told()
            alone = await bare.rate(rows)
            if number > 0:  # the first warms up
                rates.ours.append(ours)
                rates.bare.append(alone)
                _add(rates.cpu, cpu)
                tell(f"round {number}/{plan.rounds}: {ours:.0f} events/s against {alone:.0f} rows/s")
    return rates


def _crowds(plan: Plan) -> Iterator[Sequence[int]]:
    """Who does something, batch after batch: anybody of all."""
    chance = random.Random(1)
    while True:
        yield [chance.randrange(plan.contacts) for _ in range(BATCH)]


async def _posted(arm: JourneyArm, bodies: Sequence[bytes], *, at_once: int) -> float:
    """Events a second, from the first request to the last answer."""
    began = asyncio.get_running_loop().time()

    async def post(number: int) -> None:
        await arm.poster.post("/v1/events/batch", bodies[number])

    await gather_bounded(len(bodies), at_once, post)
    return len(bodies) * BATCH / (asyncio.get_running_loop().time() - began)


async def _wakes(stack: RunningStack, arm: JourneyArm, waiting: Sequence[int], plan: Plan, tell: Tell) -> _Woken:
    client = await connect(TemporalSettings(address=stack.environment["TEMPORAL_ADDRESS"]))
    with WaitingControl(stack.environment, queues=arm.ledger.queues()) as control:
        tell("as many bare executions begin to wait")
        await control.start_listeners(client, len(waiting))
        try:
            bare = Bare(control=control, client=client, listeners=len(waiting), first=0)
            tell("warming up")
            await wakes(arm, AWAITED, waiting, count=len(waiting) // 5, per_s=plan.beside_per_s, bare=bare)
            tell(f"{plan.wakes} wakes, {plan.beside_per_s:g} a second, beside as many signals")
            again = Bare(control=control, client=client, listeners=len(waiting), first=len(waiting))
            beside, alone = await wakes(arm, AWAITED, waiting, count=plan.wakes, per_s=plan.beside_per_s, bare=again)
        finally:
            await control.end_listeners(client, len(waiting))
    assert alone is not None
    tell(f"{plan.wakes} wakes, {plan.alone_per_s:g} a second")
    fast, _ = await wakes(arm, AWAITED, waiting, count=plan.wakes, per_s=plan.alone_per_s)
    return _Woken(beside=beside, bare=alone, alone=fast)


def _report(plan: Plan, rates: _Rates, woken: _Woken, where: Mapping[str, object]) -> Report:
    share = median_ratio(rates.ours, rates.bare)
    checks: tuple[Check, ...] = (
        at_least("events a second over bare rows a second, median of pairs", round(share, 2), RATE_BOUND),
        equals("wakes that never came", woken.beside.missing + woken.alone.missing, 0),
        at_most(
            f"p99 of {plan.beside_per_s:g} wakes a second over that of bare signals at the same times",
            round(woken.beside.at(99) / woken.bare.at(99), 2),
            WAKE_BOUND,
        ),
        at_most(f"p99 of {plan.alone_per_s:g} wakes a second, s", round(woken.alone.at(99), 3), WAKE_BOUND_S),
    )
    figures: dict[str, object] = {
        "events_per_s": [round(rate) for rate in rates.ours],
        "bare_rows_per_s": [round(rate) for rate in rates.bare],
        "cpu_us_per_event": _per(rates.cpu, plan.rounds * plan.batches * BATCH),
        "wake_ms": woken.beside.figures(),
        "bare_signal_ms_at_the_same_times": woken.bare.figures(),
        f"wake_ms_at_{plan.alone_per_s:g}_a_second": woken.alone.figures(),
    }
    return Report(name="bench events", checks=checks, figures=figures, environment=where)


def _per(cpu: Mapping[str, float], events: int) -> dict[str, int]:
    return {name: round(s * 1e6 / events) for name, s in sorted(cpu.items()) if s > 0.05}


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds
