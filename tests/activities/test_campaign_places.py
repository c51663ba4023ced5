"""Hints of where a shard's open rows begin: followed, never trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from activities import campaign_places
from activities.campaign_places import Look, Places
from tests import services
from tests.relay.ledger import Ledger
from tests.relay.runs import add_contacts, add_run, freeze_all
from waypost.store.campaign_pages import Place, load_run
from waypost.store.database import Database


class Shard:
    """A run of six recipients in one shard, and looks at it."""

    def __init__(self, app: Database, ledger: Ledger, run: UUID) -> None:
        self._app = app
        self._ledger = ledger
        self._run = run
        self.places = Places()

    async def look(self, after: Place | None = None, limit: int = 2) -> Look:
        async with self._app.transaction(self._ledger.tenant) as connection:
            run = await load_run(connection, tenant=self._ledger.tenant, run=self._run)
            assert run is not None
            return await self.places.look(connection, run=run, shard=0, after=after, limit=limit)

    async def passed(self, look: Look) -> None:
        async with self._app.transaction(self._ledger.tenant) as connection:
            run = await load_run(connection, tenant=self._ledger.tenant, run=self._run)
        assert run is not None
        self.places.passed(run=run, shard=0, place=(look.recipients[-1].due_at, look.recipients[-1].id))

    async def execute(self, statement: str, *values: Any) -> None:
        await self._ledger.execute(statement, values)


@pytest.fixture
async def shard(module_database: services.Database, app: Database, relay: Database) -> AsyncIterator[Shard]:
    ledger = await Ledger.open(module_database)
    await add_contacts(ledger, 6)
    run = await add_run(ledger)
    await freeze_all(relay, ledger, run)
    yield Shard(app, ledger, run)
    await ledger.close()


def ids(look: Look) -> list[UUID]:
    return [one.id for one in look.recipients]


async def test_a_page_begins_where_the_last_one_ended(shard: Shard) -> None:
    everybody = ids(await shard.look(limit=6))
    first = await shard.look()
    await shard.passed(first)
    second = await shard.look()
    assert second.after == (first.recipients[-1].due_at, first.recipients[-1].id)
    assert ids(first) + ids(second) == everybody[:4]


async def test_who_was_looked_at_and_not_sent_to_is_found_again(shard: Shard) -> None:
    first = await shard.look()
    again = await shard.look()
    assert first.after is None
    assert again.after is not None
    assert ids(again) == ids(first)


async def test_what_lies_behind_a_hint_is_found_once_the_hint_is_old(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_places, "KEPT_S", 0.0)
    monkeypatch.setattr(campaign_places, "_OF_THE_TIME", 0)
    first = await shard.look()
    await shard.passed(first)
    again = await shard.look()
    assert again.after is None
    assert ids(again) == ids(first)


async def test_a_cohort_that_is_let_go_is_looked_at_from_the_start(shard: Shard) -> None:
    everybody = await shard.look(limit=6)
    late = everybody.recipients[0].id
    await shard.execute("UPDATE messages SET cohort = 1 WHERE id = %s", late)
    await shard.passed(await shard.look(limit=6))
    assert ids(await shard.look()) == []
    await shard.execute("UPDATE campaign_runs SET open_cohort = 1 WHERE id = %s", shard._run)
    found = await shard.look()
    assert (found.after, ids(found)[:1]) == (None, [late])


async def test_hints_are_kept_of_a_bounded_number_of_shards(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_places, "_MOST", 0)
    await shard.look()
    assert (await shard.look()).after is None
