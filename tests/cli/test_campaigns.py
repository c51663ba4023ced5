"""`waypost campaigns` against the real API on a loopback port."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from api.app import create_app
from tests.api.campaign_fixtures import campaign, end, prepare, set_run, tenant_with_contacts
from tests.api.running import Tenant, app_settings, running
from tests.api.serving import serving
from tests.services import Database
from waypost.cli.campaign_bar import Pace
from waypost.cli.campaigns import app

N = 6


@dataclass(frozen=True)
class Cli:
    url: str
    key: str
    tenant: UUID
    database: Database

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--url", self.url, "--key", self.key])

    def json(self, *words: str) -> dict[str, object]:
        answer = self.run(*words, "--json")
        assert answer.exit_code == 0, answer.output
        found: dict[str, object] = json.loads(answer.stdout)
        return found


@pytest.fixture(scope="module")
def cli(module_database: Database) -> Iterator[Cli]:
    tenant = asyncio.run(_tenant(module_database))
    with serving(create_app(app_settings(module_database))) as url:
        yield Cli(url, tenant.key, tenant.id, module_database)


async def _tenant(database: Database) -> Tenant:
    async with running(database) as api:
        tenant = await tenant_with_contacts(api, "cli", contacts=N)
        for key in ("news", "later"):
            answer = await tenant.client.put(f"/v1/campaigns/{key}", json=campaign())
            assert answer.is_success, answer.text
        return tenant


def test_a_campaign_is_scheduled_watched_to_its_end_and_shown(cli: Cli) -> None:
    assert "draft" in cli.run("list").stdout
    assert "schedule news" in cli.run("show", "news").stdout.replace("\n", " ")
    run = UUID(cli.json("schedule", "news")["run"]["id"])  # type: ignore[index]  # JSON
    asyncio.run(prepare(cli.database, cli.tenant, run))

    def send() -> None:
        time.sleep(0.3)
        for number in range(N):
            end(cli.database, run, f"c-{number}", "sent")
        set_run(cli.database, run, "state = 'completed', ended_at = waypost_now()")

    sending = threading.Thread(target=send)
    sending.start()
    watched = cli.run("watch", "news", "--json")
    sending.join()
    assert watched.exit_code == 0, watched.output
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert (lines[0]["audience"], lines[-1]["open"], lines[-1]["state"]) == (N, 0, "completed")
    assert f"{N} sent" in cli.run("show", "news").stdout
    assert f"Run 1 is completed: {N} sent." in cli.run("watch", "news", "--run", "1").stdout


def test_a_campaign_is_paused_resumed_and_cancelled(cli: Cli) -> None:
    cli.json("schedule", "later")
    assert cli.json("pause", "later")["state"] == "paused"
    assert cli.json("resume", "later")["state"] == "scheduled"
    assert cli.json("cancel", "later", "--yes")["state"] == "cancelled"
    assert cli.run("watch", "later").exit_code == 3


def test_what_the_api_refuses_is_said_in_one_line(cli: Cli) -> None:
    answer = cli.run("show", "nothing")
    assert answer.exit_code == 1
    assert answer.stderr == "waypost campaigns: There is no such campaign.\n"


def test_without_url_key_and_stack_it_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYPOST_URL", "WAYPOST_KEY"):
        monkeypatch.delenv(name, raising=False)
    answer = CliRunner().invoke(app, ["list", "--data", str(tmp_path)])
    assert answer.exit_code == 1
    assert "WAYPOST_KEY" in answer.stderr


def test_the_pace_is_that_of_the_last_ten_seconds() -> None:
    pace = Pace()
    assert pace.left(100) is None
    for second in range(30):
        pace.note(min(second, 15) * 100, float(second))
    assert pace.per_second == 0.0
    assert pace.left(100) is None
    pace = Pace()
    for second in range(30):
        pace.note(second * 100, float(second))
    assert round(pace.per_second) == 100
    assert pace.left(500) == timedelta(seconds=5)
