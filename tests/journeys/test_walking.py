"""Random journeys and what happens to them: what must hold of every walk."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.journeys.examples import ANN, MONDAY
from tests.journeys.randomly import DOCUMENT, HAPPENING, MOMENT, pruned
from waypost.journeys.document import Journey
from waypost.journeys.graph import target_of
from waypost.journeys.happenings import (
    Around,
    Happening,
    Moved,
    Paused,
)
from waypost.journeys.interpreter import interpret
from waypost.journeys.mermaid import to_mermaid
from waypost.journeys.plan import compile_plan, read_plan, write_plan
from waypost.journeys.svg import to_svg
from waypost.journeys.trace import How, Trace
from waypost.messaging.values import Outcome

UNTIL = MONDAY + timedelta(days=30)
FREELY = settings(
    max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


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
