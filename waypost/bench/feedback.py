"""`waypost bench feedback`: events a second from the provider's feed to the ledger, against one transaction an event.

One run on one machine, arms in turn: `ingest` of a running stack, reading what waits in an account's queue; and a route
that verifies, stores and applies each event in a transaction of its own.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from waypost.bench.arms import median_ratio
from waypost.bench.feedback_arms import EVENTS_EACH, ControlArm, IngestArm, Subject, make_subject
from waypost.bench.feedback_ledger import Lags, Ledger
from waypost.bench.footprint import cpu_between, footprints
from waypost.bench.statements import StatementCount, owner_conninfo
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.simulators.control_client import ControlClient
from waypost.stack.running import RunningStack, ensured

RATE_BOUND = 5.0
STATEMENTS_BOUND = 0.3
LAG_BOUND_S = 5.0
STEADY_SHARE = 0.6

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. Messages have two events each."""

    rounds: int = 3
    messages: int = 10_000
    control_messages: int = 2_000
    steady_s: float = 30.0
    counted_s: float = 8.0
    """How long statements are counted; the server logs each of them meanwhile."""
    warm_up: int = 500


@dataclass(frozen=True, kw_only=True)
class _Rounds:
    ingest: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    control_cpu: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Found:
    rounds: _Rounds
    lags: Lags
    steady_rate: float
    statements: Mapping[str, float]
    events: int
    complete: int
    messages: int


def run(data: Path | None, plan: Plan, tell: Tell) -> Report:
    """Measure on the stack of `data`, or on one of its own that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        where = environment(rounds=plan.rounds, messages=plan.messages, control_messages=plan.control_messages)
        tell("starting the stack")
        with ensured(data or Path(own) / "stack") as stack:
            found = _measure(stack, plan, tell)
    return _report(plan, found, where)


def _measure(stack: RunningStack, plan: Plan, tell: Tell) -> _Found:
    subject = asyncio.run(make_subject(stack))
    ledger = Ledger(owner_conninfo(stack), tenant=subject.tenant, account=subject.account)
    control = ControlClient(stack.urls["simulators"])
    try:
        return _arms(stack, plan, tell, subject, ledger, IngestArm(stack, control, ledger, subject))
    finally:
        control.close()
        ledger.close()


def _arms(stack: RunningStack, plan: Plan, tell: Tell, subject: Subject, ledger: Ledger, ingest: IngestArm) -> _Found:
    since = ledger.last_event()
    rounds = _rounds(stack, plan, tell, ControlArm(owner_conninfo(stack), ledger, subject), ingest)
    wanted = STEADY_SHARE * statistics.median(rounds.ingest)
    tell(f"live: {wanted:.0f} events a second for {plan.steady_s:.0f} s")
    before = ledger.last_event()
    steady = ingest.steady("steady", events_per_s=wanted, seconds=plan.steady_s)
    lags = ledger.lags(before)
    tell("counting statements")
    with StatementCount(stack) as count:
        counted = ingest.steady("counted", events_per_s=wanted, seconds=plan.counted_s)
    words = [*(f"round{number}" for number in range(plan.rounds)), "steady", "counted"]
    return _Found(
        rounds=rounds,
        lags=lags,
        steady_rate=wanted,
        statements=count.per(counted * EVENTS_EACH),
        events=ledger.applied(since),
        complete=sum(ledger.delivered(word) for word in words),
        messages=plan.rounds * plan.messages + steady + counted,
    )


def _rounds(stack: RunningStack, plan: Plan, tell: Tell, control: ControlArm, ingest: IngestArm) -> _Rounds:
    rounds = _Rounds()
    with control:
        tell("warming up")
        ingest.rate("warm", plan.warm_up)
        asyncio.run(control.rate("controlwarm", plan.warm_up))
        for number in range(plan.rounds):
            before = footprints(stack.pid, control.pid)
            rounds.ingest.append(ingest.rate(f"round{number}", plan.messages))
            between = footprints(stack.pid, control.pid)
            rounds.control.append(asyncio.run(control.rate(f"control{number}", plan.control_messages)))
            _add(rounds.cpu, cpu_between(before, between))
            _add(rounds.control_cpu, cpu_between(between, footprints(stack.pid, control.pid)))
            tell(f"round {number + 1}/{plan.rounds}: {rounds.ingest[-1]:.0f} events/s against {rounds.control[-1]:.0f}")
    return rounds


def _report(plan: Plan, found: _Found, where: Mapping[str, object]) -> Report:
    ratio = median_ratio(found.rounds.ingest, found.rounds.control)
    checks: tuple[Check, ...] = (
        at_least("events a second over one transaction an event, median of pairs", round(ratio, 2), RATE_BOUND),
        at_most("SQL statements an event", found.statements["total"], STATEMENTS_BOUND),
        at_most(f"lag p99 at {STEADY_SHARE:.0%} of the maximum, s", round(found.lags.p99, 3), LAG_BOUND_S),
        equals("messages whose acceptance and delivery are known", found.complete, found.messages),
    )
    figures: dict[str, object] = {
        "events_per_s": [round(rate) for rate in found.rounds.ingest],
        "one_transaction_an_event_per_s": [round(rate) for rate in found.rounds.control],
        "live_events_per_s": round(found.steady_rate),
        "lag_s": {
            "p50": round(found.lags.p50, 3),
            "p99": round(found.lags.p99, 3),
            "most": round(found.lags.longest, 3),
        },
        "sql_statements_per_event": dict(found.statements),
        "cpu_us_per_event": _per(found.rounds.cpu, plan.rounds * plan.messages),
        "cpu_us_per_event_of_control": _per(found.rounds.control_cpu, plan.rounds * plan.control_messages),
    }
    return Report(name="bench feedback", checks=checks, figures=figures, environment=where)


def _per(cpu: Mapping[str, float], messages: int) -> dict[str, int]:
    """Microseconds an event, by process."""
    return {name: round(s * 1e6 / messages / EVENTS_EACH) for name, s in sorted(cpu.items()) if s > 0.05}


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds
