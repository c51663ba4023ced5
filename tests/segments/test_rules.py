"""The language itself: what can be written, and what it means where the random crowd does not look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from tests.segments.crowd import rules
from waypost.segments.comparing import holds
from waypost.segments.comparisons import Compare
from waypost.segments.evaluate import evaluate, explain
from waypost.segments.moments import FromNow, read_moment, read_when
from waypost.segments.people import Person
from waypost.segments.references import expanded_size, find_cycle, list_keys, segment_keys, topic_keys
from waypost.segments.rules import MAX_DEPTH, MAX_NODES, read_rule, write_rule

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRO: dict[str, Any] = {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "pro"}}
ANN = Person(external_id="ann", created_at=NOW, attributes={"plan": "pro", "n": 1})


@settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(said=rules)
def test_a_rule_that_is_written_and_read_again_is_the_same(said: dict[str, Any]) -> None:
    try:
        rule = read_rule(said)
    except ValidationError:
        return
    again = read_rule(write_rule(rule))
    assert again == rule
    assert repr(again) == repr(rule)


def _nested(depth: int) -> dict[str, Any]:
    rule = PRO
    for _ in range(depth - 1):
        rule = {"kind": "not", "rule": rule}
    return rule


def test_a_rule_is_bounded_in_depth_and_in_number() -> None:
    read_rule(_nested(MAX_DEPTH))
    read_rule({"kind": "any", "rules": [PRO] * (MAX_NODES - 1)})
    for rule in (_nested(MAX_DEPTH + 1), _nested(5_000), {"kind": "any", "rules": [PRO] * MAX_NODES}):
        with pytest.raises(ValidationError, match="at most"):
            read_rule(rule)


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "attribute", "name": "plan", "is": {"op": "gt", "value": True}},
        {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": None}},
        {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": float("nan")}},
        {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "a\0"}},
        {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "\ud800"}},
        {"kind": "attribute", "name": "a.b.c.d.e.f", "is": {"op": "exists"}},
        {"kind": "attribute", "name": "plan", "is": {"op": "after", "moment": "now - 30 days"}},
        {"kind": "attribute", "name": "plan", "is": {"op": "within_last", "period": "-P1D"}},
        {"kind": "attribute", "name": "plan", "is": {"op": "contains", "value": ""}},
        {"kind": "event", "name": "came", "at_least": 3, "at_most": 2},
        {"kind": "message", "event": "read"},
        {"kind": "list", "key": "No Such Key"},
        {"kind": "all", "rules": [], "rule": PRO},
        "plan = 'pro'",
        {},
    ],
)
def test_what_is_no_rule_is_refused(said: Any) -> None:
    with pytest.raises(ValidationError):
        read_rule(said)


def test_relative_moments_are_exact_periods() -> None:
    assert read_when("now") == FromNow(timedelta(0))
    assert read_when("now - P30D") == FromNow(timedelta(days=-30))
    assert read_when("now+PT2H") == FromNow(timedelta(hours=2))
    assert read_when("2026-11-24T13:00:00+01:00") == NOW
    for text in ("now - P300Y", "now -", "P30D", "yesterday", ""):
        with pytest.raises(ValueError, match=r"not a|bound"):
            read_when(text)


def test_a_moment_without_an_offset_is_utc() -> None:
    assert read_moment("2026-11-24T12:00") == NOW
    assert read_moment("2026-11-24") == NOW.replace(hour=0)
    assert read_moment("2026-02-30") is None


def test_one_and_true_and_the_text_of_one_are_three_values() -> None:
    one = Compare(op="eq", value=1)
    assert [holds(value, one, now=NOW) for value in (1, 1.0, True, "1", None)] == [True, True, False, False, False]


def test_an_explanation_has_the_rules_within_and_those_of_segments() -> None:
    rule = read_rule({"kind": "not", "rule": {"kind": "segment", "key": "pros"}})
    found = explain(rule, lambda leaf: leaf.kind == "attribute", segments={"pros": read_rule(PRO)})
    assert (found.holds, found.parts[0].holds, found.parts[0].parts[0].rule) == (False, True, read_rule(PRO))
    assert not evaluate(rule, ANN, now=NOW, segments={"pros": read_rule(PRO)})


def test_references_are_found_however_deep_and_circles_too() -> None:
    below = [{"kind": "list", "key": "l"}, {"kind": "topic", "key": "t"}, {"kind": "segment", "key": "b"}]
    a = read_rule({"kind": "not", "rule": {"kind": "any", "rules": below}})
    assert [*list_keys(a), *topic_keys(a), *segment_keys(a)] == ["l", "t", "b"]
    b = read_rule({"kind": "segment", "key": "c"})
    assert find_cycle("a", {"a": a, "b": b, "c": read_rule(PRO)}) is None
    assert find_cycle("a", {"a": a, "b": b, "c": read_rule({"kind": "segment", "key": "a"})}) == ("a", "b", "c", "a")
    assert expanded_size(a, {"b": b, "c": read_rule(PRO)}) == 7
