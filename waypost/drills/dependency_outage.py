"""Temporal away, then PostgreSQL, under an open load: what the API answers meanwhile, and what comes of it after."""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from waypost.drills.control_arm import is_ours
from waypost.drills.direct_control import DirectControl, DirectOutcome, direct_process
from waypost.drills.fates import Fates, audit_checks, fates
from waypost.drills.load import Clients, Heard, Response
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.drills.running import DrillRun, Scale, brisk_settings
from waypost.drills.settling import until_settled
from waypost.drills.staging import POSTGRES, PRODUCT, TEMPORAL, Staging, StagingOptions, staged
from waypost.drills.tenants import Admin, DrillTenant
from waypost.messaging.audit import LedgerAudit
from waypost.store.alert_rules import Rule
from waypost.store.audit import LedgerCounts, alerts_fired, compare, database_time, ledger_counts

NAME = "dependency-outage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Times are seconds, rates requests a second."""

    rate: float
    normal_s: float
    temporal_away_s: float
    postgres_away_s: float
    after_s: float
    drain_s: float
    alert: bool
    """Whether the outage lasts long enough for its alert."""


PLANS: Mapping[Scale, Plan] = {
    Scale.SMOKE: Plan(rate=12, normal_s=5, temporal_away_s=5, postgres_away_s=4, after_s=2, drain_s=60, alert=False),
    Scale.FULL: Plan(rate=12, normal_s=30, temporal_away_s=45, postgres_away_s=15, after_s=10, drain_s=240, alert=True),
}

