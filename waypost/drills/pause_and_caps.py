"""A pause at full rate, caps and quiet hours under two campaigns at once, and a small campaign among a large one."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from waypost.drills.campaign_scene import Scene, scene_of
from waypost.drills.capping import start_both
from waypost.drills.control_arm import is_ours
from waypost.drills.fates import audit_checks
from waypost.drills.overtaking import overtake
from waypost.drills.pausing import pause_and_resume
from waypost.drills.queue_control import QueueControl, naive_queue_process
from waypost.drills.report import Check, Report, environment
from waypost.drills.running import DrillRun, Scale
from waypost.drills.staging import Staging, StagingOptions, staged
from waypost.drills.tenants import Admin
from waypost.store.audit import compare

NAME = "pause-and-caps"
CALL_TIMEOUT_S = 2.0
CALLS_AT_ONCE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Recipients of each part, the rates of its accounts (recipients a second), and patience in seconds."""

    paused: int
    paused_rate: float
    people: int
    quiet_s: float
    """How long a fifth of them sleeps on; both campaigns start two seconds after its beginning."""
    large: int
    large_rate: float
    small: int
    patience_s: float


PLANS: Mapping[Scale, Plan] = {
    Scale.SMOKE: Plan(
        paused=3_000, paused_rate=5_000, people=200, quiet_s=20, large=1_500, large_rate=150, small=100, patience_s=90
    ),
    Scale.FULL: Plan(
        paused=50_000,
        paused_rate=10_000,
        people=50_000,
        quiet_s=60,
        large=200_000,
        large_rate=10_000,
        small=100,
        patience_s=1_800,
    ),
}


async def run(drill: DrillRun) -> Report:
    """The whole drill. Raises StackError where the stack does not come up."""
    plan = PLANS[drill.scale]
    where = environment(scale=drill.scale, seed=drill.seed)
    settings = {
        "WAYPOST_CALL_TIMEOUT_S": str(CALL_TIMEOUT_S),
        "WAYPOST_RECORD_GRACE_S": "2",
        "WAYPOST_WORKER_CONCURRENCY": str(CALLS_AT_ONCE),
    }
    options = StagingOptions(settings=settings, data=drill.data, beside=naive_queue_process)
    async with staged(options, drill.told) as staging, AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(staging))
        scenes = await _scenes(staging, admin, plan)
        for scene in scenes.values():
            await stack.enter_async_context(scene.door)
        controlling = asyncio.create_task(QueueControl(staging).run())
        try:
            checks, figures = await _parts(staging, scenes, plan, drill)
            drill.narrator.step("waiting for the control")
            control = await controlling
        finally:
            controlling.cancel()
    return Report(
        name=NAME,
        checks=(*checks, *control.checks()),
        figures=figures | control.figures(),
        environment=where,
    )


async def _scenes(staging: Staging, admin: Admin, plan: Plan) -> dict[str, Scene]:
    rates = {"capped": 1_000.0, "paused": plan.paused_rate, "crowded": plan.large_rate}
    return {name: await scene_of(staging, admin, name, rate=rate) for name, rate in rates.items()}


async def _parts(
    staging: Staging, scenes: Mapping[str, Scene], plan: Plan, drill: DrillRun
) -> tuple[list[Check], dict[str, object]]:
    """Caps begin first: their sleepers wake while the others are measured."""
    drill.narrator.step("two campaigns under a cap, a fifth of the people asleep")
    caps = await start_both(scenes["capped"], people=plan.people, quiet_s=plan.quiet_s)
    drill.narrator.step("pausing at full rate")
    paused = await pause_and_resume(
        scenes["paused"], recipients=plan.paused, call_timeout_s=CALL_TIMEOUT_S, patience_s=plan.patience_s
    )
    drill.narrator.step("a small campaign among a large one")
    overtaking = await overtake(scenes["crowded"], large=plan.large, small=plan.small, patience_s=plan.patience_s)
    drill.narrator.step("waiting for those in quiet hours")
    capping = await caps.outcome(patience_s=plan.patience_s)
    log = [entry for entry in await asyncio.to_thread(staging.truth) if is_ours(entry.recipient)]
    audit = await staging.read(lambda connection: compare(connection, log))
    checks = [
        *paused.checks(calls_at_once=CALLS_AT_ONCE, call_timeout_s=CALL_TIMEOUT_S),
        *capping.checks(),
        *overtaking.checks(),
        *audit_checks(audit),
    ]
    return checks, {"pause": paused.figures(), "caps": capping.figures(), "overtaking": overtaking.figures()}
