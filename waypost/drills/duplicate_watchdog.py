"""Two campaigns at the same second on a slow provider, started again each second, while their workers are killed."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from waypost.drills.campaign_control import CampaignControl, ControlPlan, naive_campaigns_process
from waypost.drills.campaigning import CampaignDoor
from waypost.drills.control_arm import Control, is_ours
from waypost.drills.crowd import Crowd, gather, owner_of
from waypost.drills.fates import audit_checks
from waypost.drills.fault_points import WORKER_POINTS, FaultPoint
from waypost.drills.killer import Killer
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.drills.run_fates import RunFates, run_fates
from waypost.drills.running import DrillRun, Scale, brisk_settings
from waypost.drills.second_starts import SecondStarts, Started
from waypost.drills.staging import BULK_WORKER, Staging, StagingOptions, staged
from waypost.drills.tenants import Admin, DrillAccount, DrillTenant
from waypost.drills.waiting import until
from waypost.messaging.audit import LedgerAudit
from waypost.store.alert_rules import Rule
from waypost.store.audit import alerts_fired, claim_count, compare, unsettled
from waypost.store.campaign_audit import RunSum, run_of_attempts, run_sum

NAME = "duplicate-watchdog"
LIST = "everybody"
CAMPAIGNS = ("spring", "summer")
FULL_RATE = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything. Times are seconds."""

    recipients: int
    rate: float
    """Of the account, recipients a second, until all kills are done."""
    slow_ms: float
    points: tuple[FaultPoint, ...]
    kills_per_point: int
    pause_s: float
    havoc_s: float
    drain_s: float
    resume_s: float
    """Work goes on this soon after a kill: a heartbeat's time-out, a retry's pause, a process's start."""
    control: ControlPlan


_SMOKE_POINTS = (FaultPoint.AFTER_CLAIM_COMMIT, FaultPoint.AFTER_REQUEST_WRITTEN)

