"""A campaign at full rate is paused: what the provider still got, and that it goes on."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from waypost.drills.campaign_scene import Scene
from waypost.drills.report import Check, at_least, at_most, equals
from waypost.drills.waiting import until
from waypost.store.alert_rules import Rule
from waypost.store.audit import alerts_fired
from waypost.store.campaign_audit import ClaimsAround, RunSum, claims_around, run_sum

CAMPAIGN = "paused"
CALL = 50
FENCE_S = 2.0
EXPIRES_IN_S = 1_800.0
"""Within the hour: a pause is somebody's business at once."""
ALERT_S = 15.0
"""The rules are evaluated every five seconds."""
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Pausing:
    """What came out. Recipients by the provider's log, but for what the ledger says of claims."""

    before: int
    """Arrived when the pause was asked for."""
    asked_s: float
    """How long the request took."""
    after: int
    """Arrived after it was answered."""
    calls_after: int
    latest_s: float
    """When the last of them came, after the answer."""
    claims: ClaimsAround
    alert_s: float
    """When the alert fired that recipients will expire, after the answer; infinite where it did not."""
    alert_early: bool
    """It was there before the pause."""
    paused_s: float
    arrived: int
    doubled: int
    resumed_after_s: float
    """From the request to resume to the next arrival."""
    sum: RunSum

    def checks(self, *, calls_at_once: int, call_timeout_s: float) -> list[Check]:
        """It bites within one provider call; nobody is forgotten, nobody gets it twice."""
        bound = round(FENCE_S + call_timeout_s, 1)
        return [
            at_least("pause: recipients reached before it", self.before, 1),
            at_least("pause: recipients that it kept back", self.sum.audience - self.before - self.after, 1),
            equals("pause: claims committed after it", self.claims.after, 0),
            at_most("pause: recipients after it, of those whose calls were under way", self.after, self.in_flight),
            at_most("pause: recipients after it, calls at once × 50", self.after, calls_at_once * CALL),
            at_most("pause: latest arrival after it, s", self.latest_s, bound),
            equals("pause: recipients reached in the end", self.arrived, self.sum.audience),
            equals("pause: reached twice", self.doubled, 0),
            equals("pause: alert campaign_expiring before it", self.alert_early, False),
            at_most("pause: alert campaign_expiring, before it ended, after s", self.alert_s, self.paused_s),
            at_most("pause: its end, before anybody expired, after s", self.paused_s, EXPIRES_IN_S),
            equals("pause: state after resume", self.sum.state, "completed"),
            equals("pause: sum of outcomes", self.sum.with_outcome, self.sum.audience),
        ]

    @property
    def in_flight(self) -> int:
        """Recipients claimed before it, of whose calls nothing was recorded by then."""
        return self.claims.in_flight

    def figures(self) -> dict[str, object]:
        """In numbers."""
        return {
            "recipients before": self.before,
            "recipients after": self.after,
            "calls after": self.calls_after,
            "recipients in flight by the ledger": self.in_flight,
            "latest after s": round(self.latest_s, 3),
            "request s": round(self.asked_s, 3),
            "alert after s": self.alert_s,
            "resumed after s": round(self.resumed_after_s, 2),
        }


async def pause_and_resume(scene: Scene, *, recipients: int, call_timeout_s: float, patience_s: float) -> Pausing:
    """Pause at a tenth, look on longer than a call may last and until somebody is told; resume, wait for the end."""
    crowd = await scene.crowd("p", recipients)
    since = await scene.accepted()
    audience = {"list": "p"}
    await scene.door.put_campaign(CAMPAIGN, template=scene.template, audience=audience, expires_in=EXPIRES_IN_S)
    run = await scene.door.scheduled(CAMPAIGN)

    async def a_tenth() -> bool:
        return await scene.accepted() - since >= recipients / 10

    await until(a_tenth, patience_s=patience_s, every_s=_POLL_S)
    told = _Told(scene, str(run.id))
    early = await told.at() is not None
    began = time.time()
    await scene.door.act(CAMPAIGN, "pause")
    paused = time.time()
    await asyncio.sleep(FENCE_S + call_timeout_s + 1)
    await until(told.is_told, patience_s=paused + ALERT_S - time.time(), every_s=0.2)
    alert = await told.at()
    entries = await scene.arrivals(crowd, since)
    claims = await scene.staging.read(
        partial(claims_around, run=run.id, at=datetime.fromtimestamp(paused, UTC)), patience_s=patience_s
    )
    resumed = time.time()
    await scene.door.act(CAMPAIGN, "resume")
    await until(partial(scene.door.has_ended, CAMPAIGN), patience_s=patience_s, every_s=0.2)
    everybody = await scene.arrivals(crowd, since)
    return Pausing(
        before=sum(entry["at"] <= began for entry in entries),
        asked_s=paused - began,
        after=sum(entry["at"] > paused for entry in entries),
        calls_after=len({entry["call"] for entry in entries if entry["at"] > paused}),
        latest_s=max((entry["at"] - paused for entry in entries), default=0.0),
        claims=claims,
        alert_s=float("inf") if alert is None else round(alert.timestamp() - paused, 1),
        alert_early=early,
        paused_s=round(resumed - paused, 1),
        arrived=len({entry["recipient"] for entry in everybody}),
        doubled=doubled(everybody),
        resumed_after_s=min((e["at"] for e in everybody if e["at"] > resumed), default=float("inf")) - resumed,
        sum=await scene.staging.read(partial(run_sum, run=run.id)),
    )


class _Told:
    """Whether a person was told of a run that stands still."""

    def __init__(self, scene: Scene, run: str) -> None:
        self._scene = scene
        self._run = run

    async def at(self) -> datetime | None:
        """Since when the alert holds."""
        fired = await self._scene.staging.read(alerts_fired)
        about = (since for rule, run, since in fired if rule == Rule.CAMPAIGN_EXPIRING and run == self._run)
        return next(about, None)

    async def is_told(self) -> bool:
        """Whether it holds or held."""
        return await self.at() is not None


def doubled(entries: Sequence[Mapping[str, Any]]) -> int:
    """Recipients who are in it more than once."""
    return len(entries) - len({entry["recipient"] for entry in entries})
