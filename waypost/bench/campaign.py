"""`waypost bench campaign`: what a campaign costs over the provider's calls alone, and over a task queue with boto3.

All arms in one run on one machine, one after the other, against the same simulators, Send and Delivery events on.
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from waypost.bench.campaign_arm import CampaignArm, CampaignResult
from waypost.bench.campaign_arms import ArmResult, BareLoop, ProcrastinateArm
from waypost.bench.newsletter import VARIABLES
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.settings import TemporalSettings
from waypost.simulators.control_client import ControlClient
from waypost.stack.running import RunningStack, ensured
from waypost.temporal.client import connect

BARE_BOUND = 0.25
SINGLE_BOUND = 10.0
BULK_BOUND = 1.0
FINAL_BOUND = 5.0
EVENTS_BOUND = 0.02
MILLION_RATE_BOUND = 0.85
MILLION_RSS_BOUND = 1.15
HTML_BYTES = 10_000
SMALL = 50_000
"""Below it Temporal's constant share of a run's history is more than the bound a recipient."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    recipients: int = 50_000
    million: int | None = None
    """Recipients of a second, larger campaign."""
    bare: int = 20_000
    """At most; each call is rendered before, which takes memory."""
    singles: int = 5_000
    """At most, of a task a recipient; its rate does not depend on their number."""
    concurrencies: tuple[int, ...] = (1, 20)
    """Procrastinate's: its default, and as many as boto3's connections allow; the better one counts."""
    warm_up: int = 1_000
    patience_s: float = 3_600.0


@dataclass(frozen=True, kw_only=True)
class _Found:
    campaign: CampaignResult
    large: CampaignResult | None
    bare: ArmResult
    slotted: ArmResult
    single: ArmResult
    bulk: ArmResult
    letter: dict[str, object]


