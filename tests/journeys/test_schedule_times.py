"""When schedules let people in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from waypost.journeys.entries import ScheduleEntry
from waypost.journeys.schedule_times import next_time, zones_due


def _schedule(first: str, every: str | None = None) -> ScheduleEntry:
    said: dict[str, Any] = {"kind": "schedule", "first": first, "every": every, "list": "all"}
    return ScheduleEntry.model_validate(said)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "every", "since", "expected"),
    [
        ("2026-11-24T09:00:00+01:00", None, "2026-11-24T08:00", "2026-11-24T08:00"),
        ("2026-11-24T09:00:00+01:00", None, "2026-11-24T08:01", None),
        ("2026-11-24T09:00:00+01:00", "P1D", "2026-11-24T08:01", "2026-11-25T08:00"),
        ("2026-11-24T09:00:00+01:00", "P1D", "2026-01-01T00:00", "2026-11-24T08:00"),
        ("2026-10-24T09:00:00", "P1D", "2026-10-24T00:00", "2026-10-24T07:00"),  # in summer
        ("2026-10-24T09:00:00", "P1D", "2026-10-24T07:01", "2026-10-25T08:00"),  # in winter
        ("2026-10-24T09:00:00", None, "2026-10-24T07:01", None),
        ("2026-03-28T02:30:00", "P1D", "2026-03-29T00:00", "2026-03-29T01:30"),  # 02:30 is left out
        ("2026-10-25T02:30:00", "PT1H", "2026-10-25T00:31", "2026-10-25T02:30"),  # 02:30 comes twice
    ],
)
def test_the_next_time_of_a_schedule_in_vienna(first: str, every: str | None, since: str, expected: str | None) -> None:
    at = next_time(_schedule(first, every), "Europe/Vienna", since=_utc(since))
    assert at == (None if expected is None else _utc(expected))


def test_each_clock_comes_to_its_time_by_itself() -> None:
    zones = ["Asia/Tokyo", "Europe/Vienna", "America/New_York"]
    entry = _schedule("2026-11-24T09:00:00")
    since, seen = _utc("2026-11-23T00:00"), []
    at: datetime | None = since
    while at is not None:
        due, ahead = zones_due(entry, zones, since=since, now=at)
        seen += [(at, zone) for zone in due]
        since, at = at + timedelta(microseconds=1), ahead
    assert seen == [
        (_utc("2026-11-24T00:00"), "Asia/Tokyo"),
        (_utc("2026-11-24T08:00"), "Europe/Vienna"),
        (_utc("2026-11-24T14:00"), "America/New_York"),
    ]


def test_what_was_missed_many_times_is_due_once() -> None:
    entry = _schedule("2026-11-01T09:00:00+00:00", "P1D")
    due, ahead = zones_due(entry, ["UTC"], since=_utc("2026-11-02T09:00"), now=_utc("2026-11-09T12:00"))
    assert due == frozenset({"UTC"})
    assert ahead == _utc("2026-11-10T09:00")