MEDIAN_RATIO = 2.0
ANSWER_S = 1.0
"""While PostgreSQL is away a 503 comes within this."""
_GRACE_S = 0.5
"""Requests this soon after the moment of an outage are of neither time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A time in the run, `time.monotonic()`."""

    since: float
    until: float

    def of(self, heard: Heard) -> list[Response]:
        """What was answered to requests made well inside."""
        return heard.between(self.since + _GRACE_S, self.until - ANSWER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    heard: Heard
    normal: _Window
    temporal_away: _Window
    postgres_away: _Window
    temporal_left_at: datetime
    first_202_after_s: float
    same_processes: bool
    fates: Fates
    counts: LedgerCounts
    audit: LedgerAudit
    alerts: list[tuple[str, str, datetime]]
    drain_s: float


async def run(drill: DrillRun) -> Report:
    """The whole drill. Raises StackError where the stack does not come up."""
    plan = PLANS[drill.scale]
    where = environment(scale=drill.scale, seed=drill.seed)
    options = StagingOptions(settings=brisk_settings(), data=drill.data, beside=direct_process)
    async with staged(options, drill.told) as staging:
        async with Admin(staging) as admin:
            account = await admin.ses_account("dependency-outage")
            tenants = [await admin.tenant(name, {"email": account}) for name in ("one", "two")]
        control = DirectControl(staging, rate=plan.rate / 3)
        found = await _waypost(staging, tenants, control, plan, drill)
        outcome = await control.outcome()
    return _report(plan, found, outcome, where)


async def _waypost(
    staging: Staging, tenants: Sequence[DrillTenant], control: DirectControl, plan: Plan, drill: DrillRun
) -> _Found:
    async with Clients(staging.stack.urls["api"], tenants, run=f"{NAME}-{drill.seed}") as clients:
        over = asyncio.Event()
        processes = [staging.pid(name) for name in PRODUCT]
        loading = asyncio.create_task(clients.load(rate=plan.rate, until=over))
        try:
            drill.narrator.step("sending as ever")
            await asyncio.sleep(1)  # caches and connections
            since = time.monotonic()
            await control.calm(plan.normal_s)
            normal = _Window(since=since, until=time.monotonic())
            await control.settle()
            drill.narrator.step("Temporal is away")
            left_at = await staging.read(database_time)
            temporal_away = await _temporal_away(staging, control, plan)
            drill.narrator.step("PostgreSQL is away")
            postgres_away = await _postgres_away(staging, plan)
            await asyncio.sleep(plan.after_s)
        finally:
            over.set()
            await loading
        await clients.all_answered(timeout_s=plan.drain_s)
        drill.narrator.step("waiting until every message has its outcome")
        began = time.monotonic()
        await until_settled(staging, patience_s=plan.drain_s, narrator=drill.narrator)
        log = [entry for entry in await asyncio.to_thread(staging.truth) if is_ours(entry.recipient)]
        return _Found(
            heard=clients.heard,
            normal=normal,
            temporal_away=temporal_away,
            postgres_away=postgres_away,
            temporal_left_at=left_at,
            first_202_after_s=_first_202(clients.heard, postgres_away.until),
            same_processes=processes == [staging.pid(name) for name in PRODUCT],
            fates=fates([answer.recipient for answer in clients.heard.answers], log),
            counts=await staging.read(ledger_counts),
            audit=await staging.read(lambda connection: compare(connection, log)),
            alerts=await staging.read(alerts_fired),
            drain_s=time.monotonic() - began,
        )


async def _temporal_away(staging: Staging, control: DirectControl, plan: Plan) -> _Window:
    await staging.take_down(TEMPORAL)
    since = time.monotonic()
    asking = asyncio.create_task(control.stricken(plan.temporal_away_s))
    await asyncio.sleep(plan.temporal_away_s)
    away = _Window(since=since, until=time.monotonic())
    await staging.bring_back(TEMPORAL)
    await asking
    return away


async def _postgres_away(staging: Staging, plan: Plan) -> _Window:
    await staging.take_down(POSTGRES)
    since = time.monotonic()
    await asyncio.sleep(plan.postgres_away_s)
    away = _Window(since=since, until=time.monotonic())
    await staging.bring_back(POSTGRES)
    return away


def _first_202(heard: Heard, since: float) -> float:
    """Seconds from when PostgreSQL was started again until a request was accepted."""
    accepted = [response.at + response.took for response in heard.responses if response.status == 202]
    return min((at for at in accepted if at > since), default=float("inf")) - since


def _report(plan: Plan, found: _Found, control: DirectOutcome, where: dict[str, object]) -> Report:
    return Report(
        name=NAME,
        checks=(
            *_temporal_checks(plan, found),
            *_postgres_checks(found),
            *found.fates.checks("waypost"),
            equals("messages with outcome sent", found.counts.outcomes.get("sent", 0), found.counts.messages),
            *audit_checks(found.audit),
            *control.checks(MEDIAN_RATIO),
        ),
        figures=_figures(found) | control.figures(),
        environment=where,
    )


def _temporal_checks(plan: Plan, found: _Found) -> list[Check]:
    away = found.temporal_away.of(found.heard)
    ratio = _median(away) / _median(found.normal.of(found.heard))
    checks = [
        at_least("Temporal away: requests", len(away), 1),
        equals("Temporal away: requests not answered 202", sum(r.status != 202 for r in away), 0),
        at_most("Temporal away: median API time ÷ normal", round(ratio, 2), MEDIAN_RATIO),
    ]
    if plan.alert:
        checks.append(at_most("Temporal away: alert dispatcher_stalled after, s", _alert(found), plan.temporal_away_s))
    return checks


def _alert(found: _Found) -> float:
    times = [
        (since - found.temporal_left_at).total_seconds()
        for rule, _, since in found.alerts
        if rule == Rule.DISPATCHER_STALLED
    ]
    return round(min(times, default=float("inf")), 1)


def _postgres_checks(found: _Found) -> list[Check]:
    away = found.postgres_away.of(found.heard)
    return [
        at_least("PostgreSQL away: requests", len(away), 1),
        equals("PostgreSQL away: answers other than 503 with Retry-After", sum(not _is_held_off(r) for r in away), 0),
        at_most("PostgreSQL away: slowest answer, s", round(max(r.took for r in away), 2) if away else 0, ANSWER_S),
        equals("processes that were started again", int(not found.same_processes), 0),
        equals("requests never accepted", found.heard.unanswered, 0),
    ]


def _is_held_off(response: Response) -> bool:
    return response.status == 503 and response.retry_after


def _median(responses: Sequence[Response]) -> float:
    return statistics.median(response.took for response in responses) if responses else float("nan")


def _figures(found: _Found) -> dict[str, object]:
    return {
        "waypost": found.fates.figures(),
        "answers by status (0: connection failed)": found.heard.statuses(),
        "median API ms": {
            "normal": _median(found.normal.of(found.heard)) * 1000,
            "Temporal away": _median(found.temporal_away.of(found.heard)) * 1000,
        },
        "requests": {
            "normal": len(found.normal.of(found.heard)),
            "Temporal away": len(found.temporal_away.of(found.heard)),
            "PostgreSQL away": len(found.postgres_away.of(found.heard)),
        },
        "accepted again after PostgreSQL's start s": found.first_202_after_s,
        "until settled s": found.drain_s,
    }
