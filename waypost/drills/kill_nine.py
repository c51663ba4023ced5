"""`kill -9` of workers, ingest and API at set points, with an unreliable provider and restarts of their servers."""

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.drills.control_arm import CONTROL_KEY, Control, ControlArm, is_ours, naive_process
from waypost.drills.fates import Fates, audit_checks, fates
from waypost.drills.havoc import Kills, Restarts, Terminations
from waypost.drills.load import Clients, Heard
from waypost.drills.report import Check, Report, at_least, environment, equals
from waypost.drills.running import DrillRun, Scale, brisk_settings
from waypost.drills.settling import until_settled
from waypost.drills.staging import POSTGRES, TEMPORAL, Staging, StagingOptions, staged
from waypost.drills.tenants import Admin, DrillTenant
from waypost.messaging.audit import LedgerAudit
from waypost.store.alert_rules import Rule
from waypost.store.audit import LedgerCounts, alerts_fired, compare, unsettled

NAME = "kill-nine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything. Times are seconds."""

    messages: int
    rate: float
    worker_kills: int
    """Each point so often."""
    api_kills: int
    ingest_kills: int
    pause_s: float
    """Between two kills of API or ingest."""
    restarts: tuple[tuple[str, signal.Signals], ...]
    every_s: float
    """Between two restarts of what everything stands on."""
    roll_back_s: float | None
    """How far Temporal's store is rolled back, once."""
    havoc_s: float
    """Whatever was not done to the stack by then is left, and the drill fails."""
    drain_s: float
    control_messages: int
    control_kills: int


PLANS: Mapping[Scale, Plan] = {
    Scale.SMOKE: Plan(
        messages=300,
        rate=12,
        worker_kills=1,
        api_kills=1,
        ingest_kills=1,
        pause_s=1,
        restarts=((POSTGRES, signal.SIGINT), (TEMPORAL, signal.SIGKILL)),
        every_s=4,
        roll_back_s=None,
        havoc_s=60,
        drain_s=60,
        control_messages=60,
        control_kills=1,
    ),
    Scale.FULL: Plan(
        messages=3000,
        rate=6,
        worker_kills=20,
        api_kills=20,
        ingest_kills=20,
        pause_s=3,
        restarts=(
            (POSTGRES, signal.SIGQUIT),
            (TEMPORAL, signal.SIGKILL),
            (POSTGRES, signal.SIGINT),
            (TEMPORAL, signal.SIGTERM),
        ),
        every_s=40,
        roll_back_s=60,
        havoc_s=1200,
        drain_s=240,
        control_messages=600,
        control_kills=20,
    ),
}

PROVIDER_FAULTS: tuple[Mapping[str, Any], ...] = (
    {"fault": "accept_then_5xx", "every": 23},
    {"fault": "accept_then_reset", "every": 29},
    {"fault": "error_5xx", "every": 37},
    {"fault": "reset", "every": 41},
)
"""Of every hundred sends about eight have an unknown result, half of them accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Havoc:
    """What is done to the stack."""

    kills: Kills
    restarts: Restarts
    terminations: Terminations

    async def run(self, *, at_most_s: float) -> None:
        """Kills and restarts, all or what is possible in that time."""
        try:
            async with asyncio.timeout(at_most_s), asyncio.TaskGroup() as group:
                group.create_task(self.kills.run())
                group.create_task(self.restarts.run())
        except TimeoutError:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What came out."""

    heard: Heard
    fates: Fates
    audit: LedgerAudit
    counts: LedgerCounts
    unsettled: Mapping[str, str]
    alerts: int
    """How often a person was told of attempts unknown for longer than the margin."""
    load_s: float
    drain_s: float


async def run(drill: DrillRun) -> Report:
    """The whole drill. Raises StackError where the stack does not come up."""
    plan = PLANS[drill.scale]
    where = environment(scale=drill.scale, seed=drill.seed)
    options = StagingOptions(settings=brisk_settings(), killable=True, data=drill.data, beside=naive_process)
    async with staged(options, drill.told) as staging:
        tenants = await _set_up(staging)
        arm = ControlArm(
            staging, messages=plan.control_messages, kills_per_point=plan.control_kills, patience_s=plan.drain_s
        )
        controlling = asyncio.create_task(arm.run(PROVIDER_FAULTS))
        try:
            havoc, found = await _waypost(staging, tenants, plan, drill)
            drill.narrator.step("waiting for the control")
            control = await controlling
        finally:
            controlling.cancel()
    return _report(plan, havoc, found, control, where)


async def _set_up(staging: Staging) -> list[DrillTenant]:
    async with Admin(staging) as admin:
        account = await admin.ses_account("kill-nine")
        tenants = [await admin.tenant(name, {"email": account}) for name in ("one", "two")]
    for fault in PROVIDER_FAULTS:
        await asyncio.to_thread(staging.control.add_fault, **fault, account=account.key)
    return tenants


def recover(staging: Staging) -> None:
    """The provider is reliable again: a retry at the very end would else meet the same fault, and so on."""
    for fault in staging.control.faults_in_force():
        if fault["account"] != CONTROL_KEY:
            staging.control.remove_fault(fault["id"])


