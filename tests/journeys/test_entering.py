"""Who comes in, and who may come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from waypost.journeys.entering import MAX_KEY, PastEntry, enters, entry_key, may_enter
from waypost.journeys.entries import CoolDown, EventEntry, Reentry
from waypost.segments.people import Deed

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ENTRY = EventEntry.model_validate(
    {
        "kind": "event",
        "event": "cart",
        "key": "cart.id",
        "where": [{"property": "total", "is": {"op": "gte", "value": 20}}],
    }
)


def _cart(key: object, total: object = 20, name: str = "cart") -> Deed:
    return Deed(name=name, occurred_at=NOW, properties={"cart": {"id": key}, "total": total})


def test_an_event_enters_by_name_filter_and_key() -> None:
    assert enters(ENTRY, _cart("c1"), now=NOW)
    assert not enters(ENTRY, _cart("c1", total=19), now=NOW)
    assert not enters(ENTRY, _cart("c1", name="card"), now=NOW)


@pytest.mark.parametrize(
    ("value", "key"), [("c1", "c1"), (7, "7"), ("", None), (None, None), (True, None), (1.5, None), ([1], None)]
)
def test_a_key_is_a_text_or_a_whole_number(value: object, key: str | None) -> None:
    assert entry_key(ENTRY, _cart(value)) == key


def test_a_key_is_bounded_and_a_journey_without_one_has_the_empty_one() -> None:
    assert entry_key(ENTRY, _cart("c" * (MAX_KEY + 1))) is None
    assert entry_key(EventEntry(kind="event", event="cart"), _cart("c1")) == ""


@pytest.mark.parametrize(
    ("reentry", "past", "key", "why"),
    [
        ("once", [], "", None),
        ("once", [PastEntry(entered_at=NOW - DAY, open=False)], "", "only_once"),
        ("after_exit", [PastEntry(entered_at=NOW - DAY, open=False)], "", None),
        ("after_exit", [PastEntry(entered_at=NOW - DAY, open=True)], "", "already_in"),
        ("per_key", [PastEntry(entered_at=NOW - DAY, open=True, key="a")], "b", None),
        ("per_key", [PastEntry(entered_at=NOW - DAY, open=True, key="a")], "a", "already_in"),
        ("per_key", [PastEntry(entered_at=NOW - DAY, open=False, key="a")], "a", None),
        (CoolDown(after=2 * DAY), [PastEntry(entered_at=NOW - DAY, open=False)], "", "cooling_down"),
        (CoolDown(after=DAY), [PastEntry(entered_at=NOW - DAY, open=False)], "", None),
    ],
)
def test_coming_again_is_as_the_journey_says(
    reentry: Reentry, past: list[PastEntry], key: str, why: str | None
) -> None:
    assert may_enter(reentry, past, key=key, now=NOW) == why
