"""What is different between two versions."""

from __future__ import annotations

from tests.journeys.examples import example, journey_of, text_of
from waypost.journeys.differences import differences


def test_a_journey_is_not_different_from_itself() -> None:
    assert differences(example("dunning"), example("dunning")) == ()


def test_steps_and_fields_that_are_others_are_named() -> None:
    text = (
        text_of("onboarding")
        .replace("P2D", "P3D")
        .replace("tell-sales", "tell")
        .replace("name: Onboarding", "name: New")
    )
    found = [(one.what, one.step, one.field) for one in differences(example("onboarding"), journey_of(text))]
    assert found == [
        ("changed", None, "name"),
        ("changed", "mark", "next"),
        ("changed", "settle-in", "for"),
        ("added", "tell", ""),
        ("removed", "tell-sales", ""),
    ]


def test_what_a_default_says_is_no_difference() -> None:
    text = text_of("onboarding").replace("reentry: once\n", "")
    assert differences(example("onboarding"), journey_of(text)) == ()
