"""Acceptance as the store sees it: one round trip, one row a key, whoever asks at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from tests import services
from tests.store.wire import role_settings, wire_to
from waypost.messaging import ids
from waypost.messaging.errors import BacklogFullError
from waypost.messaging.values import Channel, MessageClass, Mode, Part
from waypost.store import messages
from waypost.store.backlog import FRESH_S, FULL_S, Backlogs
from waypost.store.database import Database, Role
from waypost.store.messages import Accepted, Keyed, KeyReused, Refused
from waypost.store.requests import PartAsked, RequestAsked


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(module_database: services.Database) -> AsyncIterator[Database]:
    """The app role's pool."""
    database = Database(role_settings(module_database.url), Role.APP)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def tenant(module_database: services.Database) -> UUID:
    """A tenant with a default email sender on a test account."""
    tenant, account, sender = uuid4(), uuid4(), uuid4()
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 't')", (tenant,))
        connection.execute(
            "INSERT INTO provider_accounts (id, name, kind, mode, credentials, feed) "
            "VALUES (%s, %s, 'ses', 'test', '{}', 'durable')",
            (account, str(account)),
        )
        connection.execute(
            "INSERT INTO senders (tenant_id, id, key, channel, address, account_id, mode, is_default) "
            "VALUES (%s, %s, 's', 'email', 'a@b.test', %s, 'test', true)",
            (tenant, sender, account),
        )
    return tenant


def _request(key: str | None = None, body: bytes = b"1", **part: Any) -> RequestAsked:
    primary = PartAsked(part=Part.PRIMARY, channel=Channel.EMAIL, **{"address": "a@b.test", **part})
    return RequestAsked(
        mode=Mode.TEST,
        message_class=MessageClass.TRANSACTIONAL,
        parts=(primary,),
        expires_in=timedelta(days=1),
        idempotency_key=key,
        body_hash=body,
    )


async def _accept(app: Database, tenant: UUID, *requests: RequestAsked) -> list[messages.Verdict]:
    return await messages.accept(app, tenant=tenant, requests=requests)


async def test_the_message_id_follows_from_tenant_and_key(app: Database, tenant: UUID) -> None:
    (verdict,) = await _accept(app, tenant, _request("k"))
    source = ids.request_id(tenant=tenant, idempotency_key="k", generation=0)
    assert verdict == Accepted(ids.message_id(tenant=tenant, source_id=source, part=Part.PRIMARY), None)


async def test_of_many_batches_with_the_same_keys_in_any_order_each_key_is_stored_once(
    app: Database, tenant: UUID
) -> None:
    requests = [_request(f"k{number}") for number in range(20)]
    answers = await asyncio.gather(
        *(_accept(app, tenant, *(requests if turn % 2 else requests[::-1])) for turn in range(8))
    )
    found = [verdict for answer in answers for verdict in answer if isinstance(verdict, Accepted)]
    assert len(found) == 160
    assert len({verdict.message_id for verdict in found}) == 20
    assert sum(not verdict.replayed for verdict in found) == 20


async def test_recall_tells_the_same_body_from_another_and_both_from_nothing(app: Database, tenant: UUID) -> None:
    (made,) = await _accept(app, tenant, _request("k"))
    assert isinstance(made, Accepted)
    asked = [Keyed("k", b"1", has_fallback=False), Keyed("k", b"2", has_fallback=False), Keyed("x", b"1", False)]
    assert await messages.recall(app, tenant=tenant, requests=asked) == [
        Accepted(made.message_id, None, replayed=True),
        KeyReused(),
        None,
    ]


async def test_a_template_that_moved_on_is_said_so_and_nothing_is_stored(app: Database, tenant: UUID) -> None:
    moved = _request("k", template_id=uuid4(), template_version=1)
    assert await _accept(app, tenant, moved) == [Refused(messages.TEMPLATE_MOVED)]


async def test_a_tenant_that_is_not_there_is_refused(app: Database) -> None:
    assert await _accept(app, uuid4(), _request("k"), _request()) == [Refused(messages.TENANT_CLOSED)] * 2


