"""The transaction of the hot paths: one round trip, all or nothing, and no connection is worse for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg.errors import DivisionByZero, InFailedSqlTransaction, PipelineAborted, UniqueViolation
from sqlalchemy import text

from tests import services
from tests.store.wire import role_settings, wire_to
from waypost.store.database import Database, DatabaseAway, Role, _explicit

_INSERT = "INSERT INTO worker_processes (id, lane, host, pid) VALUES (%s, 'fast', 'h', 1)"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def relay(module_database: services.Database) -> AsyncIterator[Database]:
    """One connection, so that each test finds it as the one before left it."""
    database = Database(role_settings(module_database.url), Role.RELAY, size=1)
    await database.open()
    yield database
    await database.close()


async def _is_there(relay: Database, row: Any) -> bool:
    async with relay.transaction() as connection:
        cursor = await connection.execute("SELECT FROM worker_processes WHERE id = %s", (row,))
    return await cursor.fetchone() is not None


async def test_a_transaction_is_one_round_trip(module_database: services.Database) -> None:
    async with wire_to(module_database.url) as wire:
        through = Database(role_settings(wire.url), Role.RELAY, size=1)
        await through.open()
        assert not await _is_there(through, uuid4())  # connects and prepares
        before = wire.turns
        assert not await _is_there(through, uuid4())
        assert wire.turns - before == 1
        await through.close()


async def test_an_exception_in_the_block_takes_everything_back(relay: Database) -> None:
    row = uuid4()
    with pytest.raises(LookupError):
        async with relay.transaction() as connection:
            await connection.execute(_INSERT, (row,))
            raise LookupError
    assert not await _is_there(relay, row)


async def test_a_statements_error_takes_everything_back_and_is_told(relay: Database) -> None:
    row = uuid4()
    with pytest.raises(UniqueViolation):
        async with relay.transaction() as connection:
            await connection.execute(_INSERT, (row,))
            await connection.execute(_INSERT, (row,))
            await connection.execute(_INSERT, (uuid4(),))
    assert not await _is_there(relay, row)


async def test_an_error_that_the_block_passes_over_is_no_commit(relay: Database) -> None:
    row = uuid4()
    with pytest.raises((PipelineAborted, InFailedSqlTransaction)):
        async with relay.transaction() as connection:
            await connection.execute(_INSERT, (row,))
            with suppress(DivisionByZero):
                await (await connection.execute("SELECT 1 / 0")).fetchone()
    assert not await _is_there(relay, row)


async def test_results_can_be_asked_for_on_the_way(relay: Database) -> None:
    row = uuid4()
    async with relay.transaction() as connection:
        cursor = await connection.execute(_INSERT + " RETURNING pid", (row,))
        assert await cursor.fetchone() == (1,)
        await connection.execute("UPDATE worker_processes SET pid = 2 WHERE id = %s", (row,))
    assert await _is_there(relay, row)


async def test_a_cancelled_block_leaves_nothing_and_the_pool_goes_on(relay: Database) -> None:
    row = uuid4()

    async def slow() -> None:
        async with relay.transaction() as connection:
            await connection.execute(_INSERT, (row,))
            await (await connection.execute("SELECT pg_sleep(5)")).fetchone()

    task = asyncio.create_task(slow())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await _is_there(relay, row)


async def test_a_connection_left_in_the_middle_is_thrown_away_and_the_error_stays_what_it_was(relay: Database) -> None:
    with pytest.raises(LookupError):
        async with relay.connection() as connection, _explicit(connection):
            connection.pgconn.send_query(b"SELECT pg_sleep(5)")
            raise LookupError
    await relay.ping()


async def test_the_tenant_is_forgotten_with_its_transaction(module_database: services.Database) -> None:
    app = Database(role_settings(module_database.url), Role.APP, size=1)
    await app.open()
    tenant = uuid4()
    for asked, seen in ((tenant, tenant), (None, None)):
        async with app.transaction(asked) as connection:
            cursor = await connection.execute("SELECT waypost_tenant()")
        assert await cursor.fetchone() == (seen,)
    await app.close()


async def test_sessions_and_transactions_share_connections(relay: Database) -> None:
    row = uuid4()
    for _ in range(2):
        assert not await _is_there(relay, row)
        with pytest.raises(LookupError):
            async with relay.session() as session:
                connection = await session.connection()
                await connection.execute(text(_INSERT.replace("%s", ":id")), {"id": row})
                raise LookupError
    assert not await _is_there(relay, row)


async def test_a_connection_that_is_lost_is_replaced(relay: Database, module_database: services.Database) -> None:
    row = uuid4()
    with pytest.raises(DatabaseAway):
        async with relay.transaction() as connection:
            await connection.execute(_INSERT, (row,))
            backend = (await (await connection.execute("SELECT pg_backend_pid()")).fetchone() or (0,))[0]
            with psycopg.connect(module_database.owner_url) as killer:
                killer.execute("SELECT pg_terminate_backend(%s)", (backend,))
    assert not await _is_there(relay, row)
