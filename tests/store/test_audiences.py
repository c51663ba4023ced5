"""From an audience to ids, as the loops' role runs it in a freeze; and previews under the segments' role."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.types.json import Jsonb

from tests import services
from tests.relay.ledger import open_pool
from tests.segments.crowd import person
from tests.segments.laying import lay_tenant
from waypost.messaging import ids
from waypost.segments.people import Person
from waypost.segments.rules import read_rule
from waypost.store import segment_preview
from waypost.store.audiences import AudienceError, audience_query
from waypost.store.database import Database, Role
from waypost.store.segment_preview import CostlyRuleError, preview
from waypost.store.segment_sql import RuleCompiler

RULE = {"kind": "attribute", "name": "plan", "is": {"op": "exists"}}


@pytest.fixture(scope="module")
def people() -> list[Person]:
    chance = random.Random(7)
    return [person(chance, number) for number in range(60)]


@pytest.fixture(scope="module")
def tenant(module_database: services.Database, people: list[Person]) -> UUID:
    """One tenant, and another one with the same people that nobody asks for."""
    with psycopg.connect(module_database.owner_url) as owner:
        lay_tenant(owner, people)
        return lay_tenant(owner, people)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def segments(module_database: services.Database) -> AsyncIterator[Database]:
    async with open_pool(module_database, Role.SEGMENTS) as pool:
        yield pool


async def _ids(pool: Database, tenant: UUID, audience: dict[str, Any]) -> list[UUID]:
    async with pool.transaction() as connection:
        found = await audience_query(connection, tenant=tenant, audience=audience)
        whole = sql.SQL("WITH chosen AS (SELECT c.id FROM contacts c WHERE c.id IN ({})) SELECT id FROM chosen")
        return [row[0] for row in await (await connection.execute(whole.format(found))).fetchall()]


async def test_each_kind_of_audience_is_the_tenant_s_contacts_once(
    loops: Database, tenant: UUID, people: list[Person]
) -> None:
    def expected(chosen: list[Person]) -> list[UUID]:
        return sorted(ids.contact_id(tenant=tenant, external_id=one.external_id) for one in chosen)

    assert sorted(await _ids(loops, tenant, {"all": True})) == expected(people)
    on_list = [one for one in people if "vip" in one.lists]
    # As a campaign's definition is dumped: what was not chosen is null.
    audience = {"all": None, "list": "vip", "segment": None, "rule": None}
    assert sorted(await _ids(loops, tenant, audience)) == expected(on_list)
    planned = [one for one in people if one.attributes.get("plan") is not None]
    assert 0 < len(planned) < len(people)
    assert sorted(await _ids(loops, tenant, {"rule": RULE})) == expected(planned)
    inner = await _ids(loops, tenant, {"segment": "inner"})
    outer = await _ids(loops, tenant, {"segment": "outer"})
    assert sorted([*inner, *outer]) == expected(people)
    assert inner
    assert outer


async def test_an_audience_that_is_not_there_is_no_empty_one(loops: Database, tenant: UUID) -> None:
    for audience, code in (
        ({"list": "nowhere"}, "unknown_list"),
        ({"segment": "nowhere"}, "unknown_segment"),
        ({"rule": {"kind": "not", "rule": {"kind": "segment", "key": "nowhere"}}}, "unknown_segment"),
    ):
        with pytest.raises(AudienceError) as raised:
            await _ids(loops, tenant, audience)
        assert raised.value.code == code


async def test_a_rule_that_is_none_any_more_says_so(loops: Database, tenant: UUID) -> None:
    with pytest.raises(ValueError, match="kind"):
        await _ids(loops, tenant, {"rule": {"kind": "weather"}})


async def test_a_count_that_takes_too_long_is_refused_and_not_an_outage(
    segments: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def impatient(connection: Any, statement: Any) -> float:
        await connection.execute("SET LOCAL statement_timeout = 50")
        return 1.0

    slow = "SELECT c.external_id FROM contacts c, pg_sleep(0.2) WHERE c.tenant_id = {} AND {} LIMIT {}"
    monkeypatch.setattr(segment_preview, "_cost", impatient)
    monkeypatch.setattr(segment_preview, "_SAMPLE", slow)
    with pytest.raises(CostlyRuleError, match="longer than a statement may"):
        await preview(segments, tenant=tenant, rule=read_rule(RULE), max_cost=5e6)
    monkeypatch.undo()
    assert (await preview(segments, tenant=tenant, rule=read_rule(RULE), max_cost=5e6)).count > 0


async def test_the_segments_role_changes_nothing(segments: Database, tenant: UUID) -> None:
    for statement in ("DELETE FROM contacts", "UPDATE segments SET name = 'x'", "SELECT address FROM suppressions"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with segments.transaction() as connection:
                await (await connection.execute(statement)).fetchall()


def test_a_literal_says_what_it_says(module_database: services.Database, tenant: UUID) -> None:
    """Quotes, percent signs and backslashes of a rule end up in the value, not in the statement."""
    hostile = "'; DROP TABLE contacts; -- %s \\ \" {}"
    with psycopg.connect(module_database.owner_url) as owner:
        owner.execute(
            "UPDATE contacts SET attributes = %s WHERE tenant_id = %s AND external_id LIKE '%%.7'",
            (Jsonb({"x": hostile}), tenant),
        )
        for op in ("eq", "contains", "gte"):
            rule = read_rule({"kind": "attribute", "name": "x", "is": {"op": op, "value": hostile}})
            found = owner.execute(RuleCompiler(tenant=tenant, segments={}).contact_ids(rule)).fetchall()
            assert len(found) == 1, op
        owner.rollback()