async def test_nothing_asked_is_nothing_done(app: Database, tenant: UUID) -> None:
    assert await _accept(app, tenant) == []


async def test_a_refused_fallback_takes_its_primary_with_it(app: Database, tenant: UUID) -> None:
    primary = _request("k")
    fallback = PartAsked(part=Part.FALLBACK, channel=Channel.SMS, address="+436641234567")
    asked = RequestAsked(
        mode=Mode.TEST,
        message_class=MessageClass.TRANSACTIONAL,
        parts=(*primary.parts, fallback),
        expires_in=timedelta(days=1),
        fallback_after=timedelta(minutes=1),
        idempotency_key="k",
    )
    verdicts = await _accept(app, tenant, asked, _request("other"))
    assert verdicts[0] == Refused("no_test_account", Part.FALLBACK)
    assert isinstance(verdicts[1], Accepted)
    assert isinstance((await _accept(app, tenant, _request("k")))[0], Accepted)


def test_no_acceptance_reads_more_than_its_own_rows_even_in_a_database_that_was_never_analysed(
    module_database: services.Database,
) -> None:
    query = messages._ACCEPT.replace("%(tenant)s", "$1").replace("%(parts)s", "$2")
    with psycopg.connect(module_database.owner_url) as connection:
        if connection.info.server_version < 180000:
            pytest.skip("statistics cannot be set before PostgreSQL 18")
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute("SET ROLE waypost_app")
        connection.execute(f"PREPARE accept (uuid, text) AS {query}".encode())
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE accept ('{uuid4()}', '[]')".encode()).fetchone()
    assert plan is not None
    used = set(re.findall(r"'Index Name': '(\w+)'", str(plan[0])))
    assert "Seq Scan" not in str(plan[0])
    assert used == {
        *("tenants_pkey", "contacts_pkey", "templates_pkey", "senders_pkey", "senders_one_default", "messages_pkey"),
        *("provider_accounts_pkey", "requests_tenant_id_idempotency_key_key"),
    }


async def test_an_acceptance_with_its_commit_is_one_round_trip(
    tenant: UUID, module_database: services.Database
) -> None:
    async with wire_to(module_database.url) as wire:
        through = Database(role_settings(wire.url), Role.APP, size=1)
        await through.open()
        await _accept(through, tenant, _request("first"))  # connects and prepares
        before = wire.turns
        await _accept(through, tenant, _request("second"))
        assert wire.turns - before == 1
        before = wire.turns
        await _accept(through, tenant, *(_request(f"batch{number}") for number in range(50)))
        assert wire.turns - before <= 2  # a large statement may be written in more than one go
        await through.close()


def _bound(database: services.Database, tenant: UUID, bound: int) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("UPDATE tenants SET backlog_bound = %s WHERE id = %s", (bound, tenant))


async def test_a_backlog_is_not_counted_again_while_there_is_room(
    app: Database, tenant: UUID, module_database: services.Database
) -> None:
    clock = [0.0]
    backlogs = Backlogs(app, clock=lambda: clock[0])
    _bound(module_database, tenant, 2)
    await backlogs.admit(tenant, messages=1)
    _bound(module_database, tenant, 1)  # is not seen yet
    clock[0] = FRESH_S - 1
    await backlogs.admit(tenant, messages=1)
    await _accept(app, tenant, _request())
    clock[0] = FRESH_S + 1
    with pytest.raises(BacklogFullError):
        await backlogs.admit(tenant, messages=1)


async def test_a_full_backlog_is_counted_again_after_a_second(
    app: Database, tenant: UUID, module_database: services.Database
) -> None:
    clock = [0.0]
    backlogs = Backlogs(app, clock=lambda: clock[0])
    _bound(module_database, tenant, 2)
    await backlogs.admit(tenant, messages=2)
    await _accept(app, tenant, _request(), _request())
    with pytest.raises(BacklogFullError) as full:
        await backlogs.admit(tenant, messages=1)
    assert (full.value.bound, full.value.retry_after_s) == (2, 1)
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute(
            "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'x' WHERE tenant_id = %s",
            (tenant,),
        )
    clock[0] = FULL_S + 0.1
    await backlogs.admit(tenant, messages=1)
