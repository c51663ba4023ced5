"""`kill -9` of workers while contacts walk a journey with every kind of step: each ends where it must, told once."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from waypost.drills.control_arm import Control, ControlArm, is_ours, naive_process
from waypost.drills.fates import audit_checks
from waypost.drills.fault_points import JOURNEY_POINTS, FaultPoint
from waypost.drills.journey_fates import JourneyFates, journey_fates
from waypost.drills.journey_ledger import all_walked, open_enrollments, visits_taken
from waypost.drills.journey_script import EMITTED, document, read
from waypost.drills.journey_world import JourneyWorld
from waypost.drills.kill_nine import PROVIDER_FAULTS, recover
from waypost.drills.killer import Killer
from waypost.drills.report import Check, Report, at_least, environment, equals
from waypost.drills.running import DrillRun, Scale, brisk_settings
from waypost.drills.settling import until_settled
from waypost.drills.staging import BULK_WORKER, Staging, StagingOptions, staged
from waypost.drills.tenants import Admin, DrillTenant
from waypost.drills.waiting import until
from waypost.drills.webhook_sink import WebhookSink
from waypost.messaging.audit import LedgerAudit
from waypost.store.audit import LedgerCounts, compare, probe_ids, unsettled

NAME = "kill-nine --journeys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything. Times are seconds."""

    enrollments: int
    rate: float
    points: tuple[FaultPoint, ...]
    kills_per_point: int
    havoc_s: float
    """Whatever was not killed by then is left, and the drill fails."""
    drain_s: float
    control_messages: int
    control_kills: int


