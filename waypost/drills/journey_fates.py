"""What came of each enrollment against what the reference interpreter says, and the provider's log against both."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from waypost.drills.journey_ledger import AllWalked, Walked
from waypost.drills.journey_script import AFTERWARDS, JOURNEY, Script
from waypost.drills.journey_world import name, number_of
from waypost.drills.report import Check, equals
from waypost.journeys.document import Journey
from waypost.journeys.trace import Trace
from waypost.messaging.audit import Acceptance
from waypost.messaging.ids import visit_id

CARRIED: Mapping[str, str] = {"plan": "team"}
"""What they enter with."""

KINDS = 13
_THANKED = ("exit", "thanked", "done")


@dataclass(slots=True, kw_only=True)
class JourneyFates:
    """Contacts for whom something is not as it must be, and how much there was of everything."""

    entered: int
    missing: list[str] = field(default_factory=list)
    """No enrollment, or more than one."""
    unended: list[str] = field(default_factory=list)
    ended_elsewhere: list[str] = field(default_factory=list)
    other_steps: list[str] = field(default_factory=list)
    other_sends: list[str] = field(default_factory=list)
    other_acts: list[str] = field(default_factory=list)
    """An event that was not emitted once, a journey that was not started once, a webhook that was never posted."""
    endings: Counter[str] = field(default_factory=Counter)
    sends: Counter[int | None] = field(default_factory=Counter)
    """So many must have been sent to each contact, both journeys together."""
    arrived: Counter[int | None] = field(default_factory=Counter)
    duplicated: int = 0
    webhooks: int = 0
    posts: int = 0
    kinds: int = 0

    def checks(self) -> list[Check]:
        """Everything as it must be."""
        return [
            equals("contacts without their one enrollment", len(self.missing), 0),
            equals("enrollments that never ended", len(self.unended), 0),
            equals("enrollments that ended elsewhere than the interpreter says", len(self.ended_elsewhere), 0),
            equals("enrollments that took other steps", len(self.other_steps), 0),
            equals("enrollments with other sends", len(self.other_sends), 0),
            equals("enrollments with other emitted events, started journeys or webhooks", len(self.other_acts), 0),
            equals("kinds of steps that were taken", self.kinds, KINDS),
            equals("sends lost", (self.sends - self.arrived).total(), 0),
            equals("sends duplicated", self.duplicated, 0),
            equals("sends that nobody should have got", (self.arrived - self.sends).total(), 0),
        ]

    def figures(self) -> dict[str, object]:
        """In numbers, with some names where something is wrong."""
        wrong = {
            "missing": self.missing,
            "unended": self.unended,
            "ended elsewhere": self.ended_elsewhere,
            "other steps": self.other_steps,
            "other sends": self.other_sends,
            "other acts": self.other_acts,
        }
        return {
            "enrollments": self.entered,
            "endings": dict(sorted(self.endings.items())),
            "sends": {"must": self.sends.total(), "arrived": self.arrived.total(), "duplicated": self.duplicated},
            "webhooks": {"visits": self.webhooks, "posts": self.posts},
            **{what: names[:5] for what, names in wrong.items() if names},
        }


def journey_fates(
    journey: Journey, entered: int, found: AllWalked, posts: Mapping[UUID, int], log: Iterable[Acceptance]
) -> JourneyFates:
    """Compare all; `log` without probes, which are of no message."""
    fates = JourneyFates(entered=entered, kinds=len(found.kinds), posts=sum(posts.values()))
    for number in range(entered):
        _judge(fates, journey, Script(number=number), found, posts)
    arrivals = Counter((entry.recipient, entry.content) for entry in log)
    fates.arrived = Counter(number_of(recipient) for recipient, _ in arrivals)
    fates.duplicated = sum(times > 1 for times in arrivals.values())
    return fates


def _judge(fates: JourneyFates, journey: Journey, script: Script, found: AllWalked, posts: Mapping[UUID, int]) -> None:
    who = name(script.number)
    walks = found.of.get(JOURNEY, {}).get(who, [])
    if len(walks) != 1:
        fates.missing.append(who)
        return
    (walked,) = walks
    trace = script.trace(journey, walked.contact_id, CARRIED)
    _judge_walk(fates, script.number, trace, walked)
    another = found.of.get(AFTERWARDS, {}).get(who, [])
    if not _acted(fates, trace, walked, another, found.emitted[who], posts):
        fates.other_acts.append(who)


def _judge_walk(fates: JourneyFates, number: int, trace: Trace, walked: Walked) -> None:
    assert trace.ending is not None
    who, acts = name(number), Counter(act.kind for act in trace.acts)
    fates.endings[trace.ending.reason] += 1
    fates.sends[number] += sum(send.outcome == "sent" for send in trace.sends) + acts["start_journey"]
    if walked.state != "ended":
        fates.unended.append(who)
    elif walked.ending != (trace.ending.how.value, trace.ending.reason, trace.ending.step):
        fates.ended_elsewhere.append(who)
    if walked.steps != [(visit.step, visit.edge) for visit in trace.visits]:
        fates.other_steps.append(who)
    if sorted(walked.sends) != sorted((send.visit, send.part.value, send.outcome.value) for send in trace.sends):
        fates.other_sends.append(who)


def _acted(
    fates: JourneyFates,
    trace: Trace,
    walked: Walked,
    another: list[Walked],
    emitted: int,
    posts: Mapping[UUID, int],
) -> bool:
    kinds = Counter(act.kind for act in trace.acts)
    told = [visit_id(enrollment=walked.id, number=act.visit) for act in trace.acts if act.kind == "webhook"]
    fates.webhooks += len(told)
    return (
        emitted == kinds["emit_event"]
        and all(posts.get(visit, 0) for visit in told)
        and [each.ending for each in another] == [_THANKED] * kinds["start_journey"]
        and all(each.sends == [(1, "primary", "sent")] for each in another)
    )
