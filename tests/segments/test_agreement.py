"""The rule language, held against its reference: PostgreSQL finds the same members as the evaluator in Python."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from pydantic import ValidationError

from tests.segments.crowd import NOW, SEGMENT_RULES, TEXTS, person, rules
from tests.segments.laying import lay_tenant
from tests.services import Database
from waypost.segments.comparing import fold
from waypost.segments.evaluate import evaluate
from waypost.segments.moments import read_moment
from waypost.segments.people import Person
from waypost.segments.rules import Rule, read_rule
from waypost.store.segment_sql import RuleCompiler

PEOPLE = 200

_NEARLY = (
    r"[0-3][0-9]{3}-[01][0-9]-[0-3][0-9]"
    r"(T[0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,7})?)?(Z|[+-][01][0-9]:[0-6][0-9])?)?"
)


@dataclass(frozen=True)
class Crowd:
    """Two tenants' people, and a connection of the segments' role that sees the rows of both."""

    connection: psycopg.Connection[Any]
    tenants: dict[UUID, list[Person]]

    def members(self, tenant: UUID, rule: Rule) -> list[str]:
        """Who belongs, as PostgreSQL says: what a freeze would insert."""
        found = RuleCompiler(tenant=tenant, segments=SEGMENT_RULES).contact_ids(rule)
        whole = sql.SQL('SELECT external_id FROM contacts WHERE id IN ({}) ORDER BY external_id COLLATE "C"')
        return [row[0] for row in self.connection.execute(whole.format(found))]


@pytest.fixture(scope="module")
def crowd(module_database: Database) -> Iterator[Crowd]:
    chance = random.Random(20261124)
    tenants: dict[UUID, list[Person]] = {}
    with psycopg.connect(module_database.owner_url) as owner:
        for _ in range(2):
            people = [person(chance, number) for number in range(PEOPLE)]
            tenants[lay_tenant(owner, people)] = people
    with psycopg.connect(module_database.segments_url, autocommit=True) as connection:
        connection.execute("SELECT set_config('app.now', %s, false)", (NOW.isoformat(),))
        connection.execute("SET TimeZone = 'America/St_Johns'")
        yield Crowd(connection, tenants)


@settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(said=rules)
def test_postgresql_and_the_evaluator_find_the_same_members(crowd: Crowd, said: dict[str, Any]) -> None:
    try:
        rule = read_rule(said)
    except ValidationError:
        assume(False)
        raise
    for tenant, people in crowd.tenants.items():
        expected = sorted(one.external_id for one in people if evaluate(rule, one, now=NOW, segments=SEGMENT_RULES))
        assert crowd.members(tenant, rule) == expected


def test_the_crowd_is_divided_by_rules_and_not_trivially(crowd: Crowd) -> None:
    """A test of the test: each comparison has some for whom it holds, and some for whom it does not."""
    ops: list[dict[str, Any]] = [
        {"op": "eq", "value": "pro"}, {"op": "ne", "value": "pro"}, {"op": "gt", "value": 1}, {"op": "lte", "value": 1},
        {"op": "eq", "value": True}, {"op": "in", "values": ["É", 1]}, {"op": "exists"}, {"op": "missing"},
        {"op": "contains", "value": "PRO"}, {"op": "has", "value": "pro"}, {"op": "before", "moment": "now"},
        {"op": "after", "moment": "now - P1M"}, {"op": "within_last", "period": "P7D"},
        {"op": "within_next", "period": "P7D"},
    ]  # fmt: skip
    for op in ops:
        rule = read_rule(
            {"kind": "any", "rules": [{"kind": "attribute", "name": name, "is": op} for name in ("plan", "since")]}
        )
        count = sum(len(crowd.members(tenant, rule)) for tenant in crowd.tenants)
        assert 0 < count < PEOPLE * len(crowd.tenants), (op, count)


def test_every_letter_folds_to_the_same_one(crowd: Crowd) -> None:
    letters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    query = "SELECT a, waypost_fold(a) FROM unnest(%s::text[]) a WHERE waypost_fold(a) <> a"
    folded = dict(crowd.connection.execute(query, (letters,)).fetchall())
    ours = {letter: low for letter in letters if (low := fold(letter)) != letter}
    assert len(ours) > 1300
    # PostgreSQL's Unicode is newer than Python's: letters that one of them has not heard of may differ.
    assert {letter: folded.get(letter) for letter in ours} == ours
    assert len(folded.keys() - ours.keys()) < 50


@settings(max_examples=600, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    text=st.one_of(
        st.sampled_from(TEXTS),
        st.from_regex(_NEARLY, fullmatch=True),
        st.datetimes().map(lambda moment: moment.isoformat()),
    )
)
@example(text="2024-02-29")
@example(text="2023-02-29")
@example(text="1900-02-29T00:00")
def test_both_read_the_same_moment_of_a_text(crowd: Crowd, text: str) -> None:
    row = crowd.connection.execute("SELECT waypost_moment(%s)", (text,)).fetchone()
    assert row is not None
    assert row[0] == read_moment(text)


def test_a_rule_uses_the_index_on_attributes(crowd: Crowd) -> None:
    rule = read_rule({"kind": "attribute", "name": "address.city", "is": {"op": "eq", "value": "pro"}})
    tenant = next(iter(crowd.tenants))
    found = RuleCompiler(tenant=tenant, segments={}).contact_ids(rule)
    with crowd.connection.transaction():
        crowd.connection.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in crowd.connection.execute(sql.SQL("EXPLAIN {}").format(found)))
    assert "contacts_by_attributes" in plan
