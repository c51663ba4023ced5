"""`waypost journeys`, on the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conventions.sources import HOME
from waypost.cli import journeys
from waypost.journeys.document import journey_schema

EXAMPLES = HOME / "examples" / "journeys"
FILES = sorted(file for file in EXAMPLES.glob("*.yaml") if not file.name.endswith(".test.yaml"))
ONBOARDING = EXAMPLES / "onboarding.yaml"
RUN = CliRunner()


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Onboarding with a step that is not there."""
    file = tmp_path / "broken.yaml"
    file.write_text(
        ONBOARDING.read_text(encoding="utf-8").replace("next: has-looked", "next: has-loked"), encoding="utf-8"
    )
    return file


def test_sound_files_are_ticked_off() -> None:
    answer = RUN.invoke(journeys.app, ["validate", *map(str, FILES)])
    assert answer.exit_code == 0
    assert answer.stdout.count("✓") == len(FILES)


def test_problems_have_line_step_and_suggestion(broken: Path) -> None:
    answer = RUN.invoke(journeys.app, ["validate", str(broken), str(ONBOARDING)])
    assert answer.exit_code == 1
    assert "in-the-morning: There is no step has-loked. (did you mean has-looked?)" in answer.stdout
    assert "✓" in answer.stdout


def test_problems_are_json_where_that_is_asked_for(broken: Path, tmp_path: Path) -> None:
    answer = RUN.invoke(journeys.app, ["validate", "--json", str(broken), str(ONBOARDING), str(tmp_path / "none.yaml")])
    first, second, third = json.loads(answer.stdout)
    assert (first["valid"], second["valid"], third["valid"]) == (False, True, False)
    assert first["problems"][0]["field"] == "steps.in-the-morning.next"
    assert second["steps"] == 9
    assert third["problems"][0]["code"] == "unreadable"


def test_a_file_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    answer = RUN.invoke(journeys.app, ["validate", str(tmp_path / "a.yaml")])
    assert answer.exit_code == 1
    assert "no UTF-8" in answer.stdout


def test_a_diagram_is_mermaid_or_svg() -> None:
    assert RUN.invoke(journeys.app, ["diagram", str(ONBOARDING)]).stdout.startswith("flowchart TD\n")
    counted = RUN.invoke(journeys.app, ["diagram", str(ONBOARDING), "--format", "svg", "--counts", '{"nudge": 42}'])
    assert counted.stdout.startswith("<svg ")
    assert ">42</text>" in counted.stdout
    assert RUN.invoke(journeys.app, ["diagram", str(ONBOARDING), "--counts", "42"]).exit_code == 2


def test_a_broken_file_is_not_drawn(broken: Path) -> None:
    answer = RUN.invoke(journeys.app, ["diagram", str(broken)])
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "has-loked" in answer.stderr


def test_the_schema_is_printed() -> None:
    assert json.loads(RUN.invoke(journeys.app, ["schema"]).stdout) == journey_schema()


def test_two_files_are_compared(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(ONBOARDING.read_text(encoding="utf-8").replace("P2D", "P3D"), encoding="utf-8")
    same = RUN.invoke(journeys.app, ["diff", str(ONBOARDING), str(ONBOARDING)])
    assert (same.exit_code, same.stdout) == (0, "No difference.\n")
    table = RUN.invoke(journeys.app, ["diff", str(ONBOARDING), str(other)])
    assert table.exit_code == 3
    assert "settle-in" in table.stdout
    (found,) = json.loads(RUN.invoke(journeys.app, ["diff", "--json", str(ONBOARDING), str(other)]).stdout)
    assert (found["step"], found["before"], found["after"]) == ("settle-in", "P2D", "P3D")
