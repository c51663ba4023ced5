"""The command against the real API on a real socket."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from api.app import create_app
from tests.api.running import ADMIN_KEY, app_settings
from tests.api.serving import serving
from tests.services import Database
from waypost.cli import contacts, import_client
from waypost.cli.import_client import ImportClient, ImportRefusedError, ImportSilentError, LocalFile
from waypost.imports.options import ImportOptions

Command = Callable[..., Result]

TEXT = "\ufeffexternal_id;email;Stadt\n" + "".join(f"c{n};c{n}@example.com;Wien\n" for n in range(500))
WRONG = 'bad id;x;\n"c1";"two\nlines";\nc2;c2@example.com;Graz\n'


@pytest.fixture(scope="module")
def url(module_database: Database) -> Iterator[str]:
    with serving(create_app(app_settings(module_database))) as base:
        yield base


@pytest.fixture
def key(url: str) -> str:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        tenant = http.post("/v1/tenants", json={"name": "A tenant"}).json()
        body = {"name": "A key", "mode": "test", "scopes": ["*"]}
        return str(http.post(f"/v1/tenants/{tenant['id']}/keys", json=body).json()["key"])


@pytest.fixture
def command(url: str, key: str) -> Command:
    environment = {"WAYPOST_URL": url, "WAYPOST_KEY": key}

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(contacts.app, ["import", *map(str, arguments)], env=environment)

    return run


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(TEXT + WRONG, encoding="utf-8")
    return file


@contextmanager
def client(url: str, key: str, file: Path, **more: Any) -> Iterator[ImportClient]:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        yield ImportClient(http, LocalFile.of(file), ImportOptions(), **more)


def test_a_file_is_imported_and_what_was_refused_is_written_with_its_row(command: Command, people: Path) -> None:
    refused, report = people.with_name("refused.csv"), people.with_name("report.json")
    done = command(people, "--errors", refused, "--report", report)
    assert done.exit_code == 0, done.output
    assert "503 rows in: 500 created, 1 repeated, 2 refused" in done.output
    with refused.open(encoding="utf-8", newline="") as text:
        rows = list(csv.reader(text))
    assert rows[0] == ["row_number", "field", "message", "row"]
    assert [(row[0], row[1], row[3]) for row in rows[1:]] == [
        ("502", "email, external_id", "bad id;x;"),
        ("503", "email", '"c1";"two\nlines";'),
    ]
    assert json.loads(report.read_text())["peak_rss"] > 1_000_000


def test_a_dry_run_says_what_would_be_and_json_is_all_that_is_printed(command: Command, people: Path) -> None:
    shown = json.loads(command(people, "--dry-run", "--json").output)
    assert (shown["dry_run"], shown["rows_created"], shown["rows_refused"]) == (True, 500, 2)
    assert "would be (dry run)" in command(people, "--dry-run").output


def test_a_second_run_goes_on_where_the_first_was_killed(url: str, key: str, people: Path) -> None:
    def killed(shown: Any) -> None:
        if shown["rows_read"] > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), client(url, key, people, part=1_000) as first:
        first.run(killed)
    begun: list[int] = []
    with client(url, key, people, part=1_000) as second:
        shown = second.run(lambda now: begun.append(now["rows_read"]))
    assert begun[0] > 100
    assert (shown["state"], shown["rows_read"], shown["rows_created"]) == ("completed", 503, 500)


def test_a_line_that_is_longer_than_a_part_does_not_stop_it(url: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(f"external_id,x\na,{'x' * 90_000}\nb,1\n")
    with client(url, key, file, part=1_000) as sender:
        shown = sender.run(lambda _: None)
    assert (shown["rows_created"], shown["rows_refused"]) == (1, 1)


def test_what_the_api_refuses_is_said_with_its_reason(command: Command, url: str, tmp_path: Path) -> None:
    file = tmp_path / "nameless.csv"
    file.write_text("name\nAnn\n")
    failed = command(file)
    assert failed.exit_code == 1
    assert "invalid_import_file" in failed.output
    with client(url, "wrong", file) as stranger, pytest.raises(ImportRefusedError, match="unauthorized"):
        stranger.run(lambda _: None)


def test_an_api_that_does_not_answer_is_given_up_after_a_while(
    monkeypatch: pytest.MonkeyPatch, key: str, people: Path
) -> None:
    monkeypatch.setattr(import_client, "PATIENCE_S", 0.1)
    with client("http://127.0.0.1:9", key, people) as sender, pytest.raises(ImportSilentError):
        sender.run(lambda _: None)


def test_without_a_stack_or_a_key_it_says_what_to_set(people: Path) -> None:
    done = CliRunner().invoke(contacts.app, ["import", str(people), "--data", str(people.parent)], env={})
    assert done.exit_code == 2
    assert "WAYPOST_KEY" in done.output
