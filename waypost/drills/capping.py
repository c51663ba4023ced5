"""Two campaigns at the same second to the same people, of whom each may get one, and a fifth of whom sleeps."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from waypost.drills.campaign_scene import Scene
from waypost.drills.campaigning import RunShown
from waypost.drills.crowd import Crowd
from waypost.drills.report import Check, at_least, equals
from waypost.drills.waiting import until
from waypost.store.campaign_audit import RunSum, run_sum

CAMPAIGNS = ("first", "second")
SLEEPERS = 0.2
AWAKE_ZONE, ASLEEP_ZONE = "UTC", "Asia/Tokyo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capping:
    """What came out, by the provider's log and by a query."""

    people: int
    sleepers: int
    over_the_cap: int
    """People who got more than one."""
    reached: int
    too_early: int
    """Sleepers reached before their quiet ended."""
    meanwhile: int
    """Others reached before that: the campaigns ran while it was quiet."""
    sums: tuple[RunSum, ...]

    def checks(self) -> list[Check]:
        """No cap broken, nobody woken, both complete, everybody accounted for."""
        sent = sum(each.outcomes.get("sent", 0) for each in self.sums)
        skipped = sum(each.outcomes.get("skipped", 0) for each in self.sums)
        return [
            equals("caps: people over it", self.over_the_cap, 0),
            equals("caps: people reached", self.reached, self.people),
            at_least("caps: people in quiet hours", self.sleepers, int(self.people * SLEEPERS)),
            equals("caps: people reached in quiet hours", self.too_early, 0),
            at_least("caps: others reached during them", self.meanwhile, 1),
            equals("caps: sent, of both campaigns", sent, self.people),
            equals("caps: skipped for the cap, of both", skipped, self.people),
            *(equals(f"caps: {name}, state", s.state, "completed") for name, s in self._named()),
            *(equals(f"caps: {name}, sum of outcomes", s.with_outcome, s.audience) for name, s in self._named()),
        ]

    def figures(self) -> dict[str, object]:
        """In numbers."""
        return {
            "people": self.people,
            "in quiet hours": self.sleepers,
            "outcomes": {name: dict(each.outcomes) for name, each in self._named()},
            "reasons": {name: dict(each.reasons) for name, each in self._named()},
        }

    def _named(self) -> list[tuple[str, RunSum]]:
        return list(zip(CAMPAIGNS, self.sums, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class CapsUnderWay:
    """Both scheduled; `quiet_until` is when a fifth of them wakes."""

    scene: Scene
    awake: Crowd
    asleep: Crowd
    quiet_until: datetime
    runs: tuple[RunShown, ...]

    async def outcome(self, *, patience_s: float) -> Capping:
        """Wait for both, and count."""
        for key in CAMPAIGNS:
            await until(partial(self.scene.door.has_ended, key), patience_s=patience_s, every_s=0.5)
        others, sleepers = await self.scene.arrivals(self.awake), await self.scene.arrivals(self.asleep)
        got = Counter(entry["recipient"] for entry in [*others, *sleepers])
        end = self.quiet_until.timestamp()
        return Capping(
            people=self.awake.count + self.asleep.count,
            sleepers=self.asleep.count,
            over_the_cap=sum(times > 1 for times in got.values()),
            reached=len(got),
            too_early=sum(entry["at"] < end for entry in sleepers),
            meanwhile=sum(entry["at"] < end for entry in others),
            sums=tuple([await self.scene.staging.read(partial(run_sum, run=each.id)) for each in self.runs]),
        )


async def start_both(scene: Scene, *, people: int, quiet_s: float) -> CapsUnderWay:
    """One message a person and day; quiet in Tokyo for so many seconds more, in which both campaigns must meet it."""
    sleepers = int(people * SLEEPERS)
    awake = await scene.crowd("awake", people - sleepers, time_zone=AWAKE_ZONE, into="everybody")
    asleep = await scene.crowd("asleep", sleepers, time_zone=ASLEEP_ZONE, into="everybody")
    quiet_until = (datetime.now(UTC) + timedelta(seconds=quiet_s)).replace(microsecond=0)
    local = quiet_until.astimezone(ZoneInfo(ASLEEP_ZONE))
    quiet = {"start": f"{local - timedelta(hours=4):%H:%M:%S}", "end": f"{local:%H:%M:%S}"}
    caps = [{"channel": "email", "limit": 1, "period": "P1D"}]
    await scene.admin.rules(scene.tenant, quiet_hours=quiet, frequency_caps=caps)
    at = datetime.now(UTC) + timedelta(seconds=2)
    for key in CAMPAIGNS:
        await scene.door.put_campaign(key, template=scene.template, audience={"list": "everybody"}, at=at)
    runs = tuple([await scene.door.scheduled(key) for key in CAMPAIGNS])
    return CapsUnderWay(scene=scene, awake=awake, asleep=asleep, quiet_until=quiet_until, runs=runs)
