"""Which rows become executions: due ones, fairly, within the window, and none at the price of scanning what is held."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests import services
from tests.relay.ledger import Ledger
from waypost.messaging.values import Lane
from waypost.store.database import Database
from waypost.store.dispatch import Due, pick, return_to_rows

AHEAD = timedelta(milliseconds=250)


@pytest.fixture
async def ledger(module_database: services.Database) -> AsyncIterator[Ledger]:
    """No other test's rows are ready: picking looks at all tenants."""
    ledger = await Ledger.open(module_database)
    yield ledger
    await ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = 'cancelled', outcome_reason = 'test' WHERE phase <> 'closed'"
    )
    await ledger.close()


async def picked(loops: Database, *, batch: int = 100, lane: Lane = Lane.FAST) -> list[Due]:
    async with loops.transaction() as connection:
        return await pick(connection, lane=lane, ahead=AHEAD, batch=batch)


async def add_ready(
    ledger: Ledger,
    count: int,
    *,
    tenant: UUID | None = None,
    sender: UUID | None = None,
    account: UUID | None = None,
    ago_s: float = 1,
    lane: str = "fast",
) -> None:
    """Rows that were due a while ago, the first of them the longest."""
    await ledger.execute(
        "INSERT INTO messages (tenant_id, id, source, source_id, lane, class, mode, channel, address, sender_id,"
        " account_id, phase, due_at, expires_at)"
        " SELECT %(tenant)s, gen_random_uuid(), 'transactional', gen_random_uuid(), %(lane)s, 'transactional', 'test',"
        " 'email', 'a@example.com', %(sender)s, %(account)s, 'ready',"
        " waypost_now() - make_interval(secs => %(ago)s) + n * interval '1 ms', waypost_now() + interval '1 day'"
        " FROM generate_series(1, %(count)s) n",
        {
            "tenant": tenant or ledger.tenant,
            "sender": sender or ledger.sender,
            "account": account or ledger.account,
            "ago": ago_s,
            "lane": lane,
            "count": count,
        },
    )


async def add_tenant(ledger: Ledger, account: UUID | None = None, **columns: Any) -> tuple[UUID, UUID]:
    return await ledger.add_tenant(account or ledger.account, **columns)


async def set_window(ledger: Ledger, window: int) -> None:
    await ledger.execute("UPDATE tenants SET window_fast = %s WHERE id = %s", (window, ledger.tenant))


async def in_window(ledger: Ledger, tenant: UUID | None = None) -> int:
    rows = await ledger.execute(
        "SELECT count(*) AS n FROM messages WHERE phase = 'dispatched' AND tenant_id = %s", (tenant or ledger.tenant,)
    )
    return int(rows[0]["n"])


