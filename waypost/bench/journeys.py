"""`waypost bench journeys`: enrollments that wait for one moment: memory, how fast they go on, what a step costs."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from temporalio.client import Client

from waypost.bench.footprint import cpu_between, footprints
from waypost.bench.journey_arm import JourneyArm
from waypost.bench.journey_documents import LETTER, MOMENT, STEP, STEPS, TOUR
from waypost.bench.memory import PeakMemory
from waypost.bench.operations import Operations, mean_operations, operations
from waypost.bench.waiting_control import WaitingControl
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.drills.waiting import until
from waypost.settings import TemporalSettings
from waypost.stack.running import RunningStack, ensured
from waypost.temporal.client import connect
from workflows.names import journey_workflow_id

RSS_BOUND_MB = 500
RATE_BOUND = 0.7
WORKER = "worker bulk"
_SAMPLE = 50
_WARM_UP = 100
_PATIENCE_S = 1_800.0

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. Half of the bare executions come before Waypost's arm, half after it."""

    enrollments: int = 10_000
    lead_s: float = 15.0
    """Before the moment, beside the time in which they are started."""
    bare_starts_per_s: float = 40.0
    starts_per_s: float = 25.0
    """They can be started at least so fast; a moment is set accordingly."""


@dataclass(frozen=True, kw_only=True)
class Drained:
    """How those of one arm went on after their moment."""

    count: int
    waited: int
    """So many stood at their wait when it came."""
    went_on: int
    seconds: float
    """From the moment until the last had its activity, or its decision."""

    @property
    def rate(self) -> float:
        """A second."""
        return self.went_on / self.seconds


@dataclass(frozen=True, kw_only=True)
class _Found:
    ours: Drained
    bare: tuple[Drained, Drained]
    completed: int
    waiting_mb: Mapping[str, int]
    peak_mb: int
    cpu: Mapping[str, float]
    operations: Operations
    bare_operations: Operations
    tour: Operations
    tour_steps: int

    @property
    def bare_rate(self) -> float:
        """Of both halves together."""
        return sum(each.went_on for each in self.bare) / sum(each.seconds for each in self.bare)


