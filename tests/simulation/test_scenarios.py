"""Every example's scenarios come as they are written, and what does not is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conventions.sources import HOME
from tests.journeys.examples import FILES
from waypost.cli.journeys import app

EXAMPLES = HOME / "examples" / "journeys"
RUN = CliRunner()


def test_every_example_has_scenarios() -> None:
    assert {file.stem for file in FILES} == {file.name.removesuffix(".test.yaml") for file in _suites()}


def _suites() -> list[Path]:
    return sorted(EXAMPLES.glob("*.test.yaml"))


def test_what_the_examples_scenarios_expect_comes() -> None:
    answer = RUN.invoke(app, ["test", str(EXAMPLES), "--json"])
    results = json.loads(answer.stdout)
    assert answer.exit_code == 0, [one for one in results if not one["passed"]]
    assert len(results) >= 3 * len(FILES)


@pytest.fixture
def cart(tmp_path: Path) -> Path:
    """The abandoned cart with a scenario whose first expectation comes at another time, whose last does not come."""
    (tmp_path / "cart.yaml").write_text((EXAMPLES / "abandoned-cart.yaml").read_text())
    file = tmp_path / "cart.test.yaml"
    file.write_text(
        """
journey: cart.yaml
start: "2026-11-23T10:00"
scenarios:
  - name: wrong
    data: {cart_id: c1, total: 80}
    until: P1D
    expect:
      - {at: PT2H, send: cart-reminder}
      - {send: cart-coupon}
"""
    )
    return file


def test_what_differs_is_shown_and_fails(cart: Path) -> None:
    answer = RUN.invoke(app, ["test", str(cart.parent)])
    assert answer.exit_code == 1
    assert "✗ cart.test.yaml: wrong" in answer.stdout
    assert "≠ PT1H  reminder: email cart-reminder" in answer.stdout
    assert "- send: cart-coupon" in answer.stdout
    assert "1 scenarios, 1 failed" in answer.stdout


def test_a_file_that_cannot_be_is_refused_with_its_fields_and_lines(cart: Path) -> None:
    cart.write_text(cart.read_text().replace("send: cart-coupon", "sends: cart-coupon"))
    answer = RUN.invoke(app, ["test", str(cart)])
    assert answer.exit_code == 2
    assert "scenarios.0.expect.1" in answer.stderr
    assert "line 10" in answer.stderr


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    answer = RUN.invoke(app, ["test", str(tmp_path)])
    assert answer.exit_code == 2
    assert "There is no *.test.yaml in it." in answer.stderr
