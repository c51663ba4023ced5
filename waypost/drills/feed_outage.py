"""The feed stops during ambiguous sends, or loses single events for good: nothing may be sent again blindly.

Three arms side by side. `durable`: the queue brings nothing for a while, then all of it. `gaps`: a queue that lost Send
events for good. `lossy`: callbacks, of which the outage swallows all and some are lost at other times too.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from waypost.drills.control_arm import Control, ControlArm, is_ours, naive_process
from waypost.drills.fates import Fates, audit_checks, fates
from waypost.drills.load import Answer, Clients
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.drills.running import DrillRun, Scale, brisk_settings
from waypost.drills.settling import until_settled
from waypost.drills.staging import Staging, StagingOptions, staged
from waypost.drills.tenants import Admin, DrillAccount, DrillTenant
from waypost.messaging.audit import Acceptance, LedgerAudit
from waypost.store.alert_rules import Rule
from waypost.store.audit import MessageStates, alerts_fired, compare, database_time, message_states

NAME = "feed-outage"

_MARGIN_S = 5
"""A feed counts as silent after half of it, which must be longer than one poll of its queue (2 s)."""

AMBIGUOUS = "ambiguous"
_PREFIXES = (AMBIGUOUS, "ok", "ok")

DURABLE, GAPS, LOSSY = "durable", "gaps", "lossy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how much, an arm. Times are seconds."""

    rate: float
    before_s: float
    outage_s: float
    after_s: float
    horizon_s: float
    drain_s: float
    control_messages: int


PLANS: Mapping[Scale, Plan] = {
    Scale.SMOKE: Plan(rate=4, before_s=2, outage_s=10, after_s=1, horizon_s=26, drain_s=60, control_messages=60),
    Scale.FULL: Plan(rate=6, before_s=20, outage_s=60, after_s=40, horizon_s=150, drain_s=300, control_messages=600),
}

AMBIGUOUS_FAULTS: tuple[Mapping[str, Any], ...] = (
    {"fault": "accept_then_5xx", "match": AMBIGUOUS, "every": 2},
    {"fault": "error_5xx", "match": AMBIGUOUS, "every": 2},
)
"""Half of the ambiguous ones are accepted and answered 500, half of the others are refused with 500."""