def run(data: Path | None, plan: Plan, tell: Tell) -> Report:
    """Measure on the stack of `data`, or on one of its own that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        where = environment(enrollments=plan.enrollments)
        tell("starting the stack")
        with ensured(data or Path(own) / "stack") as stack:
            found = asyncio.run(_measure(stack, plan, tell))
    return _report(plan, found, where)


async def _measure(stack: RunningStack, plan: Plan, tell: Tell) -> _Found:
    client = await connect(TemporalSettings(address=stack.environment["TEMPORAL_ADDRESS"]))
    half = plan.enrollments // 2
    async with JourneyArm(stack) as arm:
        arm.ledger.gather(plan.enrollments)
        await arm.publish(MOMENT)
        tour, tour_steps = await _tour(arm, client, tell)
        with WaitingControl(stack.environment, queues=arm.ledger.queues()) as control:
            await _bare(control, client, range(plan.enrollments, plan.enrollments + _WARM_UP), plan, tell)
            first = await _bare(control, client, range(half), plan, tell)
            found = await _ours(stack, arm, plan, tell)
            second = await _bare(control, client, range(half, 2 * half), plan, tell)
            sample = range(0, half, max(1, half // _SAMPLE))
            bare = await mean_operations(client, [control.workflow_id(number) for number in sample])
        people = arm.ledger.ended(MOMENT["journey"])
        ours = await mean_operations(
            client, [journey_workflow_id(each) for each in people[:: max(1, len(people) // _SAMPLE)]]
        )
    drained, waiting, peak, cpu = found
    return _Found(
        ours=drained,
        bare=(first, second),
        completed=len(people),
        waiting_mb=waiting,
        peak_mb=peak,
        cpu=cpu,
        operations=ours,
        bare_operations=bare,
        tour=tour,
        tour_steps=tour_steps,
    )


async def _tour(arm: JourneyArm, client: Client, tell: Tell) -> tuple[Operations, int]:
    """One enrollment through a journey of ten steps."""
    tell("one walks ten steps")
    await arm.put_template(LETTER)
    await arm.publish(TOUR)
    enrollment = await arm.enroll("tour", 0)
    await arm.until_over()
    return await operations(client, journey_workflow_id(enrollment)), arm.ledger.steps(enrollment)


async def _bare(control: WaitingControl, client: Client, numbers: range, plan: Plan, tell: Tell) -> Drained:
    count = len(numbers)
    moment = time.time() + plan.lead_s + count / plan.bare_starts_per_s
    tell(f"{count} bare executions begin to wait")
    await control.start_timers(client, numbers, until=moment)
    waited = count if time.time() < moment else 0

    async def all_ran() -> bool:
        return sum(number in numbers for number in control.stamps()) >= count

    await until(all_ran, patience_s=moment - time.time() + _PATIENCE_S, every_s=0.5)
    stamps = [at for number, at in control.stamps().items() if number in numbers]
    found = Drained(count=count, waited=waited, went_on=len(stamps), seconds=max(stamps) - moment)
    tell(f"{found.rate:.1f} bare executions a second")
    return found


async def _ours(
    stack: RunningStack, arm: JourneyArm, plan: Plan, tell: Tell
) -> tuple[Drained, Mapping[str, int], int, Mapping[str, float]]:
    count = plan.enrollments
    moment = time.time() + plan.lead_s + count / plan.starts_per_s
    tell(f"{count} enrollments begin to wait")
    before = len(arm.ledger.ends())
    await arm.join(range(count), {"moment": datetime.fromtimestamp(moment, UTC).isoformat()})

    async def all_wait() -> bool:
        return arm.ledger.enrollments(STEP).resting >= count

    with PeakMemory(stack.pid, WORKER) as memory:
        await until(all_wait, patience_s=moment - 2 - time.time(), every_s=0.5)
        waited = arm.ledger.enrollments(STEP).resting
        tell(f"{waited} wait, for another {max(0.0, moment - time.time()):.0f} s")
        await asyncio.sleep(max(0.0, moment - 1 - time.time()))
        waiting = footprints(stack.pid)
        await until(_over(arm), patience_s=_PATIENCE_S, every_s=0.5)
    ends = arm.ledger.ends()[before:]
    found = Drained(count=count, waited=waited, went_on=len(ends), seconds=(ends[-1] if ends else time.time()) - moment)
    tell(f"{found.rate:.1f} enrollments a second")
    used = cpu_between(waiting, footprints(stack.pid))
    memory_mb = {name: round(each.rss / 1e6) for name, each in waiting.items() if name.startswith("worker")}
    return found, memory_mb, round(memory.peak / 1e6), used


def _over(arm: JourneyArm) -> Callable[[], Awaitable[bool]]:
    async def over() -> bool:
        return arm.ledger.enrollments("").open == 0

    return over


def _report(plan: Plan, found: _Found, where: Mapping[str, object]) -> Report:
    ours = found.ours
    checks: tuple[Check, ...] = (
        equals("enrollments that stood at the wait when the moment came", ours.waited, plan.enrollments),
        at_most(f"{WORKER}: memory while all wait, MB", found.waiting_mb[WORKER], RSS_BOUND_MB),
        equals("enrollments that walked to the end", found.completed, plan.enrollments),
        equals("bare executions that went on", sum(each.went_on for each in found.bare), plan.enrollments // 2 * 2),
        at_least(
            "enrollments a second over bare executions a second", round(ours.rate / found.bare_rate, 2), RATE_BOUND
        ),
    )
    figures: dict[str, object] = {
        "enrollments_per_s": round(ours.rate, 1),
        "bare_executions_per_s": [round(each.rate, 1) for each in found.bare],
        "until_the_last_s": round(ours.seconds, 1),
        "memory_mb_while_all_wait": dict(found.waiting_mb),
        f"{WORKER}_peak_mb": found.peak_mb,
        "cpu_ms_per_enrollment": {
            name: round(s * 1000 / plan.enrollments, 1) for name, s in sorted(found.cpu.items()) if s > 0.05
        },
        f"an enrollment of {STEPS} steps, a step": found.operations.per(STEPS),
        "a bare execution": found.bare_operations.per(1),
        f"a journey of {found.tour_steps} steps, a step": found.tour.per(found.tour_steps),
    }
    return Report(name="bench journeys", checks=checks, figures=figures, environment=where)
