"""Where people go on when a journey has a new version."""

from __future__ import annotations

from tests.journeys.examples import journey_of, small
from waypost.journeys.document import write_journey
from waypost.journeys.versions import Way, move_problems, says_the_same, ways_between

BEFORE = small("a: {kind: wait, for: P1D, next: b}\nb: {kind: wait, for: P1D, next: c}\nc: {kind: exit, reason: r}")
AFTER = small(
    "a: {kind: wait, for: P9D, next: bb}\nbb: {kind: wait, for: P1D, next: c}\nc: {kind: wait, for: P1D, next: end}"
)


def test_a_step_of_the_same_id_and_kind_goes_on_resting_and_others_are_taken_anew() -> None:
    assert ways_between(BEFORE, AFTER, {"b": "bb"}) == {
        "a": Way(to="a", stays=True),
        "b": Way(to="bb", stays=False),
        "c": Way(to="c", stays=False),
    }
    assert ways_between(BEFORE, AFTER, {})["b"] is None


def test_a_version_that_moves_people_has_a_place_for_each_step_of_the_one_before() -> None:
    steps = "a: {kind: wait, for: P9D, next: bb}\nbb: {kind: wait, for: P1D, next: end}"
    moving = small(steps, head="on_new_version: move")
    found = {(one.code, one.step, one.suggestion) for one in move_problems(BEFORE, moving)}
    assert found == {
        ("missing_move", "b", "did you mean bb? Say so in moves"),
        ("missing_move", "c", "name a step of this version: moves: {c: …}"),
    }
    moved = small(steps, head="on_new_version: move\nmoves: {b: bb, c: bb}")
    assert not list(move_problems(BEFORE, moved))
    assert not list(move_problems(BEFORE, AFTER)), "who stays needs no place"


def test_moves_name_steps_of_the_version_before() -> None:
    steps = "a: {kind: wait, for: P9D, next: b}\nb: {kind: wait, for: P1D, next: c}\nc: {kind: exit, reason: r}"
    (found,) = move_problems(BEFORE, small(steps, head="on_new_version: move\nmoves: {bb: b}"))
    assert (found.code, found.path, found.suggestion) == ("unknown_step", ("moves", "bb"), "did you mean b?")


def test_one_and_true_are_different_journeys_and_remarks_make_no_difference() -> None:
    one, true = (small(f"a: {{kind: update_contact, set: {{x: {value}}}, next: end}}") for value in ("1", "true"))
    assert not says_the_same(one, true)
    assert says_the_same(one, journey_of(f"# remark\n{write_journey(one)}".replace("'", '"')))
