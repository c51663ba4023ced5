"""A small campaign starts while a large one of the same tenant runs."""

import time
from dataclasses import dataclass
from functools import partial

from waypost.drills.campaign_scene import Scene
from waypost.drills.pausing import doubled
from waypost.drills.report import Check, at_least, at_most, equals
from waypost.drills.waiting import until
from waypost.store.campaign_audit import RunSum, run_sum

LARGE, SMALL = "large", "small"
BOUND_S = 10.0
FULL_RATE = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaking:
    """What came out, by the provider's log."""

    before: int
    """Recipients of the large one reached before the small one was scheduled."""
    after: int
    """And after the small one's last."""
    small: int
    arrived: int
    doubled: int
    took_s: float
    """From the request that scheduled the small one to its last arrival."""
    sums: tuple[RunSum, RunSum]

    def checks(self) -> list[Check]:
        """It overtook: the large one ran before and after."""
        return [
            at_least("small among large: the large one's recipients before it", self.before, 1),
            at_least("small among large: the large one's recipients after it", self.after, 1),
            equals("small among large: recipients reached", self.arrived, self.small),
            at_most("small among large: fully sent after, s", round(self.took_s, 2), BOUND_S),
            equals("small among large: anybody twice", self.doubled, 0),
            *(
                check
                for name, each in zip((LARGE, SMALL), self.sums, strict=True)
                for check in (
                    equals(f"{name}: state", each.state, "completed"),
                    equals(f"{name}: sum of outcomes", each.with_outcome, each.audience),
                )
            ),
        ]

    def figures(self) -> dict[str, object]:
        """In numbers."""
        return {
            "large": self.sums[0].audience,
            "its recipients before": self.before,
            "its recipients after": self.after,
            "small": self.small,
            "fully sent after s": round(self.took_s, 2),
        }


async def overtake(scene: Scene, *, large: int, small: int, patience_s: float) -> Overtaking:
    """Start the large one; once a twentieth of it is sent, the small one."""
    crowds = [await scene.crowd(name, count) for name, count in ((LARGE, large), (SMALL, small))]
    for name in (LARGE, SMALL):
        await scene.door.put_campaign(name, template=scene.template, audience={"list": name})
    runs = [await scene.door.scheduled(LARGE)]

    async def under_way() -> bool:
        return await scene.accepted() >= large / 20

    await until(under_way, patience_s=patience_s)
    asked = time.time()
    runs.append(await scene.door.scheduled(SMALL))
    await until(partial(scene.door.has_ended, SMALL), patience_s=patience_s, every_s=0.2)
    await scene.admin.rate(scene.account, FULL_RATE)
    await until(partial(scene.door.has_ended, LARGE), patience_s=patience_s, every_s=0.5)
    theirs, mine = [await scene.arrivals(crowd) for crowd in crowds]
    last = max((entry["at"] for entry in mine), default=float("inf"))
    sums = [await scene.staging.read(partial(run_sum, run=run.id)) for run in runs]
    return Overtaking(
        before=sum(entry["at"] < asked for entry in theirs),
        after=sum(entry["at"] > last for entry in theirs),
        small=small,
        arrived=len({entry["recipient"] for entry in mine}),
        doubled=doubled(theirs) + doubled(mine),
        took_s=last - asked,
        sums=(sums[0], sums[1]),
    )