PLANS: Mapping[Scale, Plan] = {
    Scale.SMOKE: Plan(
        recipients=300,
        rate=60,
        slow_ms=400,
        points=_SMOKE_POINTS,
        kills_per_point=1,
        pause_s=0,
        havoc_s=60,
        drain_s=60,
        resume_s=30,
        control=ControlPlan(recipients=80, kills=2, kill_every_s=3, slow_ms=100, watchdog_s=3, patience_s=60),
    ),
    Scale.FULL: Plan(
        recipients=50_000,
        rate=300,
        slow_ms=1_000,
        points=WORKER_POINTS,
        kills_per_point=9,
        pause_s=1,
        havoc_s=2_400,
        drain_s=900,
        resume_s=60,
        control=ControlPlan(recipients=1_000, kills=20, kill_every_s=10, slow_ms=100, watchdog_s=30, patience_s=900),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Who sends what to whom."""

    account: DrillAccount
    tenant: DrillTenant
    crowd: Crowd


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What came out."""

    fates: Sequence[RunFates]
    sums: Sequence[RunSum]
    audit: LedgerAudit
    undecided: Mapping[str, str]
    alerts: int
    havoc_s: float
    drain_s: float


async def run(drill: DrillRun) -> Report:
    """The whole drill. Raises StackError where the stack does not come up."""
    plan = PLANS[drill.scale]
    where = environment(scale=drill.scale, seed=drill.seed, recipients=plan.recipients)
    beside = naive_campaigns_process(plan.control.watchdog_s)
    options = StagingOptions(settings=brisk_settings(), killable=True, data=drill.data, beside=beside)
    async with staged(options, drill.told) as staging, AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(staging))
        scene = await _set_up(staging, admin, plan)
        door = await stack.enter_async_context(CampaignDoor(staging.stack.urls["api"], scene.tenant.api_key))
        await _prepare(staging, door, scene)
        controlling = asyncio.create_task(CampaignControl(staging, plan.control).run())
        try:
            killer, starts, found = await _waypost(staging, admin, door, scene, plan, drill)
            drill.narrator.step("waiting for the control")
            control = await controlling
        finally:
            controlling.cancel()
    return _report(plan, killer, starts, found, control, where)


async def _set_up(staging: Staging, admin: Admin, plan: Plan) -> _Scene:
    account = await admin.ses_account(NAME)
    await admin.rate(account, plan.rate)
    tenant = await admin.tenant("watched", {"email": account})
    slow = {"fault": "slow", "ms": plan.slow_ms, "account": account.key}
    await asyncio.to_thread(staging.control.add_fault, **slow)
    return _Scene(account=account, tenant=tenant, crowd=Crowd(tenant=tenant.id, prefix="c", count=plan.recipients))


async def _prepare(staging: Staging, door: CampaignDoor, scene: _Scene) -> None:
    """Both campaigns go to the same people, so that nothing but the run tells one's message from the other's."""
    owner = owner_of(database_url=staging.stack.environment["WAYPOST_DATABASE_URL"], secrets=staging.stack.secrets)
    await asyncio.to_thread(gather, owner, scene.crowd, into=LIST)
    for key in CAMPAIGNS:
        html = f"<p>Dear {{{{ contact.attributes.first_name }}}}, this is {key}.</p>"
        await door.put_email(key, subject=f"News of {key}", html=html)


async def _waypost(
    staging: Staging, admin: Admin, door: CampaignDoor, scene: _Scene, plan: Plan, drill: DrillRun
) -> tuple[Killer, SecondStarts, _Found]:
    at = datetime.now(UTC) + timedelta(seconds=3)
    for key in CAMPAIGNS:
        await door.put_campaign(key, template=key, audience={"list": LIST}, at=at)
    started = [Started(key, (await door.scheduled(key)).id) for key in CAMPAIGNS]
    drill.narrator.step("sending, starting again, killing")
    killer = Killer(
        staging.points(BULK_WORKER),
        plan.points,
        times=plan.kills_per_point,
        work=lambda: staging.read(claim_count),
        pause_s=plan.pause_s,
    )
    starts = SecondStarts(staging, door, scene.tenant.id, started)
    starting = asyncio.create_task(starts.run())
    began = time.monotonic()
    try:
        await _kill(killer, drill, at_most_s=plan.havoc_s)
        havoc_s = time.monotonic() - began
        await asyncio.to_thread(_recover, staging, scene.account)
        await admin.rate(scene.account, FULL_RATE)
        drill.narrator.step("waiting until both are complete")
        await _completed(door, plan.drain_s, drill)
    finally:
        starting.cancel()
    if starting.done() and not starting.cancelled():
        starting.result()
    return killer, starts, await _found(staging, scene, started, havoc_s, time.monotonic() - began - havoc_s)


async def _kill(killer: Killer, drill: DrillRun, *, at_most_s: float) -> None:
    """All kills, or what is possible in that time."""

    async def narrate() -> None:
        while True:
            drill.narrator.progress(killer.done, killer.wanted)
            await asyncio.sleep(0.5)

    narrating = asyncio.create_task(narrate())
    try:
        async with asyncio.timeout(at_most_s):
            await killer.run()
    except TimeoutError:
        return
    finally:
        narrating.cancel()


def _recover(staging: Staging, account: DrillAccount) -> None:
    for fault in staging.control.faults_in_force():
        if fault["account"] == account.key:
            staging.control.remove_fault(fault["id"])


async def _completed(door: CampaignDoor, patience_s: float, drill: DrillRun) -> None:
    async def both() -> bool:
        runs = [await door.run(key) for key in CAMPAIGNS]
        drill.narrator.progress(
            sum(each.outcomes for each in runs if each), sum(each.audience or 0 for each in runs if each)
        )
        return all(each is not None and each.state == "completed" for each in runs)

    await until(both, patience_s=patience_s, every_s=0.5)


async def _found(staging: Staging, scene: _Scene, started: Sequence[Started], havoc_s: float, drain_s: float) -> _Found:
    runs = [each.run for each in started]
    log = [entry for entry in await asyncio.to_thread(staging.truth) if is_ours(entry.recipient)]
    attempts = await staging.read(lambda connection: run_of_attempts(connection, runs))
    addresses = scene.crowd.addresses()
    return _Found(
        fates=run_fates({each.run: (each.key, addresses) for each in started}, log, attempts),
        sums=[await staging.read(partial(run_sum, run=run)) for run in runs],
        audit=await staging.read(lambda connection: compare(connection, log)),
        undecided=await staging.read(unsettled),
        alerts=sum(rule == Rule.UNKNOWN_OLD for rule, _, _ in await staging.read(alerts_fired)),
        havoc_s=havoc_s,
        drain_s=drain_s,
    )


def _report(
    plan: Plan, killer: Killer, starts: SecondStarts, found: _Found, control: Control, where: dict[str, object]
) -> Report:
    return Report(
        name=NAME,
        checks=(
            *(at_least(f"kills {point}", killer.hits[point], plan.kills_per_point) for point in plan.points),
            *_progress_checks(plan, killer),
            *_start_checks(starts, found),
            *(check for each in found.fates for check in each.checks()),
            *(check for key, each in zip(CAMPAIGNS, found.sums, strict=True) for check in _sum_checks(key, each, plan)),
            *audit_checks(found.audit),
            at_least("alert unknown_old: a person was told of the calls that the killed left behind", found.alerts, 1),
            *control.checks(),
        ),
        figures=_figures(killer, starts, found) | control.figures(),
        environment=where,
    )


def _progress_checks(plan: Plan, killer: Killer) -> list[Check]:
    """Every kill but the last has the next one's claim behind it; the last has both campaigns' end."""
    return [
        at_least("kills after which claims went on", len(killer.resumed), killer.wanted - 1),
        at_most("slowest progress after a kill, s", round(max(killer.resumed, default=0.0), 1), plan.resume_s),
    ]


def _start_checks(starts: SecondStarts, found: _Found) -> list[Check]:
    seconds = found.havoc_s + found.drain_s
    fewest = min(starts.fired.values(), default=0)
    return [at_least("each path of starting fired, times in every two seconds", fewest, int(seconds / 2))]


def _sum_checks(key: str, found: RunSum, plan: Plan) -> list[Check]:
    return [
        equals(f"{key}: state", found.state, "completed"),
        equals(f"{key}: audience", found.audience, plan.recipients),
        equals(f"{key}: sum of outcomes", found.with_outcome, found.audience),
        equals(f"{key}: outcome sent", found.outcomes.get("sent", 0), found.audience),
    ]


def _figures(killer: Killer, starts: SecondStarts, found: _Found) -> dict[str, object]:
    return {
        "recipients": {each.name: each.figures() for each in found.fates},
        "outcomes": {key: each.outcomes for key, each in zip(CAMPAIGNS, found.sums, strict=True)},
        "kills": {"done": killer.done, "armed in vain": killer.missed.total()},
        "progress after a kill s": [round(each, 1) for each in killer.resumed],
        "started again": dict(starts.fired),
        "answers to it": dict(sorted(starts.answers.items())),
        "killing s": found.havoc_s,
        "until complete s": found.drain_s,
        **({"left without an outcome": found.undecided} if found.undecided else {}),
        "ledger against log": {"agreed": found.audit.agreed, "acceptances": found.audit.acceptances},
    }
