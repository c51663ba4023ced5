"""Attempts and events by month: made ahead, dropped when nobody keeps them, and the constraints that still hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from tests.relay.ledger import Attempt, Ledger, arrivals, event, month_of, open_pool
from tests.services import Database as MigratedDatabase
from waypost.messaging.ids import contact_id
from waypost.messaging.values import AttemptState, EventKind
from waypost.relay.months import Months
from waypost.store.attempts import claim
from waypost.store.contact_events import ContactEvent, Taken, receive_events
from waypost.store.database import Database, Role
from waypost.store.events import store_events
from waypost.store.months import default_rows, drop_month, make_month
from waypost.store.retention import forget_contact_events, forget_messages

OLD = datetime(2025, 3, 15, tzinfo=UTC)
DAYS = 90
TABLES = ("attempts", "contact_events", "provider_events")


@pytest_asyncio.fixture
async def ledger(database: MigratedDatabase) -> AsyncIterator[Ledger]:
    """In a database of the test's own, for months are everybody's."""
    ledger = await Ledger.open(database)
    yield ledger
    await ledger.close()


@pytest_asyncio.fixture
async def loops(database: MigratedDatabase) -> AsyncIterator[Database]:
    async with open_pool(database, Role.RELAY) as pool:
        yield pool


@pytest_asyncio.fixture
async def app(database: MigratedDatabase) -> AsyncIterator[Database]:
    async with open_pool(database, Role.APP) as pool:
        yield pool


async def partitions(ledger: Ledger) -> set[str]:
    rows = await ledger.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid"
        " JOIN pg_class p ON p.oid = i.inhparent WHERE p.relkind = 'p' AND c.relkind = 'r'"
    )
    return {row["relname"] for row in rows}


async def make(loops: Database, at: str | None = None) -> list[str]:
    """All that is missing, as of a moment."""
    made: list[str] = []
    while True:
        async with loops.transaction() as connection:
            await connection.execute("SELECT set_config('app.now', %s, true)", (at or "",))
            name = await make_month(connection)
        if name is None:
            return made
        made.append(name)


async def drop(loops: Database, *, message_days: int = DAYS, event_days: int = DAYS) -> list[str]:
    dropped: list[str] = []
    while True:
        async with loops.transaction() as connection:
            name = await drop_month(connection, message_days=message_days, event_days=event_days)
        if name is None:
            return dropped
        dropped.append(name)


async def old_message(ledger: Ledger, *attempts: Attempt, **columns: Any) -> UUID:
    ended = {"phase": "closed", "outcome": "sent", "outcome_reason": "accepted", "outcome_at": OLD, "created_at": OLD}
    return await ledger.add_message(*attempts, **(ended | columns))


async def old_event(ledger: Ledger, *, received_at: datetime = OLD) -> None:
    await ledger.insert(
        "provider_events",
        account_id=ledger.account,
        event_id=str(uuid4()),
        kind="send",
        occurred_at=OLD,
        received_at=received_at,
        raw="",
        month=month_of(OLD),
    )


async def test_this_month_and_the_next_two_are_there_after_migrating(ledger: Ledger) -> None:
    months = await ledger.execute(
        "SELECT to_char(waypost_month(waypost_now()) + make_interval(months => n), 'YYYY_MM') AS month"
        " FROM generate_series(0, 2) AS n"
    )
    expected = {f"{table}_{row['month']}" for table in TABLES for row in months}
    assert await partitions(ledger) == expected | {f"{table}_default" for table in TABLES}


async def test_months_are_made_as_the_clock_goes_on_and_once_each(loops: Database, ledger: Ledger) -> None:
    before = await partitions(ledger)
    assert await make(loops) == []
    made = await make(loops, "2031-12-31T23:59:59Z")
    assert set(made) == {f"{table}_{month}" for table in TABLES for month in ("2031_12", "2032_01", "2032_02")}
    assert await make(loops, "2031-12-31T23:59:59Z") == []
    assert await partitions(ledger) == before | set(made)


async def test_several_makers_at_once_make_each_month_once(loops: Database, ledger: Ledger) -> None:
    made = await asyncio.gather(*(make(loops, "2031-05-01T00:00:00Z") for _ in range(5)))
    names = [name for each in made for name in each]
    assert len(names) == len(set(names)) == 9
    assert set(names) <= await partitions(ledger)


async def test_a_month_looks_like_its_table(ledger: Ledger) -> None:
    for table in TABLES:
        for part in (name for name in await partitions(ledger) if name.startswith(table)):
            indexes = await ledger.execute(
                "SELECT replace(i.relname, %(part)s, %(table)s) AS name, x.indisunique,"
                " pg_get_expr(x.indpred, x.indrelid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
                " WHERE x.indrelid = %(of)s::text::regclass"
                " ORDER BY 1",
                {"part": part, "table": table, "of": part},
            )
            of_table = await ledger.execute(
                "SELECT i.relname AS name, x.indisunique, pg_get_expr(x.indpred, x.indrelid) FROM pg_index x"
                " JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = %s::text::regclass ORDER BY 1",
                (table,),
            )
            assert indexes == of_table


async def test_no_role_reaches_a_partition_beside_its_table(ledger: Ledger) -> None:
    reached = await ledger.execute(
        "SELECT relname, role FROM pg_class"
        " CROSS JOIN unnest(ARRAY['waypost_app', 'waypost_relay', 'waypost_segments']) AS r (role)"
        " WHERE relispartition AND relkind = 'r'"
        " AND has_table_privilege(role, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"
    )
    assert reached == []


@pytest.mark.parametrize("role", [Role.APP, Role.SEGMENTS])
async def test_only_the_relay_makes_and_drops(database: MigratedDatabase, ledger: Ledger, role: Role) -> None:
    async with open_pool(database, role) as pool:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with pool.transaction() as connection:
                await make_month(connection)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with pool.transaction() as connection:
                await drop_month(connection, message_days=DAYS, event_days=DAYS)


async def test_a_message_over_a_months_end_keeps_one_open_attempt(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    await make(loops, "2031-05-15T00:00:00Z")
    message = await ledger.add_message(created_at="2031-05-31T23:59:59Z", expires_at="2031-07-01T00:00:00Z")

    async def claimed_at(at: str, number: int) -> UUID | None:
        async with app.transaction(ledger.tenant) as connection:
            await connection.execute("SELECT set_config('app.now', %s, true)", (at,))
            return await claim(
                connection, tenant=ledger.tenant, message=message, number=number, content_hash=b"h", process="test"
            )

    assert await claimed_at("2031-05-31T23:59:59.5Z", 1) is not None
    assert await claimed_at("2031-06-01T00:00:01Z", 2) is None
    await ledger.execute("UPDATE attempts SET state = 'void'")
    await ledger.execute("UPDATE messages SET attempts = 1")
    assert await claimed_at("2031-06-01T00:00:02Z", 2) is not None
    rows = await ledger.execute("SELECT tableoid::regclass::text AS part FROM attempts")
    assert [row["part"] for row in rows] == ["attempts_2031_05"] * 2


async def test_what_is_in_no_month_is_kept_all_the_same_and_counted(loops: Database, ledger: Ledger) -> None:
    await old_message(ledger, Attempt())
    async with loops.transaction() as connection:
        assert await default_rows(connection) == {"attempts": 1, "provider_events": 0, "contact_events": 0}
    assert sorted(await make(loops, OLD.isoformat())) == sorted(
        f"{table}_{month}"
        for table in TABLES
        for month in ("2025_03", "2025_04", "2025_05")
        if (table, month) != ("attempts", "2025_03")
    )


async def test_a_month_of_attempts_is_dropped_when_its_messages_are_gone(loops: Database, ledger: Ledger) -> None:
    await make(loops, OLD.isoformat())
    await old_message(ledger, Attempt())
    assert "attempts_2025_03" not in await drop(loops)
    async with loops.transaction() as connection:
        assert await forget_messages(connection, days=DAYS, limit=10) == 1
    assert len(await ledger.execute("SELECT id FROM attempts")) == 1
    assert await drop(loops, message_days=0) == []
    assert "attempts_2025_03" in await drop(loops)
    assert "attempts_2025_03" not in await partitions(ledger)
    assert await ledger.execute("SELECT id FROM attempts") == []


async def test_who_keeps_shorter_than_others_has_its_attempts_deleted(loops: Database, ledger: Ledger) -> None:
    await make(loops, OLD.isoformat())
    await ledger.add_tenant(ledger.account, message_retention_days=3650)
    await old_message(ledger, Attempt())
    async with loops.transaction() as connection:
        assert await forget_messages(connection, days=DAYS, limit=10) == 1
    assert await ledger.execute("SELECT id FROM attempts") == []
    assert "attempts_2025_03" not in await drop(loops)


async def test_a_month_with_an_attempt_of_unknown_fate_stays(loops: Database, ledger: Ledger) -> None:
    await make(loops, OLD.isoformat())
    message = await old_message(ledger, Attempt(AttemptState.UNKNOWN))
    await old_event(ledger)
    await ledger.execute("UPDATE attempts SET claimed_at = %s", (OLD,))
    assert {"attempts_2025_03", "provider_events_2025_03"}.isdisjoint(await drop(loops))
    await ledger.execute("UPDATE attempts SET state = 'assumed_sent'")
    await ledger.execute("DELETE FROM messages WHERE id = %s", (message,))
    assert {"attempts_2025_03", "provider_events_2025_03"} <= set(await drop(loops))


async def test_a_month_of_events_stays_as_long_as_one_tenant_keeps_them(loops: Database, ledger: Ledger) -> None:
    await make(loops, OLD.isoformat())
    await old_event(ledger)
    assert await drop(loops, event_days=0, message_days=0) == []
    await ledger.execute("UPDATE tenants SET event_retention_days = 3650")
    assert await drop(loops, message_days=0) == []
    await ledger.execute("UPDATE tenants SET event_retention_days = 15")
    assert "provider_events_2025_03" in await drop(loops)
    assert await ledger.execute("SELECT id FROM provider_events") == []


async def test_a_month_into_which_an_event_came_late_stays(loops: Database, ledger: Ledger) -> None:
    await make(loops, OLD.isoformat())
    await old_event(ledger)
    await old_event(ledger, received_at=datetime.now(UTC))
    assert "provider_events_2025_03" not in await drop(loops)


async def test_a_month_that_is_in_use_is_tried_again_later(loops: Database, ledger: Ledger) -> None:
    await make(loops, OLD.isoformat())
    async with loops.connection() as other, other.transaction():
        await other.execute("SELECT count(*) FROM provider_events")
        assert not [name for name in await drop(loops) if name.startswith("provider_events")]
    assert "provider_events_2025_03" in await drop(loops)


async def test_the_loop_makes_and_drops_until_nothing_is_left_to_do(loops: Database, ledger: Ledger) -> None:
    await make(loops, OLD.isoformat())
    months = Months(loops, message_days=DAYS, event_days=DAYS)
    while await months.look():
        pass
    assert not [name for name in await partitions(ledger) if "2025" in name]


async def test_an_event_that_is_dated_by_its_coming_is_kept_once_over_a_months_end(
    loops: Database, ledger: Ledger
) -> None:
    message = await ledger.add_message(Attempt())
    first = event(message, EventKind.DELIVERY, at=datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    again = event(message, EventKind.DELIVERY, at=datetime(2026, 12, 1, tzinfo=UTC))
    async with loops.transaction() as connection:
        assert len(await store_events(connection, arrivals(ledger.account, [first]))) == 1
    async with loops.transaction() as connection:
        assert await store_events(connection, arrivals(ledger.account, [again, first])) == []


async def test_an_event_of_an_old_attempt_finds_its_message(loops: Database, ledger: Ledger) -> None:
    message = await old_message(ledger, Attempt())
    async with loops.transaction() as connection:
        await store_events(connection, arrivals(ledger.account, [event(message, EventKind.CLICK)]))
    assert [row["message_id"] for row in await ledger.rows("provider_events")] == [message]


async def test_a_contacts_event_is_kept_once_whatever_its_time(app: Database, ledger: Ledger) -> None:
    await add_contact(ledger)
    for at, taken in ((OLD, Taken.ACCEPTED), (None, Taken.DUPLICATE), (datetime.now(UTC), Taken.DUPLICATE)):
        assert await tell(app, ledger, at) is taken
    assert len(await ledger.rows("contact_events")) == 1


async def test_contacts_events_are_forgotten_and_their_month_dropped(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    await make(loops, OLD.isoformat())
    await add_contact(ledger)
    await tell(app, ledger, OLD)

    async def forget(days: int) -> int:
        async with loops.transaction() as connection:
            return await forget_contact_events(connection, days=days, limit=10)

    assert await forget(DAYS) == 0
    assert "contact_events_2025_03" not in await drop(loops)
    await ledger.execute("UPDATE contact_events SET received_at = %s", (OLD,))
    await ledger.execute("UPDATE tenants SET event_retention_days = 3650")
    assert await forget(DAYS) == 0
    await ledger.execute("UPDATE tenants SET event_retention_days = NULL")
    assert await forget(0) == 0
    assert "contact_events_2025_03" in await drop(loops)
    await tell(app, ledger, None)
    await ledger.execute("UPDATE contact_events SET received_at = %s", (OLD,))
    assert await forget(DAYS) == 1


async def add_contact(ledger: Ledger) -> None:
    identity = contact_id(tenant=ledger.tenant, external_id="ann")
    await ledger.insert("contacts", tenant_id=ledger.tenant, id=identity, external_id="ann")


async def tell(app: Database, ledger: Ledger, at: datetime | None) -> Taken:
    told = ContactEvent(id="e-1", contact="ann", name="ordered", occurred_at=at)
    async with app.transaction(ledger.tenant) as connection:
        received = await receive_events(connection, tenant=ledger.tenant, events=[told])
    ((_, taken),) = received.events
    return taken
