"""The control that a team would pick does its job: jobs in, e-mails out, rows recorded."""

import psycopg
import pytest

from tests.services import Database
from waypost.bench.procrastinate_worker import Place, Sending, prepare, work
from waypost.simulators.running import RunningSimulator

COUNT = 60


def place(database: Database, simulator: RunningSimulator, word: str) -> Place:
    name = f"{database.name}_queue"
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    url = psycopg.conninfo.make_conninfo(database.owner_url, dbname=name)
    return Place(database=url, endpoint=simulator.url, key="QUEUETEST", word=word)


async def run(where: Place, kind: str) -> None:
    await prepare(Sending(where, concurrency=4), kind=kind, word=where.word, count=COUNT)
    await work(Sending(where, concurrency=4), kind=kind, concurrency=4)


@pytest.mark.parametrize("kind", ["single", "bulk"])
async def test_every_job_is_done_once(database: Database, simulator: RunningSimulator, kind: str) -> None:
    await run(place(database, simulator, f"{kind}test"), kind)
    arrived = [entry["recipient"] for entry in simulator.control.log() if f"+{kind}test-" in entry["recipient"]]
    assert (len(arrived), len(set(arrived))) == (COUNT, COUNT)


async def test_a_bulk_task_records_attempts_and_messages(database: Database, simulator: RunningSimulator) -> None:
    where = place(database, simulator, "recorded")
    await run(where, "bulk")
    async with await psycopg.AsyncConnection.connect(where.database) as connection:
        rows = await connection.execute(
            "SELECT m.outcome, a.state, count(*) FROM messages m JOIN attempts a ON a.message_id = m.id GROUP BY 1, 2"
        )
        assert await rows.fetchall() == [("sent", "accepted", COUNT)]