PLANS: Mapping[Scale, Plan] = {
    Scale.SMOKE: Plan(
        enrollments=60,
        rate=3,
        points=(
            FaultPoint.BEFORE_DECISION_COMMIT,
            FaultPoint.AFTER_DECISION_COMMIT,
            FaultPoint.AFTER_REQUEST_WRITTEN,
            FaultPoint.AFTER_ANSWER_COMMIT,
        ),
        kills_per_point=1,
        havoc_s=90,
        drain_s=120,
        control_messages=60,
        control_kills=1,
    ),
    Scale.FULL: Plan(
        enrollments=1_000,
        rate=1,
        points=JOURNEY_POINTS,
        kills_per_point=21,
        havoc_s=3_000,
        drain_s=600,
        control_messages=600,
        control_kills=20,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What came out."""

    fates: JourneyFates
    audit: LedgerAudit
    counts: LedgerCounts
    unsettled: Mapping[str, str]
    refused: list[str]
    walking_s: float
    drain_s: float


async def run(drill: DrillRun) -> Report:
    """The whole drill. Raises StackError where the stack does not come up."""
    plan = PLANS[drill.scale]
    where = environment(scale=drill.scale, seed=drill.seed)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="waypost-drill-"))
        sink = await stack.enter_async_context(WebhookSink(Path(folder)))
        staging = await stack.enter_async_context(staged(_options(drill, sink), drill.told))
        tenant = await _set_up(staging)
        world = await stack.enter_async_context(JourneyWorld(staging, tenant))
        await world.prepare(sink.url)
        arm = ControlArm(
            staging, messages=plan.control_messages, kills_per_point=plan.control_kills, patience_s=plan.drain_s
        )
        controlling = asyncio.create_task(arm.run(PROVIDER_FAULTS))
        try:
            killer, found = await _waypost(staging, world, sink, plan, drill)
            drill.narrator.step("waiting for the control")
            control = await controlling
        finally:
            controlling.cancel()
    return _report(plan, killer, found, control, where)


def _options(drill: DrillRun, sink: WebhookSink) -> StagingOptions:
    settings = brisk_settings(webhook_allow_private="true", webhook_ca_file=sink.certificate)
    return StagingOptions(settings=settings, killable=True, data=drill.data, beside=naive_process)


async def _set_up(staging: Staging) -> DrillTenant:
    async with Admin(staging) as admin:
        email, sms = await admin.ses_account("walking"), await admin.twilio_account("texts")
        tenant = await admin.tenant("walking", {"email": email, "sms": sms})
    for fault in PROVIDER_FAULTS:
        await asyncio.to_thread(staging.control.add_fault, **fault, account=email.key)
    return tenant


async def _waypost(
    staging: Staging, world: JourneyWorld, sink: WebhookSink, plan: Plan, drill: DrillRun
) -> tuple[Killer, _Found]:
    killer = Killer(
        staging.points(BULK_WORKER),
        plan.points,
        times=plan.kills_per_point,
        work=lambda: staging.read(visits_taken),
    )
    began = time.monotonic()
    living = asyncio.create_task(world.live())
    try:
        await _walk(world, killer, plan, drill)
        await asyncio.to_thread(recover, staging)
        walking_s = time.monotonic() - began
        await _until_ended(staging, living, plan, drill)
    finally:
        living.cancel()
    drill.narrator.step("waiting until every message has its outcome")
    counts = await until_settled(staging, patience_s=plan.drain_s, narrator=drill.narrator)
    drain_s = time.monotonic() - began - walking_s
    log = [entry for entry in await asyncio.to_thread(staging.truth) if is_ours(entry.recipient)]
    probes = await staging.read(probe_ids)
    letters = [entry for entry in log if entry.attempt_id not in probes]
    walked = await staging.read(lambda connection: all_walked(connection, emitted=EMITTED))
    return killer, _Found(
        fates=journey_fates(read(document(sink.url)), world.entered, walked, sink.posts, letters),
        audit=await staging.read(lambda connection: compare(connection, log)),
        counts=counts,
        unsettled=await staging.read(unsettled),
        refused=world.failures,
        walking_s=walking_s,
        drain_s=drain_s,
    )


async def _walk(world: JourneyWorld, killer: Killer, plan: Plan, drill: DrillRun) -> None:
    """Contacts come until all kills are done, and until there were enough of them."""
    drill.narrator.step("walking while killing")
    over = asyncio.Event()
    narrating = asyncio.create_task(_narrate(drill, killer))
    try:
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(_kill(killer, at_most_s=plan.havoc_s))
            killing.add_done_callback(lambda _: over.set())
            group.create_task(world.come(rate=plan.rate, until=over, at_least=plan.enrollments))
    finally:
        narrating.cancel()


async def _kill(killer: Killer, *, at_most_s: float) -> None:
    try:
        async with asyncio.timeout(at_most_s):
            await killer.run()
    except TimeoutError:
        return


async def _narrate(drill: DrillRun, killer: Killer) -> None:
    while True:
        drill.narrator.progress(killer.done, killer.wanted)
        await asyncio.sleep(0.5)


async def _until_ended(staging: Staging, living: asyncio.Task[None], plan: Plan, drill: DrillRun) -> None:
    drill.narrator.step("waiting until everybody is through")

    async def ended() -> bool:
        if living.done():
            living.result()  # what nobody makes happen any more, nobody waits for
        return await staging.read(open_enrollments) == 0

    await until(ended, patience_s=plan.drain_s, every_s=0.5)


def _report(plan: Plan, killer: Killer, found: _Found, control: Control, where: Mapping[str, object]) -> Report:
    checks: list[Check] = [
        at_least("enrollments", found.fates.entered, plan.enrollments),
        *(at_least(f"kills {point}", killer.hits[point], plan.kills_per_point) for point in plan.points),
        equals("requests that the API refused", len(found.refused), 0),
        *found.fates.checks(),
        *audit_checks(found.audit),
        equals("messages without an outcome", found.counts.without_outcome, 0),
        equals("second acceptances (dup_accept)", found.counts.dup_accepts, 0),
        *control.checks(),
    ]
    return Report(
        name=NAME, checks=tuple(checks), figures=_figures(killer, found) | control.figures(), environment=where
    )


def _figures(killer: Killer, found: _Found) -> dict[str, object]:
    return {
        **found.fates.figures(),
        "kills": {"done": sum(killer.hits.values()), "armed in vain": killer.missed.total()},
        "slowest progress after a kill s": round(max(killer.resumed, default=0.0), 1),
        "outcomes": found.counts.outcomes,
        "claims": found.counts.claims,
        "walking s": found.walking_s,
        "until settled s": found.drain_s,
        **({"refused": found.refused[:5]} if found.refused else {}),
        **({"left without an outcome": found.unsettled} if found.unsettled else {}),
        "ledger against log": {"agreed": found.audit.agreed, "acceptances": found.audit.acceptances},
    }