async def test_a_due_row_is_marked_with_all_that_its_start_needs(loops: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(phase="ready", hold_reason="not_due")
    (due,) = await picked(loops)
    assert due == Due(
        tenant_id=ledger.tenant,
        id=message,
        placement="own",
        source="transactional",
        channel="email",
        class_="transactional",
        dispatches=1,
        attempts=0,
    )
    row = await ledger.message(message)
    assert (row["phase"], row["hold_reason"], row["dispatches"]) == ("dispatched", None, 1)
    assert row["dispatched_at"] is not None
    assert await picked(loops) == []


async def test_rows_of_another_lane_or_not_yet_due_stay(loops: Database, ledger: Ledger) -> None:
    soon = await ledger.add_message(phase="ready", due_at=datetime.now(UTC) + timedelta(milliseconds=100))
    await ledger.add_message(phase="ready", due_at=datetime.now(UTC) + timedelta(seconds=5))
    await ledger.add_message(phase="ready", lane="bulk")
    for phase in ("waiting", "dispatched", "held"):
        await ledger.add_message(phase=phase)
    assert [due.id for due in await picked(loops)] == [soon]


async def test_what_was_due_first_goes_first(loops: Database, ledger: Ledger) -> None:
    now = datetime.now(UTC)
    later = await ledger.add_message(phase="ready", due_at=now - timedelta(seconds=1))
    first = await ledger.add_message(phase="ready", due_at=now - timedelta(seconds=9))
    middle = await ledger.add_message(phase="ready", due_at=now - timedelta(seconds=5))
    assert [(await picked(loops, batch=1))[0].id for _ in range(3)] == [first, middle, later]


async def test_the_window_counts_over_all_accounts(loops: Database, ledger: Ledger) -> None:
    await set_window(ledger, 5)
    other = await ledger.add_account()
    await add_ready(ledger, 10)
    await add_ready(ledger, 10, account=other)
    assert len(await picked(loops)) == 5
    assert await picked(loops) == []
    assert await in_window(ledger) == 5
    await ledger.execute(
        "UPDATE messages SET phase = 'held' WHERE (tenant_id, id) IN"
        " (SELECT tenant_id, id FROM messages WHERE phase = 'dispatched' AND tenant_id = %s LIMIT 2)",
        (ledger.tenant,),
    )
    assert len(await picked(loops)) == 2


async def test_dispatchers_at_once_never_pass_the_window(loops: Database, ledger: Ledger) -> None:
    await set_window(ledger, 30)
    others = [await ledger.add_account() for _ in range(3)]
    for account in others:
        await add_ready(ledger, 40, account=account)

    async def dispatch() -> list[Due]:
        found = []
        for _ in range(15):
            found += await picked(loops, batch=7)
            assert await in_window(ledger) <= 30
        return found

    found = [due.id for some in await asyncio.gather(*(dispatch() for _ in range(5))) for due in some]
    assert len(found) == len(set(found)) == 30


async def test_tenants_take_turns(loops: Database, ledger: Ledger) -> None:
    """One that has a thousand rows waiting leaves room in each batch for one that has three."""
    tenants = [await add_tenant(ledger) for _ in range(4)]
    await add_ready(ledger, 1000, ago_s=60)
    for tenant, sender in tenants:
        await add_ready(ledger, 3, tenant=tenant, sender=sender)
    counts = Counter(due.tenant_id for due in await picked(loops, batch=20))
    assert [counts[tenant] for tenant, _ in tenants] == [3, 3, 3, 3]
    assert counts[ledger.tenant] == 8


@pytest.mark.parametrize("state", ["suspended", "closing", "closed"])
async def test_a_tenant_that_is_not_active_is_passed_over(loops: Database, ledger: Ledger, state: str) -> None:
    held, sender = await add_tenant(ledger, state=state)
    await add_ready(ledger, 50, tenant=held, sender=sender, ago_s=3600)
    await add_ready(ledger, 2)
    assert {due.tenant_id for due in await picked(loops, batch=10)} == {ledger.tenant}
    assert await in_window(ledger, held) == 0


async def test_a_paused_account_holds_its_rows_and_nobody_elses(loops: Database, ledger: Ledger) -> None:
    paused = await ledger.add_account(state="paused")
    await add_ready(ledger, 300, account=paused, ago_s=3600)
    await add_ready(ledger, 2)
    assert len(await picked(loops, batch=10)) == 2
    assert await in_window(ledger) == 2
    await ledger.execute("UPDATE provider_accounts SET state = 'open' WHERE id = %s", (paused,))
    assert len(await picked(loops, batch=10)) == 10


async def test_a_held_backlog_costs_no_scan(module_database: services.Database, ledger: Ledger) -> None:
    """Twenty thousand rows behind a paused account and of a suspended tenant: picking two reads a handful of pages."""
    paused = await ledger.add_account(state="paused")
    suspended, sender = await add_tenant(ledger, state="suspended")
    await add_ready(ledger, 10_000, account=paused, ago_s=3600)
    await add_ready(ledger, 10_000, tenant=suspended, sender=sender, ago_s=3600)
    await ledger.execute("ANALYZE messages")
    await add_ready(ledger, 2)
    async with await psycopg.AsyncConnection.connect(module_database.relay_url) as connection:
        before = await _pages_read(connection)
        assert len(await pick(connection, lane=Lane.FAST, ahead=AHEAD, batch=100)) == 2
        read = await _pages_read(connection) - before
    assert 0 < read < 300, f"{read} pages"


async def _pages_read(connection: psycopg.AsyncConnection[Any]) -> int:
    cursor = await connection.execute(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint FROM pg_class WHERE oid = 'messages'::regclass"
        " OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'messages'::regclass)"
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0] or 0)


async def test_a_row_that_another_transaction_holds_is_passed_over(
    module_database: services.Database, loops: Database, ledger: Ledger
) -> None:
    held = await ledger.add_message(phase="ready", due_at=datetime.now(UTC) - timedelta(seconds=5))
    free = await ledger.add_message(phase="ready")
    async with await psycopg.AsyncConnection.connect(module_database.owner_url) as other:
        await other.execute("SELECT FROM messages WHERE id = %s FOR UPDATE", (held,))
        async with asyncio.timeout(1):
            assert [due.id for due in await picked(loops)] == [free]
    assert [due.id for due in await picked(loops)] == [held]


async def returned(loops: Database, *messages: Due) -> None:
    async with loops.transaction() as connection:
        await return_to_rows(connection, messages=list(messages), wait=timedelta(seconds=1))


async def test_a_row_whose_execution_did_not_start_comes_again(loops: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(phase="ready")
    (due,) = await picked(loops)
    await returned(loops, due)
    row = await ledger.message(message)
    assert (row["phase"], row["dispatched_at"]) == ("ready", None)
    assert row["due_at"] > datetime.now(UTC) + timedelta(milliseconds=500)
    await ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (message,))
    (again,) = await picked(loops)
    assert again.dispatches == 2


@pytest.mark.parametrize(
    "since",
    [
        "attempts = attempts + 1",
        "phase = 'held'",
        "phase = 'closed', outcome = 'sent', outcome_reason = 'accepted'",
        "dispatches = dispatches + 1",
    ],
)
async def test_a_row_that_its_execution_has_touched_is_not_taken_back(
    loops: Database, ledger: Ledger, since: str
) -> None:
    """The start timed out, but it had succeeded: what the execution did stands."""
    message = await ledger.add_message(phase="ready")
    (due,) = await picked(loops)
    await ledger.execute(f"UPDATE messages SET {since} WHERE id = %s", (message,))  # noqa: S608 - the test's own
    before = await ledger.message(message)
    await returned(loops, due)
    assert await ledger.message(message) == before
