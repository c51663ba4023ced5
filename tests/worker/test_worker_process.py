"""`python worker.py --lanes fast`, once for real: it sends, and a SIGTERM in mid-call makes no unknowns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests import services
from tests.relay.ledger import Ledger, until
from tests.worker.running import KEY, running_worker
from waypost.simulators.running import RunningSimulator
from waypost.stack.ports import free_port
from waypost.stack.temporal import TemporalServer

CONTENT = {"content": {"channel": "email", "subject": "Hello", "text": "Hello"}}


@pytest.fixture
async def ledger(database: services.Database, simulator: RunningSimulator) -> AsyncIterator[Ledger]:
    """A tenant whose account is the simulator."""
    ledger = await Ledger.open(
        database,
        endpoint=simulator.url,
        credentials=Jsonb({"source": "env", "key_name": "SES_KEY", "secret_name": "SES_SECRET"}),
        rate_per_second=500,
    )
    await ledger.insert("account_budgets", account_id=ledger.account, tokens=100)
    await ledger.insert("feeds", account_id=ledger.account)
    yield ledger
    await ledger.close()


async def outcome(ledger: Ledger, message: UUID) -> Any:
    return (await ledger.message(message))["outcome"]


async def test_a_process_that_is_told_to_stop_in_mid_call_finishes_and_records(
    database: services.Database, ledger: Ledger, temporal_server: TemporalServer, simulator: RunningSimulator
) -> None:
    with running_worker(database, temporal=temporal_server.address) as worker:
        await worker.ready()
        first = await ledger.add_message(phase="ready", payload=Jsonb(CONTENT))
        await until(lambda: _is(ledger, first, "sent"), seconds=10)
        simulator.control.faults({"fault": "slow", "provider": "ses", "account": KEY, "ms": 2500})
        try:
            slow = [await ledger.add_message(phase="ready", payload=Jsonb(CONTENT)) for _ in range(3)]
            await until(lambda: _claimed(ledger, slow), seconds=10)
            worker.terminate()
            await asyncio.sleep(0.3)
            late = await ledger.add_message(phase="ready", payload=Jsonb(CONTENT))
            assert await worker.exit_code(seconds=12) == 0, worker.log
            assert "example.com" not in worker.log.lower()
        finally:
            simulator.control.faults()
    for message in slow:
        (attempt,) = await ledger.attempts(message)
        assert (attempt["state"], await outcome(ledger, message)) == ("accepted", "sent")
    row = await ledger.message(late)
    assert (row["phase"], row["attempts"]) == ("ready", 0), "what came after the signal waits for another process"
    assert await ledger.execute("SELECT FROM worker_processes") == []


async def test_a_process_that_waits_for_its_servers_can_be_stopped(database: services.Database) -> None:
    """Neither Temporal nor PostgreSQL is there: SIGTERM must not have to wait for them."""
    away = {"WAYPOST_DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/nothing"}
    nowhere = f"127.0.0.1:{free_port()}"
    with (
        running_worker(database, temporal=nowhere) as without_temporal,
        running_worker(database, temporal=nowhere, environment=away) as without_both,
    ):
        for worker, waits_for in ((without_temporal, "waiting for Temporal"), (without_both, "waiting for PostgreSQL")):
            await until(lambda worker=worker, words=waits_for: _has(worker.log, words), seconds=15)  # type: ignore[misc]  # defaults
            worker.terminate()
            assert await worker.exit_code(seconds=6) == 0, worker.log


async def _is(ledger: Ledger, message: UUID, what: str) -> bool:
    return bool(await outcome(ledger, message) == what)


async def _claimed(ledger: Ledger, messages: list[UUID]) -> bool:
    return all([bool(await ledger.attempts(message)) for message in messages])


async def _has(log: str, words: str) -> bool:
    return words in log