def run(data: Path | None, plan: Plan, tell: Tell) -> Report:
    """Measure on the stack of `data`, or on one of its own that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        tell("starting the stack")
        with ensured(data or Path(own) / "stack") as stack:
            return asyncio.run(_measure(stack, plan, tell))


async def _measure(stack: RunningStack, plan: Plan, tell: Tell) -> Report:
    where = environment(recipients=plan.recipients, larger=plan.million, singles=min(plan.singles, plan.recipients))
    control = ControlClient(stack.urls["simulators"])
    client = await connect(TemporalSettings.model_validate({"address": stack.environment["TEMPORAL_ADDRESS"]}))
    try:
        async with CampaignArm(stack, control, client) as arm:
            tell("warming up")
            await arm.run("warm", min(plan.warm_up, plan.recipients), patience_s=plan.patience_s)
            tell(f"a campaign to {plan.recipients}")
            campaign = await arm.run("small", plan.recipients, patience_s=plan.patience_s)
            letter = _letter(control, "small")
            queue = ProcrastinateArm(stack, control, tenant=arm.tenant, like=campaign.run)
            controls = await asyncio.to_thread(_controls, stack, control, queue, plan, tell)
            large = None
            if plan.million is not None:
                tell(f"a campaign to {plan.million}")
                large = await arm.run("large", plan.million, patience_s=plan.patience_s)
    finally:
        control.close()
    bare, slotted, single, bulk = controls
    found = _Found(campaign=campaign, large=large, bare=bare, slotted=slotted, single=single, bulk=bulk, letter=letter)
    return Report(name="bench campaign", checks=_checks(plan, found), figures=_figures(plan, found), environment=where)


def _controls(
    stack: RunningStack, control: ControlClient, queue: ProcrastinateArm, plan: Plan, tell: Tell
) -> tuple[ArmResult, ArmResult, ArmResult, ArmResult]:
    tell("the bare loop")
    loops = [BareLoop(stack, control, slotted=slotted) for slotted in (False, True)]
    bare, slotted = (loop.run(min(plan.bare, plan.recipients)) for loop in loops)
    found = []
    for kind, count in (("single", min(plan.singles, plan.recipients)), ("bulk", plan.recipients)):
        tell(f"procrastinate, {kind}")
        runs = [queue.run(kind, count, concurrency=concurrency) for concurrency in plan.concurrencies]
        found.append(max(runs, key=lambda each: each.arrivals.rate()))
    return bare, slotted, found[0], found[1]


def _letter(control: ControlClient, word: str) -> dict[str, object]:
    """One message as it arrived."""
    found = control.inbox(f"{word}-", limit=1)
    if not found:
        return {"html_bytes": 0, "headers": []}
    headers = {name.lower() for name, _ in found[0]["headers"]}
    kept = sorted(headers & {"list-unsubscribe", "list-unsubscribe-post"})
    return {"html_bytes": len(found[0]["html"].encode()), "headers": kept, "variables": len(VARIABLES), "loops": 1}


def _checks(plan: Plan, found: _Found) -> tuple[Check, ...]:
    ours, campaign = found.campaign.arm.arrivals.rate(), found.campaign
    checks = [
        equals("recipients that arrived", campaign.arm.arrivals.count, plan.recipients),
        equals("sum of outcomes, by a query", campaign.sum.with_outcome, campaign.sum.audience),
        at_least("bytes of HTML as it arrived", _number(found.letter["html_bytes"]), HTML_BYTES),
        equals("unsubscribe headers as they arrived", found.letter["headers"], _UNSUBSCRIBE),
        at_least("rate ÷ the bare loop's", _ratio(ours, found.bare), BARE_BOUND),
        at_least("rate ÷ a task per recipient", _ratio(ours, found.single), SINGLE_BOUND),
        at_least("rate ÷ a task per 50 that records the same", _ratio(ours, found.bulk), BULK_BOUND),
        at_most("last final status ÷ send time", _final(campaign), FINAL_BOUND),
    ]
    if plan.recipients >= SMALL:
        checks.append(at_most("history events a recipient", _events(campaign), EVENTS_BOUND))
    if found.large is not None:
        checks += _large_checks(campaign, found.large)
    return tuple(checks)


_UNSUBSCRIBE = ["list-unsubscribe", "list-unsubscribe-post"]


def _large_checks(small: CampaignResult, large: CampaignResult) -> list[Check]:
    ratio = large.arm.arrivals.rate() / small.arm.arrivals.rate()
    return [
        equals("larger: sum of outcomes, by a query", large.sum.with_outcome, large.sum.audience),
        at_least("larger: rate ÷ the small one's", round(ratio, 3), MILLION_RATE_BOUND),
        at_most("larger: worker's peak memory ÷", round(large.peak_rss / small.peak_rss, 3), MILLION_RSS_BOUND),
        at_most("larger: history events a recipient", _events(large), EVENTS_BOUND),
        at_most("larger: last final status ÷ send time", _final(large), FINAL_BOUND),
    ]


def _figures(plan: Plan, found: _Found) -> dict[str, object]:
    controls = (found.bare, found.slotted, found.single, found.bulk)
    campaigns = [each for each in (found.campaign, found.large) if each is not None]
    ours = found.campaign.arm.arrivals.rate()
    return {
        **{f"waypost, {each.arm.arrivals.count} recipients": _campaign_figures(each) for each in campaigns},
        **{each.name: each.figures() for each in controls},
        "rate ÷ the bare loop's with one template and values": _ratio(ours, found.slotted),
        "letter": found.letter,
        "procrastinate concurrencies tried": list(plan.concurrencies),
    }


def _campaign_figures(found: CampaignResult) -> dict[str, object]:
    return {
        **found.arm.figures(),
        "schedule_to_first_s": round(found.prepare_s, 2),
        "first_to_last_final_status_s": round(found.final_s, 2),
        "worker_peak_mb": round(found.peak_rss / 1e6),
        "history_events": found.history_events,
        "history_events_per_recipient": _events(found),
        "outcomes": dict(found.sum.outcomes),
        "without_delivery": found.feedback.without_delivery,
    }


def _ratio(ours: float, control: ArmResult) -> float:
    theirs = control.arrivals.rate()
    return round(ours / theirs, 3) if theirs else 0.0


def _final(found: CampaignResult) -> float:
    return round(found.final_s / max(found.arm.arrivals.seconds, 0.001), 3)


def _events(found: CampaignResult) -> float:
    return round(found.history_events / max(1, found.arm.arrivals.count), 4)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int) else 0.0
