"""Random people and rules that meet each other: both draw from the same small pools of awkward values."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from waypost.messaging.values import Channel, Delivery, Outcome
from waypost.segments.people import Deed, PastMessage, Person
from waypost.segments.rules import Rule, read_rule

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

NAMES = ("plan", "since", "address", "x%s'y\"")
PATHS = ("plan", "since", "address.city", "address.plan", "plan.city", "x%s'y\"", "nowhere", "plan.0")
TEXTS = (
    "pro", "Pro", "PROFI", "", " ", "é", "É", "straße", "STRASSE", "ΣΑΣ", "σας", "İ", "i", "ı", "%", "_", "\\", "'",
    '"', "{}", "{0}", "%s", "🙂", "\uffff", "\U0001d11e", "a\nb", "true", "1", "null", "2026-11-24",
    "2026-11-24T12:00:00Z",
    "2026-11-24T13:00:00+01:00", "2026-11-24T12:00", "2026-11-24T12:00:00.000001Z", "2026-02-30",
    "2026-02-30T12:00:00Z",
    "1000-01-01", "2999-12-31T23:59:59-15:59", "2026-11-24T24:00:00Z", "2026-11-24 12:00:00", "2026-11-17T12:00:00Z",
    "20261124", "2026-W48-2", "2026-11-24T12:00:00z", "٢٠٢٦-11-24", "infinity", "now", "2026-12-01", "2026-11-24\n",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 1.0, 1.5, 0.1, -0.0, 1e22, 1e-7, 2**53, 2**53 + 1, 9007199254740993.0, 10**18, 1.7e308, 5e-324)
SCALARS: tuple[Any, ...] = (*TEXTS, *NUMBERS, True, False)
MOMENTS = (
    "now", "now - P7D", "now + P7D", "now - PT0S", "now - P1M", "2026-11-24", "2026-11-24T13:00:00+01:00",
    "2026-11-24T12:00", "2026-12-01", "1000-01-01",
)  # fmt: skip
PERIODS = ("P7D", "PT1S", "P1Y", "PT36H")
LISTS = ("vip", "beta", "empty")
TOPICS = ("news", "offers")
EVENTS = ("bought", "came", "it's 100 %")
CAMPAIGNS = ("spring", "autumn")
TEMPLATES = ("hello", "bye")
_STEPS = (
    timedelta(0), timedelta(days=7), timedelta(days=6), timedelta(seconds=1), timedelta(microseconds=1),
    timedelta(hours=36), timedelta(days=365),
)  # fmt: skip
INSTANTS = (*(NOW + step for step in _STEPS), *(NOW - step for step in _STEPS))


def person(chance: random.Random, number: int) -> Person:
    """Somebody; much of it is missing."""

    def maybe(values: Any) -> Any:
        return chance.choice(values) if chance.random() < 0.6 else None

    created = chance.choice(INSTANTS)
    return Person(
        external_id=chance.choice(("Pro", "2026-11-24", "a")) + f".{number}",
        created_at=created,
        email=maybe(("ann@example.com", "Ann@Example.com", "bob@example.org")),
        phone=maybe(("+436641234567", "+15005550006")),
        time_zone=maybe(("Europe/Vienna", "UTC")),
        locale=maybe(("de-AT", "en")),
        attributes={name: _json(chance, 2) for name in NAMES if chance.random() < 0.7},
        consent={channel.value: chance.random() < 0.5 for channel in Channel if chance.random() < 0.6},
        lists=frozenset(key for key in LISTS[:2] if chance.random() < 0.4),
        topics={
            key: chance.choice(("subscribed", "pending", "unsubscribed")) for key in TOPICS if chance.random() < 0.6
        },
        events=tuple(_deed(chance) for _ in range(chance.choice((0, 0, 1, 2, 5)))),
        messages=tuple(_message(chance) for _ in range(chance.choice((0, 0, 1, 3)))),
    )


def _json(chance: random.Random, depth: int) -> Any:
    if depth and chance.random() < 0.3:
        return {name: _json(chance, depth - 1) for name in ("city", "plan", "0") if chance.random() < 0.7}
    if depth and chance.random() < 0.25:
        return [_json(chance, depth - 1) for _ in range(chance.randrange(5))]
    return chance.choice((*SCALARS, None))


def _deed(chance: random.Random) -> Deed:
    properties = {name: _json(chance, 1) for name in ("plan", "since") if chance.random() < 0.7}
    return Deed(name=chance.choice(EVENTS), occurred_at=chance.choice(INSTANTS), properties=properties)


def _message(chance: random.Random) -> PastMessage:
    outcome = chance.choice((None, Outcome.SENT, Outcome.SENT, Outcome.MAYBE_SENT, Outcome.SKIPPED))
    return PastMessage(
        outcome=outcome,
        outcome_at=None if outcome is None else chance.choice(INSTANTS),
        delivery=chance.choice(tuple(Delivery)),
        bounced=chance.random() < 0.3,
        campaign=chance.choice((None, *CAMPAIGNS)),
        template=chance.choice((None, *TEMPLATES)),
    )


_ORDERED = tuple(one for one in SCALARS if not isinstance(one, bool))

comparisons = st.one_of(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["gt", "gte", "lt", "lte", "eq", "ne"]),
            "value": st.sampled_from(_ORDERED),
            "ignore_case": st.booleans(),
        }
    ),
    st.fixed_dictionaries({"op": st.sampled_from(["eq", "ne"]), "value": st.booleans()}),
    st.fixed_dictionaries(
        {
            "op": st.just("in"),
            "values": st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4),
            "ignore_case": st.booleans(),
        }
    ),
    st.fixed_dictionaries({"op": st.sampled_from(["exists", "missing"])}),
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["contains", "starts_with", "ends_with"]),
            "value": st.sampled_from([text for text in TEXTS if text]),
            "ignore_case": st.booleans(),
        }
    ),
    st.fixed_dictionaries({"op": st.just("has"), "value": st.sampled_from(SCALARS)}),
    st.fixed_dictionaries({"op": st.sampled_from(["before", "after"]), "moment": st.sampled_from(MOMENTS)}),
    st.fixed_dictionaries({"op": st.sampled_from(["within_last", "within_next"]), "period": st.sampled_from(PERIODS)}),
)

_FIELDS = ("email", "phone", "locale", "time_zone", "external_id", "created_at")
_FIELD_TEXTS = ("ann@example.com", "ANN@EXAMPLE.COM", "pro.", "de", "Vienna", "2026-11-24", "@")

_field_comparisons = st.one_of(
    comparisons,
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["contains", "starts_with", "eq", "ne", "gt"]),
            "value": st.sampled_from(_FIELD_TEXTS),
            "ignore_case": st.booleans(),
        }
    ),
)


def _events() -> st.SearchStrategy[Any]:
    where = st.fixed_dictionaries({"property": st.sampled_from(("plan", "since", "plan.city")), "is": comparisons})
    shape = {"kind": st.just("event"), "name": st.sampled_from(EVENTS), "where": st.lists(where, max_size=2)}
    counts = st.sampled_from(({}, {"at_most": 0}, {"at_least": 2}, {"at_most": 1}, {"at_least": 1, "at_most": 2}))
    within = st.sampled_from(({}, *({"within": period} for period in PERIODS)))
    return st.builds(lambda base, count, time: {**base, **count, **time}, st.fixed_dictionaries(shape), counts, within)


leaves = st.one_of(
    st.fixed_dictionaries({"kind": st.just("attribute"), "name": st.sampled_from(PATHS), "is": comparisons}),
    st.fixed_dictionaries({"kind": st.just("attribute"), "name": st.sampled_from(PATHS[:4]), "is": comparisons}),
    st.fixed_dictionaries({"kind": st.just("field"), "name": st.sampled_from(_FIELDS), "is": _field_comparisons}),
    st.fixed_dictionaries(
        {
            "kind": st.just("consent"),
            "channel": st.sampled_from([channel.value for channel in Channel]),
            "is": st.sampled_from(["given", "refused", "unknown"]),
        }
    ),
    st.fixed_dictionaries({"kind": st.just("list"), "key": st.sampled_from(LISTS)}),
    st.fixed_dictionaries(
        {
            "kind": st.just("topic"),
            "key": st.sampled_from(TOPICS),
            "is": st.sampled_from(["subscribed", "unsubscribed", "pending", "unknown"]),
        }
    ),
    _events(),
    st.fixed_dictionaries(
        {"kind": st.just("message"), "event": st.sampled_from(["sent", "delivered", "opened", "clicked", "bounced"])},
        optional={
            "campaign": st.sampled_from(CAMPAIGNS),
            "template": st.sampled_from(TEMPLATES),
            "within": st.sampled_from(PERIODS),
        },
    ),
)

SEGMENTS = {
    "inner": {"kind": "attribute", "name": "plan", "is": {"op": "contains", "value": "pro"}},
    "outer": {"kind": "not", "rule": {"kind": "segment", "key": "inner"}},
}

SEGMENT_RULES: dict[str, Rule] = {key: read_rule(rule) for key, rule in SEGMENTS.items()}

_references = st.fixed_dictionaries({"kind": st.just("segment"), "key": st.sampled_from(sorted(SEGMENTS))})

rules = st.recursive(
    st.one_of(leaves, leaves, leaves, _references),
    lambda below: st.one_of(
        st.fixed_dictionaries({"kind": st.just("not"), "rule": below}),
        st.fixed_dictionaries(
            {"kind": st.sampled_from(["all", "any"]), "rules": st.lists(below, min_size=1, max_size=4)}
        ),
    ),
    max_leaves=8,
)
"""A rule as JSON; some are nested too deep and refused."""
