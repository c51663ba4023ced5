"""`waypost bench transactional`: what Waypost costs over bare Temporal, on one dev server, in one run.

Arms are interleaved: the same number of messages through `POST /v1/messages`, and of bare executions of one no-op
activity, each from the first start to the last arrival. Feedback is on throughout.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from waypost.bench.arms import median_ratio
from waypost.bench.control import BareControl
from waypost.bench.footprint import cpu_between, footprints
from waypost.bench.statements import StatementCount
from waypost.bench.waypost_arm import WaypostArm
from waypost.drills.report import Check, Report, at_least, at_most, environment
from waypost.settings import TemporalSettings
from waypost.stack.running import RunningStack, ensured
from waypost.temporal.client import connect

THROUGHPUT_BOUND = 0.7
LATENCY_BOUND = 1.5
EVENTS_BOUND = 2

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    count: int = 600
    at_once: int = 32
    idle: int = 100
    warm_up: int = 300


@dataclass(frozen=True, kw_only=True)
class _Rates:
    waypost: list[float]
    bare: list[float]
    cpu_waypost: dict[str, float]
    cpu_bare: dict[str, float]


async def measure(stack: RunningStack, plan: Plan, tell: Tell) -> Report:
    """Run all arms against a running stack."""
    client = await connect(TemporalSettings.model_validate(_temporal(stack)))
    with BareControl(stack.environment) as bare:
        async with WaypostArm(stack) as waypost:
            tell("warming up")
            await waypost.rate(count=plan.warm_up, at_once=plan.at_once)
            await bare.rate(client, count=plan.warm_up, at_once=plan.at_once)
            idle = await _idle(waypost, bare, client, plan, tell)
            rates = await _throughput(stack, waypost, bare, client, plan, tell)
            tell("counting history events and statements")
            events = await _history(waypost, bare, client)
            statements = await _statements(stack, waypost, plan)
    return _report(plan, idle, rates, events, statements)


def run(data: Path | None, plan: Plan, tell: Tell) -> Report:
    """Measure on the stack of `data`, or on one of its own that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        tell("starting the stack")
        with ensured(data or Path(own) / "stack") as stack:
            return asyncio.run(measure(stack, plan, tell))


async def _idle(
    waypost: WaypostArm, bare: BareControl, client: Client, plan: Plan, tell: Tell
) -> tuple[list[float], list[float]]:
    """One at a time, in turn: seconds to arrival, and of a bare execution to its result."""
    ours, theirs = [], []
    for number in range(plan.idle):
        ours.append(await waypost.latency(number))
        await asyncio.sleep(0.05)
        theirs.append(await bare.run(client))
        await asyncio.sleep(0.05)
        if number % 20 == 0:
            tell(f"idle latency {number}/{plan.idle}")
    return ours, theirs


async def _throughput(
    stack: RunningStack, waypost: WaypostArm, bare: BareControl, client: Client, plan: Plan, tell: Tell
) -> _Rates:
    rates = _Rates(waypost=[], bare=[], cpu_waypost={}, cpu_bare={})
    for number in range(plan.rounds):
        before = footprints(stack.pid, bare.pid)
        rates.waypost.append(await waypost.rate(count=plan.count, at_once=plan.at_once))
        between = footprints(stack.pid, bare.pid)
        rates.bare.append(await bare.rate(client, count=plan.count, at_once=plan.at_once))
        after = footprints(stack.pid, bare.pid)
        _add(rates.cpu_waypost, cpu_between(before, between))
        _add(rates.cpu_bare, cpu_between(between, after))
        tell(f"round {number + 1}/{plan.rounds}: {rates.waypost[-1]:.1f}/s against {rates.bare[-1]:.1f}/s bare")
    return rates


async def _history(waypost: WaypostArm, bare: BareControl, client: Client) -> tuple[int, int]:
    """History events of one message's execution, and of a bare one."""
    message = await waypost.sent(0)
    ours = client.get_workflow_handle(f"message/{message}")
    await ours.result()
    await bare.run(client)
    theirs = [each async for each in client.list_workflows(f"WorkflowId STARTS_WITH '{bare.prefix}/'", limit=1)]
    bare_handle = client.get_workflow_handle(theirs[0].id)
    return len((await ours.fetch_history()).events), len((await bare_handle.fetch_history()).events)


async def _statements(stack: RunningStack, waypost: WaypostArm, plan: Plan) -> dict[str, float]:
    """SQL statements a message by role, from the server's own log, with feedback; at the load of a round."""
    await asyncio.sleep(2)  # the events of the last round
    with StatementCount(stack) as count:
        await waypost.rate(count=plan.warm_up, at_once=plan.at_once)
        await asyncio.sleep(3)
    return count.per(plan.warm_up)


def _report(
    plan: Plan,
    idle: tuple[list[float], list[float]],
    rates: _Rates,
    events: tuple[int, int],
    statements: dict[str, float],
) -> Report:
    ratio = median_ratio(rates.waypost, rates.bare)
    p50, p50_bare = (statistics.median(seconds) * 1000 for seconds in idle)
    messages = plan.count * plan.rounds
    figures: dict[str, object] = {
        "messages_per_s": [round(rate, 1) for rate in rates.waypost],
        "bare_executions_per_s": [round(rate, 1) for rate in rates.bare],
        "idle_p50_ms": p50,
        "bare_idle_p50_ms": p50_bare,
        "history_events": events[0],
        "bare_history_events": events[1],
        "sql_statements_per_message": statements,
        "cpu_ms_per_message": _per(rates.cpu_waypost, messages),
        "cpu_ms_per_bare_execution": _per(rates.cpu_bare, messages),
    }
    checks: tuple[Check, ...] = (
        at_least("messages a second over bare executions a second, median of pairs", ratio, THROUGHPUT_BOUND),
        at_most("idle p50 over the bare execution's p50", p50 / p50_bare, LATENCY_BOUND),
        at_most("history events more than bare", events[0] - events[1], EVENTS_BOUND),
    )
    return Report(
        name="bench transactional",
        checks=checks,
        figures=figures,
        environment=environment(rounds=plan.rounds, count=plan.count, at_once=plan.at_once),
    )


def _per(cpu: dict[str, float], count: int) -> dict[str, float]:
    return {name: round(seconds * 1000 / count, 2) for name, seconds in sorted(cpu.items()) if seconds > 0.01}


def _add(total: dict[str, float], more: dict[str, float]) -> None:
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds


def _temporal(stack: RunningStack) -> dict[str, str]:
    return {"address": stack.environment["TEMPORAL_ADDRESS"]}