CONTROL_FAULTS: tuple[Mapping[str, Any], ...] = (
    {"fault": "accept_then_5xx", "every": 6},
    {"fault": "error_5xx", "every": 6},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arm:
    account: DrillAccount
    clients: Clients


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outage:
    """What was seen when the outage was about to end, of messages asked for during it."""

    began: datetime
    ended: datetime
    states: Mapping[str, MessageStates]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArmFound:
    """What came out of one arm."""

    fates: Fates
    states: MessageStates
    unanswered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    arms: Mapping[str, _ArmFound]
    outage: _Outage
    audit: LedgerAudit
    alerts: list[tuple[str, str, datetime]]
    accounts: Mapping[str, DrillAccount]
    took_s: float


async def run(drill: DrillRun) -> Report:
    """The whole drill. Raises StackError where the stack does not come up."""
    plan = PLANS[drill.scale]
    where = environment(scale=drill.scale, seed=drill.seed)
    settings = brisk_settings(horizon_s=plan.horizon_s, unknown_margin_s=_MARGIN_S)
    async with staged(StagingOptions(settings=settings, data=drill.data, beside=naive_process), drill.told) as staging:
        control_arm = ControlArm(staging, messages=plan.control_messages, kills_per_point=0, patience_s=plan.drain_s)
        controlling = asyncio.create_task(control_arm.run(CONTROL_FAULTS))
        try:
            found = await _waypost(staging, plan, drill)
            drill.narrator.step("waiting for the control")
            control = await controlling
        finally:
            controlling.cancel()
    return _report(plan, found, control, where)


async def _waypost(staging: Staging, plan: Plan, drill: DrillRun) -> _Found:
    accounts, tenants = await _set_up(staging)
    began = time.monotonic()
    arms = {
        name: _Arm(
            account=accounts[name],
            clients=Clients(staging.stack.urls["api"], [tenants[name]], run=f"{name}-{drill.seed}"),
        )
        for name in accounts
    }
    try:
        outage = await _load(staging, arms, plan, drill)
        drill.narrator.step("waiting until every message has its outcome")
        await until_settled(staging, patience_s=plan.drain_s, narrator=drill.narrator)
        log = [entry for entry in await asyncio.to_thread(staging.truth) if is_ours(entry.recipient)]
        return _Found(
            arms={name: await _arm_found(staging, arm, log) for name, arm in arms.items()},
            outage=outage,
            audit=await staging.read(lambda connection: compare(connection, log)),
            alerts=await staging.read(alerts_fired),
            accounts=accounts,
            took_s=time.monotonic() - began,
        )
    finally:
        for arm in arms.values():
            await arm.clients.close()


async def _set_up(staging: Staging) -> tuple[dict[str, DrillAccount], dict[str, DrillTenant]]:
    async with Admin(staging) as admin:
        accounts = {name: await admin.ses_account(name, durable=name != LOSSY) for name in (DURABLE, GAPS, LOSSY)}
        tenants = {name: await admin.tenant(name, {"email": account}) for name, account in accounts.items()}
    faults = [{**fault, "account": account.key} for account in accounts.values() for fault in AMBIGUOUS_FAULTS]
    faults.append({"fault": "drop_events", "kinds": ["Send"], "probability": 0.1, "account": accounts[GAPS].key})
    faults.append({"fault": "drop_events", "probability": 0.2, "account": accounts[LOSSY].key})
    for fault in faults:
        await asyncio.to_thread(staging.control.add_fault, **fault)
    return accounts, tenants


async def _load(staging: Staging, arms: Mapping[str, _Arm], plan: Plan, drill: DrillRun) -> _Outage:
    over = asyncio.Event()
    loading = [
        asyncio.create_task(arm.clients.load(rate=plan.rate, until=over, prefixes=_PREFIXES)) for arm in arms.values()
    ]
    try:
        drill.narrator.step("sending with events")
        await asyncio.sleep(plan.before_s)
        drill.narrator.step("sending while the feeds are silent")
        outage = await _outage(staging, arms, plan)
        drill.narrator.step("sending with events again")
        await asyncio.sleep(plan.after_s)
    finally:
        over.set()
        await asyncio.gather(*loading)
    for arm in arms.values():
        await arm.clients.all_answered(timeout_s=plan.drain_s)
    return outage


async def _outage(staging: Staging, arms: Mapping[str, _Arm], plan: Plan) -> _Outage:
    """Both feeds stop for as long; a queue keeps what came meanwhile, callbacks don't."""
    since, began = time.monotonic(), await staging.read(database_time)
    for name, lose in ((DURABLE, False), (LOSSY, True)):
        stop = {"fault": "stop_feed", "account": arms[name].account.key, "lose": lose, "duration": plan.outage_s}
        await asyncio.to_thread(staging.control.add_fault, **stop)
    await asyncio.sleep(plan.outage_s - 0.5 - (time.monotonic() - since))
    states = {
        name: await staging.read(
            partial(_states_of, answers=[a for a in arm.clients.heard.answers if a.asked_at > since])
        )
        for name, arm in arms.items()
    }
    ended = await staging.read(database_time)
    return _Outage(began=began, ended=ended, states=states)


async def _states_of(connection: Any, answers: list[Answer]) -> MessageStates:
    return await message_states(connection, [answer.message_id for answer in answers])


async def _arm_found(staging: Staging, arm: _Arm, log: list[Acceptance]) -> _ArmFound:
    answers = arm.clients.heard.answers
    return _ArmFound(
        fates=fates([answer.recipient for answer in answers], log),
        states=await staging.read(partial(_states_of, answers=answers)),
        unanswered=arm.clients.heard.unanswered,
    )


def _report(plan: Plan, found: _Found, control: Control, where: dict[str, object]) -> Report:
    return Report(
        name=NAME,
        checks=(
            *_outage_checks(found),
            *_durable_checks(found.arms[DURABLE]),
            *_gaps_checks(found.arms[GAPS]),
            *_lossy_checks(found.arms[LOSSY]),
            *audit_checks(found.audit),
            *_alert_checks(plan, found),
            *control.checks(),
        ),
        figures=_figures(found) | control.figures(),
        environment=where,
    )


def _outage_checks(found: _Found) -> list[Check]:
    checks = []
    for name in (DURABLE, LOSSY):
        states = found.outage.states[name]
        checks += [
            at_least(f"{name}, during the outage: unknown", states.unknown, 1),
            equals(f"{name}, during the outage: held", states.held, states.unknown),
            equals(f"{name}, during the outage: tried again", states.tried_again, 0),
        ]
    return checks


def _durable_checks(arm: _ArmFound) -> list[Check]:
    return [
        *arm.fates.checks(DURABLE),
        equals(f"{DURABLE}: resolved as sent", arm.states.outcomes.get("sent", 0), arm.fates.asked),
        equals(f"{DURABLE}: requests never accepted", arm.unanswered, 0),
    ]


def _gaps_checks(arm: _ArmFound) -> list[Check]:
    """With an event missing for good nothing after it is ever proven absent: it ends as maybe_sent, at the horizon."""
    outcomes = arm.states.outcomes
    settled = outcomes.get("sent", 0) + outcomes.get("maybe_sent", 0)
    return [
        equals(f"{GAPS}: duplicated", len(arm.fates.duplicated), 0),
        equals(f"{GAPS}: sent or maybe_sent", settled, arm.fates.asked),
        at_most(f"{GAPS}: not arrived", len(arm.fates.lost), outcomes.get("maybe_sent", 0)),
    ]


def _lossy_checks(arm: _ArmFound) -> list[Check]:
    outcomes = arm.states.outcomes
    settled = outcomes.get("sent", 0) + outcomes.get("maybe_sent", 0)
    return [
        equals(f"{LOSSY}: duplicated", len(arm.fates.duplicated), 0),
        equals(f"{LOSSY}: tried again", arm.states.tried_again, 0),
        at_least(f"{LOSSY}: ended as maybe_sent", outcomes.get("maybe_sent", 0), 1),
        equals(f"{LOSSY}: sent or maybe_sent", settled, arm.fates.asked),
        at_most(f"{LOSSY}: not arrived", len(arm.fates.lost), outcomes.get("maybe_sent", 0)),
    ]


def _alert_checks(plan: Plan, found: _Found) -> list[Check]:
    """A person is told of the silence while it lasts and not before, and of old unknowns before they are given up."""
    lasted = (found.outage.ended - found.outage.began).total_seconds()
    silent = _alerts(found, Rule.FEED_SILENT, found.accounts[DURABLE])
    old = _alerts(found, Rule.UNKNOWN_OLD, found.accounts[LOSSY])
    return [
        equals("alert feed_silent before the outage", sum(after < 0 for after in silent), 0),
        at_most("alert feed_silent after, s", min(silent, default=float("inf")), round(lasted, 1)),
        at_most("alert unknown_old after, s", min(old, default=float("inf")), plan.horizon_s),
    ]


def _alerts(found: _Found, rule: Rule, account: DrillAccount) -> list[float]:
    """When it fired, in seconds from the outage's beginning; unknown attempts may well be older."""
    return [
        round((since - found.outage.began).total_seconds(), 1)
        for fired, subject, since in found.alerts
        if fired == rule and subject == str(account.id)
    ]


def _figures(found: _Found) -> dict[str, object]:
    arms = {
        name: {**arm.fates.figures(), **{f"outcome {outcome}": n for outcome, n in arm.states.outcomes.items()}}
        for name, arm in found.arms.items()
    }
    held = {f"{name} held during the outage": states.held for name, states in found.outage.states.items()}
    return {**arms, **held, "acceptances": found.audit.acceptances, "took s": found.took_s}
