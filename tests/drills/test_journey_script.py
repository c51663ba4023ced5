"""The journey of kill-nine: every kind of step, and every script leads through it to its end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import get_args
from uuid import UUID

import orjson

from waypost.drills.journey_fates import CARRIED, KINDS, journey_fates
from waypost.drills.journey_ledger import AllWalked, Walked
from waypost.drills.journey_script import AFTERWARDS, EMITTED, JOURNEY, Last, Script, afterwards, document, read
from waypost.drills.journey_world import name
from waypost.journeys import steps
from waypost.journeys.trace import Trace
from waypost.journeys.validation import check_journey
from waypost.messaging.audit import Acceptance
from waypost.messaging.ids import visit_id

WEBHOOKS = "https://127.0.0.1:4"
WALK = read(document(WEBHOOKS))
PEOPLE = 140


def contact(number: int) -> UUID:
    return UUID(int=number + 1)


def traces() -> list[Trace]:
    return [Script(number=number).trace(WALK, contact(number), CARRIED) for number in range(PEOPLE)]


def test_both_journeys_are_sound_and_have_every_kind_of_step() -> None:
    for said in (document(WEBHOOKS), afterwards()):
        assert not check_journey(orjson.dumps(said).decode()).problems
    union, _ = get_args(steps.Step)
    assert {step.kind for step in WALK.steps.values()} == {
        get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(union)
    }
    assert len({step.kind for step in WALK.steps.values()}) == KINDS


def test_every_script_leads_to_its_end_and_all_of_them_through_every_step_but_the_wrong_one() -> None:
    reasons = Counter(trace.ending.reason for trace in traces() if trace.ending is not None)
    assert reasons.total() == PEOPLE
    assert set(reasons) == {"completed", "subscribed", "cancelled", "removed", "skipped", "rejected"}
    assert {visit.step for trace in traces() for visit in trace.visits} == set(WALK.steps) - {"wrong"}
    assert {Script(number=number).last for number in range(PEOPLE)} == set(Last)


def test_who_bounces_gets_the_text_instead() -> None:
    for number, trace in enumerate(traces()):
        texts = [send for send in trace.sends if send.part == "fallback"]
        reached = any(visit.step == "bye" for visit in trace.visits)
        assert len(texts) == (Script(number=number).bounces and reached)


def walked(number: int, trace: Trace) -> Walked:
    assert trace.ending is not None
    return Walked(
        id=UUID(int=1_000 + number),
        contact_id=contact(number),
        state="ended",
        ending=(trace.ending.how.value, trace.ending.reason, trace.ending.step),
        steps=[(visit.step, visit.edge) for visit in trace.visits],
        sends=[(send.visit, send.part.value, send.outcome.value) for send in trace.sends],
    )


Change = Callable[[list[Acceptance]], list[Acceptance]]


def acceptance_of_nobody() -> Acceptance:
    return Acceptance(number=999, attempt_id=None, provider_message_id=None, recipient="who@else.test", content="c")


def told(people: list[Walked], *, posted: bool = True, emitted: int = 1, change: Change = list) -> list[str]:
    """The checks that fail where the rows tell this of the first people."""
    thanked = Walked(
        id=UUID(int=1),
        contact_id=UUID(int=1),
        state="ended",
        ending=("exit", "thanked", "done"),
        sends=[(1, "primary", "sent")],
    )
    of = {name(number): [each] for number, each in enumerate(people)}
    after = {who: [thanked] * sum(step == "another" for step, _ in each.steps) for who, (each,) in of.items()}
    found = AllWalked(
        of={JOURNEY: of, AFTERWARDS: after},
        kinds=frozenset(map(str, range(KINDS))),
        emitted=Counter(dict.fromkeys(of, emitted)),
    )
    posts = {
        visit_id(enrollment=each.id, number=place): 1
        for each in people
        for place, (step, _) in enumerate(each.steps, start=1)
        if posted and step in ("tell", "refused")
    }
    addresses = [
        f"ok+{who}@example.test" for who, (each,) in of.items() for _ in range(len(each.sends) + len(after[who]))
    ]
    entries = [
        Acceptance(number=n, attempt_id=None, provider_message_id=None, recipient=address, content=str(n))
        for n, address in enumerate(addresses)
    ]
    fates = journey_fates(WALK, len(people), found, posts, change(entries))
    return [check.name for check in fates.checks() if not check.ok]


def test_what_the_interpreter_says_passes_and_each_difference_is_seen() -> None:
    everybody = traces()[:12]
    people = [walked(number, trace) for number, trace in enumerate(everybody)]
    assert told(people) == []
    assert told(people, posted=False) == told(people, emitted=2)
    assert told(people, emitted=2) == ["enrollments with other emitted events, started journeys or webhooks"]
    assert told(people, change=lambda log: log[1:]) == ["sends lost"]
    assert told(people, change=lambda log: [*log, log[0]]) == ["sends duplicated"]
    more = replace(acceptance_of_nobody(), recipient="+436640000003")
    assert told(people, change=lambda log: [*log, more]) == ["sends that nobody should have got"]
    assert told(people, change=lambda log: [*log, acceptance_of_nobody()]) == ["sends that nobody should have got"]
    people[0].steps[2] = ("ways", "c")
    people[1].ending = ("exit", "wrong", "wrong")
    people[2].state = "open"
    people[3].sends.append((9, "primary", "sent"))
    assert told(people) == [
        "enrollments that never ended",
        "enrollments that ended elsewhere than the interpreter says",
        "enrollments that took other steps",
        "enrollments with other sends",
        "sends that nobody should have got",
    ]


def test_the_emitted_event_is_the_one_that_it_waits_for() -> None:
    own = WALK.steps["own"]
    assert isinstance(own, steps.WaitFor)
    assert own.watch.event == EMITTED
