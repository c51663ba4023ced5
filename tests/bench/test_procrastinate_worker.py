"""The control that a team would pick does its job: jobs in, e-mails out, rows recorded in Waypost's own tables."""

from uuid import uuid4

import psycopg
import pytest

from tests.relay.ledger import Ledger, open_pool
from tests.relay.runs import add_contacts, add_run, freeze_all, recipients, run_row
from tests.services import Database
from waypost.bench.procrastinate_worker import Place, Sending, prepare, work
from waypost.simulators.running import RunningSimulator
from waypost.store.database import Role

COUNT = 60


async def place(database: Database, simulator: RunningSimulator, word: str) -> tuple[Ledger, Place]:
    """A queue's database, and in Waypost's own a run that was sent, whose rows others can be made like."""
    name = f"{database.name}_queue"
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    url = psycopg.conninfo.make_conninfo(database.owner_url, dbname=name)
    ledger = await Ledger.open(database)
    await add_contacts(ledger, 1)
    run = await add_run(ledger)
    async with open_pool(database, Role.RELAY) as relay:
        await freeze_all(relay, ledger, run)
    await ledger.execute("UPDATE campaign_runs SET state = 'completed' WHERE id = %s", (run,))
    return ledger, Place(
        database=url,
        endpoint=simulator.url,
        key="QUEUETEST",
        word=word,
        ledger=database.owner_url,
        tenant=ledger.tenant,
        run=uuid4(),
        like=run,
    )


async def carry_out(where: Place, kind: str) -> None:
    await prepare(Sending(where, concurrency=4), kind=kind, count=COUNT)
    await work(Sending(where, concurrency=4), kind=kind, concurrency=4)


@pytest.mark.parametrize("kind", ["single", "bulk"])
async def test_every_job_is_done_once(database: Database, simulator: RunningSimulator, kind: str) -> None:
    ledger, where = await place(database, simulator, f"{kind}test")
    await carry_out(where, kind)
    await ledger.connection.close()
    arrived = [entry["recipient"] for entry in simulator.control.log() if f"+{kind}test-" in entry["recipient"]]
    assert (len(arrived), len(set(arrived))) == (COUNT, COUNT)


async def test_a_bulk_task_records_the_rows_of_a_campaign(database: Database, simulator: RunningSimulator) -> None:
    ledger, where = await place(database, simulator, "recorded")
    await carry_out(where, "bulk")
    found = await recipients(ledger, where.run)
    attempts = [await ledger.attempts(row["id"]) for row in found]
    assert {(row["source"], row["phase"], row["outcome"], row["outcome_reason"]) for row in found} == {
        ("campaign", "closed", "sent", "accepted")
    }
    assert [[attempt["state"] for attempt in each] for each in attempts] == [["accepted"]] * COUNT
    told = [entry["attempt_id"] for entry in simulator.control.log() if "+recorded-" in entry["recipient"]]
    assert sorted(told) == sorted(str(each[0]["id"]) for each in attempts)
    assert (await run_row(ledger, where.run))["audience"] == COUNT
    await ledger.connection.close()
