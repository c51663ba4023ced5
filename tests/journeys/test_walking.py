"""Random journeys and what happens to them: what must hold of every walk."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.journeys.examples import ANN, MONDAY, did
from waypost.journeys.document import Journey, read_journey, write_journey
from waypost.journeys.graph import target_of
from waypost.journeys.happenings import (
    Answered,
    Around,
    ContactChanged,
    ContactDeleted,
    Happening,
    Moved,
    OnResume,
    Paused,
    Receipt,
    ReceiptKind,
    Removed,
    Resumed,
    WaitSkipped,
)
from waypost.journeys.interpreter import interpret
from waypost.journeys.mermaid import to_mermaid
from waypost.journeys.plan import compile_plan, read_plan, write_plan
from waypost.journeys.svg import to_svg
from waypost.journeys.trace import How, Trace
from waypost.journeys.validation import check_journey
from waypost.messaging.values import Outcome

IDS = ("a", "b", "c", "d", "e")
TO = st.sampled_from([*IDS, "end"])
EVENT = st.sampled_from(["x", "y", "z"])
SPAN = st.sampled_from(["PT1S", "PT1H", "P1D", "P3D"])
CONDITION = st.sampled_from(
    [
        {"kind": "attribute", "name": "n", "is": {"op": "eq", "value": 1}},
        {"kind": "list", "key": "l"},
        {"kind": "event", "name": "x"},
        {"kind": "message", "event": "delivered"},
        {"kind": "not", "rule": {"kind": "list", "key": "l"}},
    ]
)
WATCH = st.fixed_dictionaries({"event": EVENT}) | st.fixed_dictionaries({"condition": CONDITION})
CLOCK = st.sampled_from(["09:00", "02:30", "23:59"])


def _step(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), **fields})


def _fallback() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"channel": st.just("sms"), "template": st.just("u"), "after": SPAN.filter(lambda s: s != "P3D")}
    )


MAIL = {"channel": st.just("email"), "template": st.just("t"), "class": st.sampled_from(["marketing", "transactional"])}
STEP = st.one_of(
    _step("send", **MAIL, next=TO),
    _step("send", **MAIL, fallback=_fallback(), next=TO),
    _step("wait", **{"for": SPAN}, next=TO),
    _step("wait", until=st.fixed_dictionaries({"time": CLOCK}), next=TO),
    _step("wait", date=st.fixed_dictionaries({"attribute": st.just("day"), "at": CLOCK}), otherwise=TO, next=TO),
    _step("wait_for", **{"for": WATCH}, timeout=SPAN, next=TO, on_timeout=TO),
    _step(
        "branch",
        choices=st.lists(st.fixed_dictionaries({"when": CONDITION, "next": TO}), min_size=1, max_size=2),
        **{"else": TO},
    ),
    _step("split", ways=st.tuples(*(st.fixed_dictionaries({"name": st.just(n), "next": TO}) for n in "pq"))),
    _step("update_contact", set=st.fixed_dictionaries({"n": st.integers(0, 1)}), next=TO),
    _step("add_to_list", list=st.just("l"), next=TO),
    _step("remove_from_list", list=st.just("l"), next=TO),
    _step("emit_event", event=EVENT, next=TO),
    _step("start_journey", journey=st.just("other"), next=TO),
    _step("webhook", url=st.just("https://a.example/"), on_failure=TO, next=TO),
    _step("approval", question=st.just("?"), timeout=SPAN, next=TO, on_reject=TO, on_timeout=TO),
    _step("exit", reason=st.just("out")),
)
DOCUMENT = st.fixed_dictionaries(
    {
        "journey": st.just("random"),
        "name": st.just("Random"),
        "entry": st.just({"kind": "api"}),
        "start": st.just("a"),
        "steps": st.fixed_dictionaries(dict.fromkeys(IDS, STEP)),
    },
    optional={
        "goal": WATCH,
        "exits": st.lists(WATCH.map(lambda watch: {**watch, "reason": "bye"}), max_size=1),
        "quiet_hours": st.just({"start": "21:00", "end": "08:00"}),
        "frequency_caps": st.just([{"limit": 2, "period": "P1D"}]),
    },
)
MOMENT = st.integers(0, 100).map(lambda hours: MONDAY + timedelta(hours=hours))
HAPPENING: st.SearchStrategy[Happening] = st.one_of(
    st.builds(lambda at, name: did(name, at), MOMENT, EVENT),
    st.builds(lambda at, n: ContactChanged(at=at, attributes={"n": n}), MOMENT, st.sampled_from([None, 0, 1])),
    st.builds(
        lambda at, day: ContactChanged(at=at, attributes={"day": day}),
        MOMENT,
        st.sampled_from([None, "2026-11-25", "2026-11-30"]),
    ),
    st.builds(
        lambda at, zone: ContactChanged(at=at, fields={"time_zone": zone}),
        MOMENT,
        st.sampled_from([None, "Asia/Tokyo"]),
    ),
    st.builds(Receipt, at=MOMENT, visit=st.integers(1, 4), kind=st.sampled_from(ReceiptKind)),
    st.builds(Answered, at=MOMENT, step=st.sampled_from(IDS), approved=st.booleans()),
    st.builds(Paused, at=MOMENT),
    st.builds(Resumed, at=MOMENT, policy=st.sampled_from(OnResume)),
    st.builds(WaitSkipped, at=MOMENT),
    st.builds(Moved, at=MOMENT, step=st.sampled_from([*IDS, "nowhere"])),
    st.builds(Removed, at=MOMENT) | st.builds(ContactDeleted, at=MOMENT),
)
UNTIL = MONDAY + timedelta(days=30)
FREELY = settings(
    max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def pruned(said: dict[str, Any]) -> Journey | None:
    """The journey of a document without its unreachable steps; None where it is not valid even so."""
    journey = read_journey(said)
    checked = check_journey(_text(said))
    unreachable = {one.step for one in checked.problems if one.code == "unreachable"}
    steps = {step_id: step for step_id, step in said["steps"].items() if step_id not in unreachable}
    if not steps:
        return None
    checked = check_journey(_text({**said, "steps": steps}))
    assert checked.journey is None or checked.journey == replace_steps(journey, steps)
    return checked.journey


def replace_steps(journey: Journey, steps: dict[str, Any]) -> Journey:
    """The journey with these steps alone."""
    return read_journey({**write_journey(journey), "steps": steps})


def _text(said: dict[str, Any]) -> str:
    return json.dumps(said)


@FREELY
@given(said=DOCUMENT, happenings=st.lists(HAPPENING, max_size=8), day=st.sampled_from([None, "2026-11-24"]))
def test_every_walk_keeps_time_and_follows_the_edges(
    said: dict[str, Any], happenings: list[Happening], day: str | None
) -> None:
    journey = pruned(said)
    if journey is None:
        return
    ann = replace(ANN, attributes={"day": day})
    trace = interpret(journey, ann, start=MONDAY, happenings=happenings, until=UNTIL)
    _is_sound(journey, trace, happenings)
    assert trace == interpret(journey, ann, start=MONDAY, happenings=happenings, until=UNTIL)


def _is_sound(journey: Journey, trace: Trace, happenings: list[Happening]) -> None:
    moved = any(isinstance(one, Moved) for one in happenings)
    for one, later in pairwise(trace.visits):
        assert one.left_at is not None
        assert one.entered_at <= one.left_at == later.entered_at
        assert moved or one.edge is not None
        assert one.edge is None or target_of(journey.steps[one.step], one.edge) == later.step or moved
    assert [visit.number for visit in trace.visits] == list(range(1, len(trace.visits) + 1))
    parts = [(one.visit, one.part) for one in trace.sends]
    assert len(set(parts)) == len(parts), "a part of a visit is sent once"
    assert [one.at for one in trace.sends] == sorted(one.at for one in trace.sends)
    if trace.ending is not None and trace.ending.how not in (How.COMPLETED, How.EXIT):
        assert all(one.at <= trace.ending.at for one in trace.sends)
    if trace.ending is None and trace.wakes_at is None:
        paused = any(isinstance(one, Paused) for one in happenings)
        assert paused, "whoever waits wakes some time"


@FREELY
@given(said=DOCUMENT, happenings=st.lists(HAPPENING, max_size=6), cut=MOMENT)
def test_a_walk_that_is_looked_at_earlier_is_its_own_beginning(
    said: dict[str, Any], happenings: list[Happening], cut: Any
) -> None:
    journey = pruned(said)
    if journey is None:
        return
    whole = interpret(journey, ANN, start=MONDAY, happenings=happenings, until=UNTIL)
    part = interpret(journey, ANN, start=MONDAY, happenings=happenings, until=cut)
    assert part.sends == tuple(one for one in whole.sends if one.at <= cut)
    assert [one.step for one in part.visits] == [one.step for one in whole.visits if one.entered_at <= cut]


@FREELY
@given(said=DOCUMENT)
def test_every_journey_is_compiled_and_drawn(said: dict[str, Any]) -> None:
    journey = pruned(said)
    if journey is not None:
        assert read_plan(write_plan(compile_plan(journey))) == compile_plan(journey)
        assert to_svg(journey).count("marker-end") == to_mermaid(journey).count("-->")


@FREELY
@given(said=DOCUMENT, night=st.integers(0, 23))
def test_nothing_of_marketing_goes_out_in_quiet_hours_nor_over_caps(said: dict[str, Any], night: int) -> None:
    journey = pruned(
        {**said, "quiet_hours": {"start": "21:00", "end": "08:00"}, "frequency_caps": [{"limit": 2, "period": "P1D"}]}
    )
    if journey is None:
        return
    ann = replace(ANN, time_zone="UTC")
    trace = interpret(journey, ann, start=MONDAY + timedelta(hours=night), until=UNTIL, around=Around())
    marketing = [
        one
        for one in trace.sends
        if one.outcome is Outcome.SENT and getattr(journey.steps[one.step], "message_class", "") == "marketing"
    ]
    assert all(8 <= one.at.hour < 21 for one in marketing)
    assert all(later.at - one.at >= timedelta(days=1) for one, later in zip(marketing, marketing[2:], strict=False))