async def _waypost(staging: Staging, tenants: list[DrillTenant], plan: Plan, drill: DrillRun) -> tuple[_Havoc, _Found]:
    async with Clients(staging.stack.urls["api"], tenants, run=f"{NAME}-{drill.seed}") as clients:
        began = time.monotonic()
        havoc = _havoc(staging, plan, clients.heard, drill.seed)
        await _load(clients, havoc, plan, drill)
        await asyncio.to_thread(recover, staging)
        load_s = time.monotonic() - began
        drill.narrator.step("waiting until every message has its outcome")
        await clients.all_answered(timeout_s=plan.drain_s)
        counts = await until_settled(staging, patience_s=plan.drain_s, narrator=drill.narrator)
        drain_s = time.monotonic() - began - load_s
        left = await staging.read(unsettled)
        alerts = sum(rule == Rule.UNKNOWN_OLD for rule, _, _ in await staging.read(alerts_fired))
        log = [entry for entry in await asyncio.to_thread(staging.truth) if is_ours(entry.recipient)]
        found = await staging.read(lambda connection: compare(connection, log))
    asked = [answer.recipient for answer in clients.heard.answers]
    return havoc, _Found(
        heard=clients.heard,
        fates=fates(asked, log),
        audit=found,
        counts=counts,
        unsettled=left,
        alerts=alerts,
        load_s=load_s,
        drain_s=drain_s,
    )


def _havoc(staging: Staging, plan: Plan, heard: Heard, seed: int) -> _Havoc:
    return _Havoc(
        kills=Kills(
            staging, worker=plan.worker_kills, api=plan.api_kills, ingest=plan.ingest_kills, pause_s=plan.pause_s
        ),
        restarts=Restarts(staging, plan.restarts, every_s=plan.every_s, roll_back_s=plan.roll_back_s),
        terminations=Terminations(staging, messages=lambda: heard.asked, seed=seed),
    )


async def _load(clients: Clients, havoc: _Havoc, plan: Plan, drill: DrillRun) -> None:
    """Messages arrive until all havoc is done, and until there were enough of them."""
    drill.narrator.step("sending while killing")
    over = asyncio.Event()
    beside = [asyncio.create_task(_narrate(drill, havoc)), asyncio.create_task(havoc.terminations.run())]
    try:
        async with asyncio.TaskGroup() as group:
            wreaking = group.create_task(havoc.run(at_most_s=plan.havoc_s))
            wreaking.add_done_callback(lambda _: over.set())
            group.create_task(clients.load(rate=plan.rate, until=over, at_least=plan.messages))
    finally:
        for task in beside:
            task.cancel()


async def _narrate(drill: DrillRun, havoc: _Havoc) -> None:
    while True:
        drill.narrator.progress(havoc.kills.done, havoc.kills.wanted)
        await asyncio.sleep(0.5)


def _report(plan: Plan, havoc: _Havoc, found: _Found, control: Control, where: dict[str, object]) -> Report:
    return Report(
        name=NAME,
        checks=(
            *_load_checks(plan, havoc, found),
            *found.fates.checks("waypost"),
            *audit_checks(found.audit),
            *_ledger_checks(found),
            at_least("alert unknown_old, before anything was given up", found.alerts, 1),
            *control.checks(),
        ),
        figures=_figures(havoc, found) | control.figures(),
        environment=where,
    )


def _load_checks(plan: Plan, havoc: _Havoc, found: _Found) -> list[Check]:
    kills = havoc.kills
    counted = [(kills.worker, plan.worker_kills), (kills.api, plan.api_kills), (kills.ingest, plan.ingest_kills)]
    return [
        at_least("messages accepted by the API", len(found.heard.answers), plan.messages),
        equals("requests never accepted", found.heard.unanswered, 0),
        *(
            at_least(f"kills {point}", killer.hits[point], times)
            for killer, times in counted
            for point in killer.schedule
        ),
        at_least("executions terminated by hand", havoc.terminations.done, havoc.terminations.wanted),
        equals("restarts of PostgreSQL and Temporal", havoc.restarts.done, len(plan.restarts)),
        equals("roll-backs of Temporal's store", havoc.restarts.rolled_back, int(plan.roll_back_s is not None)),
    ]


def _ledger_checks(found: _Found) -> list[Check]:
    counts = found.counts
    return [
        equals("messages without an outcome", counts.without_outcome, 0),
        equals("messages with outcome sent", counts.outcomes.get("sent", 0), counts.messages),
        equals("second acceptances (dup_accept)", counts.dup_accepts, 0),
    ]


def _figures(havoc: _Havoc, found: _Found) -> dict[str, object]:
    kills = havoc.kills
    return {
        "waypost": found.fates.figures(),
        "answers by status (0: connection failed)": found.heard.statuses(),
        "kills": {"worker": kills.worker.done, "api": kills.api.done, "ingest": kills.ingest.done},
        "executions terminated": havoc.terminations.done,
        "claims": found.counts.claims,
        "load s": found.load_s,
        "until settled s": found.drain_s,
        **({"left without an outcome": found.unsettled} if found.unsettled else {}),
        "ledger against log": {"agreed": found.audit.agreed, "acceptances": found.audit.acceptances},
    }
