"""What a simulation is given and cannot be is refused before anything is started, with its field."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conventions.sources import HOME
from waypost.cli.journeys import app

EXAMPLES = HOME / "examples" / "journeys"
ONBOARDING = str(EXAMPLES / "onboarding.yaml")
CART = str(EXAMPLES / "abandoned-cart.yaml")
RUN = CliRunner()


def refused(*words: str) -> str:
    """What is said with exit code 2."""
    answer = RUN.invoke(app, ["simulate", *words])
    assert answer.exit_code == 2, answer.output
    return answer.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--contact", '{"mail": "a@b.at"}'], "--contact: mail"),
        (["--contact", '{"email": "nonsense"}'], "--contact: email"),
        (["--contact", "nobody.yaml"], "--contact: It cannot be read"),
        (["--data", "[1]"], '--data: Give JSON such as {"plan": "pro"}.'),
        (["--start", "P2D"], "--start: Give a time"),
        (["--until", "soon"], "--until: moment: "),
        (["--until", "2020-01-01", "--start", "2026-01-01"], "until: The end is not after the start."),
    ],
)
def test_an_option_that_cannot_be_is_named(words: list[str], said: str) -> None:
    assert said in refused(ONBOARDING, *words)


def test_a_keyed_journey_wants_its_key() -> None:
    assert "cart_id: Each cart_id is an enrollment of its own" in refused(CART)


def test_events_have_their_place_and_line(tmp_path: Path) -> None:
    file = tmp_path / "events.yaml"
    file.write_text("events:\n  - {at: P1D, event: bought}\n  - {at: P2D, evnt: bought}\n")
    said = refused(ONBOARDING, "--events", str(file))
    assert "events.1 (line 3): Say what happens: one of event, change" in said


def test_before_the_start_there_are_events_alone(tmp_path: Path) -> None:
    file = tmp_path / "events.yaml"
    file.write_text("- {at: -P1D, pause: true}\n")
    assert "events.0.at" in refused(ONBOARDING, "--events", str(file))


def test_a_document_with_problems_ends_with_1_and_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    text = (EXAMPLES / "onboarding.yaml").read_text()
    file.write_text(text.replace("next: has-looked", "next: has-loked").replace("for: P4D", "for: 4 days"))
    answer = RUN.invoke(app, ["simulate", str(file)])
    assert answer.exit_code == 1
    assert "There is no step has-loked." in answer.stderr
    assert "P4D" in answer.stderr


def test_a_condition_that_names_a_segment_nobody_gave_is_a_problem_of_its_step(tmp_path: Path) -> None:
    file = tmp_path / "segment.yaml"
    text = (EXAMPLES / "win-back.yaml").read_text()
    file.write_text(text.replace("when: {kind: list, key: win-back-3}", "when: {kind: segment, key: gone-for-ever}"))
    answer = RUN.invoke(app, ["simulate", str(file)])
    assert answer.exit_code == 1
    assert "how-often: There is no segment gone-for-ever." in answer.stderr
