"""`waypost ledger audit` on a real ledger, with a log from a file and from a simulator."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from tests.relay.ledger import Attempt, Ledger
from tests.services import Database
from waypost.cli.ledger import app
from waypost.messaging.ids import attempt_id
from waypost.messaging.values import AttemptState
from waypost.simulators.running import RunningSimulator

T = TypeVar("T")


def in_ledger(database: Database, do: Callable[[Ledger], Awaitable[T]]) -> T:
    async def opened() -> T:
        ledger = await Ledger.open(database)
        try:
            return await do(ledger)
        finally:
            await ledger.close()

    return asyncio.run(opened())


def line(message: UUID, number: int = 1) -> str:
    entry = {
        "n": 0,
        "attempt_id": str(attempt_id(message=message, number=number)),
        "message_id": "m",
        "recipient": "ann@example.com",
        "body_sha256": "x",
    }
    return json.dumps(entry) + "\n"


def audit(database: Database, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments], env=database.environment())


def test_a_ledger_that_agrees_with_the_log_exits_0(database: Database, tmp_path: Path) -> None:
    message = in_ledger(database, lambda ledger: ledger.add_message(Attempt(AttemptState.ACCEPTED)))
    (tmp_path / "log").write_text(line(message))
    done = audit(database, "--log", str(tmp_path / "log"))
    assert done.exit_code == 0, done.output
    assert "agreed" in done.output


def test_a_difference_is_listed_by_id_and_exits_1(database: Database, tmp_path: Path) -> None:
    async def rows(ledger: Ledger) -> tuple[UUID, UUID]:
        twice = (Attempt(AttemptState.VOID), Attempt(AttemptState.ACCEPTED))
        return await ledger.add_message(Attempt(AttemptState.ACCEPTED)), await ledger.add_message(*twice)

    lost, doubled = in_ledger(database, rows)
    (tmp_path / "log").write_text(line(doubled) + line(doubled, 2))
    done = audit(database, "--log", str(tmp_path / "log"), "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert found["lost"] == [str(attempt_id(message=lost, number=1))]
    assert found["duplicated"] == [str(doubled)]
    assert found["unexpected"] == ["0"]
    assert "ann@example.com" not in audit(database, "--log", str(tmp_path / "log")).output


def test_a_simulators_url_is_a_log_too(database: Database, simulator: RunningSimulator) -> None:
    logged = [entry["attempt_id"] for entry in simulator.control.log()]
    done = audit(database, "--log", simulator.url, "--json")
    assert json.loads(done.output)["acceptances"] == len(logged)


@pytest.mark.parametrize("content", ['{"recipient": 1}\n', None])
def test_a_log_that_cannot_be_read_exits_2_with_a_sentence(
    database: Database, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "log").write_text(content)
    done = audit(database, "--log", str(tmp_path / "log"))
    assert done.exit_code == 2
    assert "the log could not be read" in done.output
