"""Cancellation and outages in the middle: a reply that came is written down, a claim is never called twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from temporalio.testing import ActivityEnvironment

from activities import lasting
from tests.activities.sending_bench import Bench, Blocked
from waypost.store.database import Database


async def test_an_activity_that_is_cancelled_in_mid_call_still_records(bench: Bench) -> None:
    message, blocked = await bench.message(), Blocked()
    bench.sender.during = blocked
    environment = ActivityEnvironment()
    running = asyncio.create_task(bench.send(message, environment))
    await asyncio.to_thread(blocked.entered.wait)
    running.cancel()
    await asyncio.sleep(0.05)
    assert not running.done()
    blocked.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await bench.states(message) == ["accepted"]
    assert (await bench.row(message))["outcome"] == "sent"


async def test_an_activity_that_is_cancelled_before_its_claim_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        waiting.set()
        await asyncio.sleep(10)

    monkeypatch.setattr(bench.budgets, "take", never)
    message = await bench.message()
    running = asyncio.create_task(bench.send(message))
    await waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await bench.states(message) == []
    monkeypatch.undo()
    assert (await bench.send(message)).state == "sent"


async def test_the_same_activity_run_twice_at_once_calls_once(bench: Bench) -> None:
    message, blocked = await bench.message(), Blocked()
    bench.sender.during = blocked
    first = asyncio.create_task(bench.send(message))
    await asyncio.to_thread(blocked.entered.wait)
    assert (await bench.send(message)).state == "held: attempt unknown"
    blocked.let_go.set()
    assert (await first).state == "sent"
    assert len(bench.sender.calls) == 1
    assert await bench.states(message) == ["accepted"]
    assert (await bench.row(message))["outcome"] == "sent"


async def test_many_runs_at_once_call_once(bench: Bench) -> None:
    message = await bench.message()
    results = await asyncio.gather(*(bench.send(message) for _ in range(6)))
    assert len(bench.sender.calls) == 1
    assert {result.state for result in results} <= {"sent", "held: attempt unknown", "changed meanwhile"}
    assert (await bench.row(message))["outcome"] == "sent"


async def test_a_reply_is_kept_in_hand_while_postgresql_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "_RECORD_AGAIN_S", 0.02)
    message = await bench.message()
    away = _Away(bench.activities._app, failures=3)
    bench.sender.during = lambda _: away.begin()
    monkeypatch.setattr(bench.activities, "_app", away)
    assert (await bench.send(message)).state == "sent"
    assert away.failures == 0
    assert await bench.states(message) == ["accepted"]


async def test_an_outage_that_outlasts_the_patience_leaves_an_attempt_that_is_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "_RECORD_AGAIN_S", 0.02)
    monkeypatch.setattr(lasting, "RECORD_PATIENCE_S", 0.1)
    message = await bench.message()
    away = _Away(bench.activities._app, failures=1000)
    bench.sender.during = lambda _: away.begin()
    with monkeypatch.context() as patch:
        patch.setattr(bench.activities, "_app", away)
        with pytest.raises(psycopg.OperationalError):
            await bench.send(message)
    assert await bench.states(message) == ["in_flight"]
    assert (await bench.send(message)).state == "held: attempt unknown"
    assert len(bench.sender.calls) == 1


class _Away:
    """A database whose next `failures` transactions fail once `begin` was called."""

    def __init__(self, database: Database, *, failures: int) -> None:
        self._database = database
        self._begun = False
        self.failures = failures

    def begin(self) -> None:
        self._begun = True

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        if self._begun and self.failures:
            self.failures -= 1
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        async with self._database.transaction(tenant) as connection:
            yield connection


async def test_only_an_activity_that_lasts_heartbeats(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[object] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)
    await bench.send(await bench.message(), environment)
    assert beats == []
    monkeypatch.setattr(lasting, "BEAT_EVERY_S", 0.02)
    message, blocked = await bench.message(), Blocked()
    bench.sender.during = blocked
    running = asyncio.create_task(bench.send(message, environment))
    await asyncio.to_thread(blocked.entered.wait)
    async with asyncio.timeout(5):
        while len(beats) < 2:  # noqa: ASYNC110 - the activity's own timer makes them
            await asyncio.sleep(0.01)
    blocked.let_go.set()
    await running
    told = len(beats)
    await asyncio.sleep(0.06)
    assert len(beats) == told
