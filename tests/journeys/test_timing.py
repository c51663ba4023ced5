"""Times on the contact's clock, over changes of clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.journeys.durations import read_duration, write_duration
from waypost.journeys.entries import DateEntry
from waypost.journeys.pieces import ContactDate
from waypost.journeys.splitting import split_way
from waypost.journeys.steps import LocalTime, Split, Way
from waypost.journeys.timing import moment_of, next_date, next_local_time
from waypost.messaging.rules import EVERY_DAY
from waypost.messaging.zones import find_zone

OFTEN = settings(max_examples=200, deadline=None, derandomize=True, database=None)
ZONES = st.sampled_from(
    [
        "Europe/Vienna",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kathmandu",
        "UTC",
        "Africa/Cairo",
    ]
)
MOMENTS = st.integers(1_262_304_000, 2_208_988_800).map(lambda second: datetime.fromtimestamp(second, UTC))
CLOCKS = st.times().map(lambda one: one.replace(second=0, microsecond=0))
DAYS = st.lists(st.sampled_from(EVERY_DAY), min_size=1, unique=True).map(tuple)


@OFTEN
@given(zone=ZONES, since=MOMENTS, clock=CLOCKS, days=DAYS)
def test_a_wait_until_a_time_of_day_ends_when_the_clock_shows_it(
    zone: str, since: datetime, clock: time, days: tuple[object, ...]
) -> None:
    local = LocalTime.model_validate({"time": clock, "days": days})
    at = next_local_time(local, zone, since=since)
    shown = at.astimezone(find_zone(zone))
    assert since <= at <= since + timedelta(days=16)
    exists = shown.time() == clock
    assert exists or shown.replace(tzinfo=None) - datetime.combine(shown.date(), clock) <= timedelta(hours=1)
    assert not exists or EVERY_DAY[shown.weekday()] in local.days
    assert next_local_time(local, zone, since=at, later_than=at) > at
    assert next_local_time(local, zone, since=at) == at


@pytest.mark.parametrize(
    ("zone", "since", "clock", "at"),
    [
        ("Europe/Vienna", "2026-03-29T00:30:00Z", "02:30", "2026-03-29T01:30:00Z"),  # left out: an hour later
        ("Europe/Vienna", "2026-10-25T00:00:00Z", "02:30", "2026-10-25T00:30:00Z"),  # twice: the first
        ("Europe/Vienna", "2026-10-25T00:45:00Z", "02:30", "2026-10-26T01:30:00Z"),  # its second is none
        ("Pacific/Apia", "2011-12-30T05:00:00Z", "12:00", "2011-12-30T22:00:00Z"),  # a day that was not
    ],
)
def test_changes_of_clocks_are_what_the_documentation_says(zone: str, since: str, clock: str, at: str) -> None:
    local = LocalTime.model_validate({"time": clock})
    assert next_local_time(local, zone, since=datetime.fromisoformat(since)) == datetime.fromisoformat(at)


@pytest.mark.parametrize(
    ("value", "offset", "clock", "at"),
    [
        ("2026-03-30", "-P1D", "09:00", "2026-03-29T07:00:00Z"),
        ("2026-03-30", "-P2D", "09:00", "2026-03-28T08:00:00Z"),
        ("2026-03-30", "-P1D", None, "2026-03-28T23:00:00Z"),
        ("2026-03-30T09:00:00+02:00", "-PT24H", None, "2026-03-29T07:00:00Z"),
        ("2026-03-29T09:00:00+02:00", "-PT8H", None, "2026-03-28T23:00:00Z"),
        ("2026-03-29T23:30:00Z", "PT0S", "08:00", "2026-03-30T06:00:00Z"),
        ("2026-03-29T09:00:00", "-PT2H", None, "2026-03-29T05:00:00Z"),
        ("soon", "PT0S", None, None),
        (None, "PT0S", None, None),
        (7, "PT0S", None, None),
        ("2026-02-30", "PT0S", None, None),
    ],
)
def test_dates_are_on_the_contact_s_clock(value: object, offset: str, clock: str | None, at: str | None) -> None:
    date = ContactDate.model_validate({"attribute": "a", "offset": offset, "at": clock})
    found = moment_of(date, value, "Europe/Vienna")
    assert found == (datetime.fromisoformat(at) if at is not None else None)


@OFTEN
@given(zone=ZONES, birthday=st.dates(date(1930, 1, 1)), after=MOMENTS, clock=CLOCKS)
def test_a_birthday_comes_every_year(zone: str, birthday: object, after: datetime, clock: time) -> None:
    entry = DateEntry.model_validate({"kind": "contact_date", "attribute": "b", "at": clock, "yearly": True})
    at = next_date(entry, str(birthday), zone, after=after)
    if str(birthday) < "2010":
        assert at is not None
        assert after < at <= after + timedelta(days=368)
        again = next_date(entry, str(birthday), zone, after=at)
        assert again is not None
        assert timedelta(days=363) < again - at < timedelta(days=368)


def test_who_was_born_on_29_february_is_congratulated_every_year() -> None:
    entry = DateEntry.model_validate({"kind": "contact_date", "attribute": "b", "yearly": True})
    days = [next_date(entry, "2000-02-29", "UTC", after=datetime(year, 1, 1, tzinfo=UTC)) for year in (2027, 2028)]
    assert [(day.month, day.day) for day in days if day is not None] == [(2, 28), (2, 29)]


def test_a_date_that_comes_once_is_over_afterwards() -> None:
    entry = DateEntry.model_validate({"kind": "contact_date", "attribute": "b", "offset": "-P3D"})
    before, after = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    assert next_date(entry, "2026-11-24", "UTC", after=before) == datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert next_date(entry, "2026-11-24", "UTC", after=after) is None


@OFTEN
@given(seconds=st.integers(1, 10_000_000))
def test_a_duration_that_is_written_and_read_again_is_the_same(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert read_duration(write_duration(duration)) == duration


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1", "1D", "P1Y", "P1M", "PT1H1D", "P1DT", "p1d", "P-1D", "P1.5D", "P١D"]
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert read_duration(text) is None


def test_a_split_is_stable_by_contact_and_fair_over_them() -> None:
    ways = (Way(name="a", weight=1, next="x"), Way(name="b", weight=3, next="y"))
    split = Split(kind="split", ways=ways)
    found = [split_way(split, journey="j", step="s", contact=f"c{number}") for number in range(4_000)]
    assert found == [split_way(split, journey="j", step="s", contact=f"c{number}") for number in range(4_000)]
    assert 900 < found.count(0) < 1_100
    assert found != [split_way(split, journey="j", step="t", contact=f"c{number}") for number in range(4_000)]
    assert [split_way(split, journey="j", step="s", contact=one) for one in ("ann", "ben", "cat")] == [0, 0, 1]
