"""What the demo counts of its journey: who left wrongly, and messages that nobody foresaw or that are not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from waypost.demo.endings import End
from waypost.demo.first_days import FILE, MOST, document, way_of
from waypost.demo.people import Person, people
from waypost.demo.templates import CLUB, load
from waypost.demo.walk import Walk, Way
from waypost.journeys.steps import Send
from waypost.journeys.validation import check_journey
from waypost.messaging.values import Channel

PERSONS = list(people(20))
RUN = "demo-abc123"


def a_walk() -> Walk:
    journey = check_journey(document(RUN)).journey
    assert journey is not None
    return Walk(journey, entered=1)


def enrollment(*steps: str, how: str = "exit", reason: str = "not_yet") -> dict[str, Any]:
    visits = [{"number": number, "step": step} for number, step in enumerate(steps, start=1)]
    return {"id": str(uuid4()), "execution": "x", "state": "ended", "how": how, "reason": reason, "visits": visits}


def message(visit: int, part: str = "primary") -> Mapping[str, Any]:
    return {"id": str(uuid4()), "metadata": {"visit": visit}, "part": part}


def foreseen(person: Person, rows: list[Mapping[str, Any]], *, gone: bool = False, how: str = "exit") -> list[set[End]]:
    walk = a_walk()
    walk.foresee(enrollment("welcome", how=how), rows, person, lambda channel, _: gone and channel is Channel.EMAIL)
    assert set(walk.rows) <= set(walk.foreseen)
    return [set(walk.foreseen[UUID(row["id"])]) for row in rows]


def test_the_example_is_the_runs_own_and_its_templates_are_there() -> None:
    journey = a_walk().journey
    assert journey.journey == RUN
    assert "first-days" not in document(RUN).split("\n", 2)[2]
    sends = [step for step in journey.steps.values() if isinstance(step, Send)]
    used = {step.template for step in sends} | {step.fallback.template for step in sends if step.fallback is not None}
    assert used == set(CLUB)
    assert all(load(key)["locales"].keys() == {"en", "de"} for key in CLUB)
    assert FILE.is_file()


def test_of_twenty_people_some_leave_by_each_way() -> None:
    assert MOST >= 20
    ways = {way_of(person)[2] for person in PERSONS}
    assert {way.last for way in ways} == {"thanks-by-sms", "thanks", "first-order", "not-yet"}


@pytest.mark.parametrize("last", ["not-yet", "thanks"])
def test_who_left_by_another_way_is_counted(last: str) -> None:
    walk = a_walk()
    walk.add(enrollment("welcome", last), frozenset({Way("exit", "not_yet", "not-yet")}))
    assert walk.right == (last == "not-yet")
    assert [check.ok for check in walk.checks()] == [True, last == "not-yet"]


def test_who_is_still_in_it_has_not_left() -> None:
    walk = a_walk()
    walk.add({**enrollment("welcome"), "state": "open"}, frozenset())
    assert [check.ok for check in walk.checks()] == [False, False]


def test_a_fallback_is_right_where_it_is_needed_and_skipped_where_not() -> None:
    rows = [message(1), message(1, "fallback")]
    ordinary, silent = PERSONS[0], PERSONS[11]
    assert foreseen(ordinary, rows) == [{End.DELIVERED}, {End.SKIPPED, End.DELIVERED}]
    assert foreseen(silent, rows) == [{End.UNREPORTED}, {End.DELIVERED}]
    assert foreseen(ordinary, rows, gone=True) == [{End.SUPPRESSED}, {End.DELIVERED}]
    assert End.CANCELLED in foreseen(ordinary, rows, how="exit_rule")[1], "an exit rule takes it back"


def test_a_send_without_its_message_is_missing_and_a_message_without_its_send_ends_wrongly() -> None:
    walk, known, stray = a_walk(), message(1), message(7)
    walk.foresee(enrollment("welcome"), [known, stray], PERSONS[0], lambda *_: False)
    assert len(walk.foreseen.keys() - walk.rows.keys()) == 1
    assert walk.foreseen[UUID(stray["id"])] == frozenset()
