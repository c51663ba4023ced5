"""`waypost journeys push, pull and diff --server` against the real API on a loopback port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.app import create_app
from tests.api.journey_fixtures import WAITS
from tests.api.running import Tenant, app_settings, running
from tests.api.serving import serving
from tests.services import Database
from waypost.cli.journeys import app


@dataclass(frozen=True)
class Cli:
    url: str
    key: str

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--url", self.url, "--key", self.key])


@pytest.fixture
def cli(database: Database) -> Iterator[Cli]:
    tenant = asyncio.run(_tenant(database))
    with serving(create_app(app_settings(database))) as url:
        yield Cli(url, tenant.key)


async def _tenant(database: Database) -> Tenant:
    async with running(database) as api:
        return await api.tenant()


@pytest.fixture
def tour(tmp_path: Path) -> Path:
    file = tmp_path / "journeys" / "tour.yaml"
    file.parent.mkdir()
    file.write_text(WAITS)
    (file.parent / "tour.test.yaml").write_text("no: journey\n")
    return file


def test_what_is_pushed_is_published_once_and_pulled_as_it_is_written(cli: Cli, tour: Path, tmp_path: Path) -> None:
    first = cli.run("push", str(tour.parent), "--publish")
    assert (first.exit_code, first.stdout) == (0, "tour: a new draft, published as version 1\n")
    again = cli.run("push", str(tour), "--publish")
    assert again.stdout == "tour: the draft is the same, published before as version 1\n"
    pulled = cli.run("pull", "--dir", str(tmp_path / "pulled"))
    assert pulled.exit_code == 0
    assert (tmp_path / "pulled" / "tour.yaml").read_text() == WAITS
    assert (
        json.loads(cli.run("pull", "tour", "--dir", str(tmp_path / "pulled"), "--json").stdout)[0]["what"] == "the same"
    )


def test_a_dry_run_shows_what_is_different_and_changes_nothing(cli: Cli, tour: Path) -> None:
    assert cli.run("push", str(tour)).exit_code == 0
    tour.write_text(WAITS.replace("for: P1D", "for: P3D"))
    dry = cli.run("push", str(tour), "--dry-run", "--publish")
    assert "tour: another draft (nothing was changed)" in dry.stdout
    assert "P3D" in dry.stdout
    different = cli.run("diff", str(tour), "--server", "--json")
    assert different.exit_code == 3
    (found,) = json.loads(different.stdout)
    assert (found["step"], found["field"], found["before"], found["after"]) == ("a", "for", "P1D", "P3D")
    assert cli.run("push", str(tour)).stdout == "tour: another draft\n"
    assert cli.run("diff", str(tour), "--server").exit_code == 0


def test_what_the_server_refuses_is_said_with_step_line_and_suggestion(cli: Cli, tour: Path) -> None:
    tour.write_text(WAITS.replace("a: {kind: wait, for: P1D,", "a: {kind: add_to_list, list: nobody,"))
    refused = cli.run("push", str(tour), "--publish")
    assert refused.exit_code == 1
    assert "line 6: a: There is no list nobody." in refused.stderr


def test_nothing_is_put_where_one_document_has_problems(cli: Cli, tour: Path) -> None:
    (tour.parent / "broken.yaml").write_text(WAITS.replace("next: b", "next: bb"))
    assert cli.run("push", str(tour.parent)).exit_code == 1
    assert cli.run("diff", str(tour), "--server").exit_code == 3
    assert cli.run("pull", "tour", "--dir", str(tour.parent)).exit_code == 1


def test_a_wrong_key_and_a_silent_server_are_told_in_one_line(cli: Cli, tour: Path) -> None:
    wrong = CliRunner().invoke(app, ["push", str(tour), "--url", cli.url, "--key", "wp_test_nobody_nothing"])
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    silent = CliRunner().invoke(app, ["push", str(tour), "--url", "http://127.0.0.1:1", "--key", cli.key])
    assert (silent.exit_code, silent.stderr) == (1, "waypost journeys push: the API did not answer (ConnectError).\n")
