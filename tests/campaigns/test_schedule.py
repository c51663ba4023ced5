"""When recipients are due: every zone of the world, both sides of the date line, every change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.campaigns.schedule import (
    UnknownZoneError,
    due_by_zone,
    earliest_due,
    latest_due,
    local_due,
    spread_offset,
)
from waypost.messaging.zones import find_zone, known_zone, zone_names

HOUR = timedelta(hours=1)
ZONES = sorted(zone_names())


def wall(*parts: int) -> datetime:
    """What a clock shows, wherever it hangs: year to minute."""
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - a wall clock has no zone


zones = st.sampled_from(ZONES)
locals_ = st.datetimes(wall(1975, 1, 1), wall(2045, 1, 1))


def test_a_local_time_is_due_when_the_zones_clocks_show_it() -> None:
    nine = wall(2026, 11, 24, 9)
    assert local_due(nine, "Europe/Vienna") == datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert local_due(nine, "America/New_York") == datetime(2026, 11, 24, 14, tzinfo=UTC)


def test_the_date_line_lies_between_the_first_and_the_last() -> None:
    nine = wall(2026, 11, 24, 9)
    assert local_due(nine, "Pacific/Kiritimati") == earliest_due(nine) == datetime(2026, 11, 23, 19, tzinfo=UTC)
    assert local_due(nine, "Etc/GMT+12") == latest_due(nine) == datetime(2026, 11, 24, 21, tzinfo=UTC)


def test_a_time_that_does_not_exist_is_moved_on_by_the_gap() -> None:
    assert local_due(wall(2026, 3, 29, 2, 30), "Europe/Vienna") == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    # Samoa left a whole day out when it changed sides of the date line.
    assert local_due(wall(2011, 12, 30, 9), "Pacific/Apia") == local_due(wall(2011, 12, 31, 9), "Pacific/Apia")


def test_of_a_time_that_comes_twice_it_is_the_first() -> None:
    assert local_due(wall(2026, 10, 25, 2, 30), "Europe/Vienna") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@given(locals_, zones)
def test_the_clock_shows_the_set_time_or_one_moved_by_the_gap(local: datetime, zone: str) -> None:
    due = local_due(local, zone)
    where = find_zone(zone)
    moved = due.astimezone(where).replace(tzinfo=None) - local
    before, after = ((due + shift).astimezone(where).utcoffset() for shift in (-26 * HOUR, timedelta()))
    assert before is not None
    assert after is not None
    assert moved == timedelta() or moved == after - before > timedelta()


@given(locals_, zones)
def test_no_earlier_time_shows_it(local: datetime, zone: str) -> None:
    """Both readings of an hour that comes twice are tried: the earlier is the due one."""
    due, where = local_due(local, zone), find_zone(zone)
    for shift in (1, 2, 3, 4, 24):
        shown = (due - shift * HOUR / 2).astimezone(where).replace(tzinfo=None)
        assert shown != local


@given(locals_, zones)
def test_everybody_is_due_between_the_first_and_the_last_clock(local: datetime, zone: str) -> None:
    assert earliest_due(local) <= local_due(local, zone) <= latest_due(local)


@given(locals_)
def test_the_world_is_done_within_two_days(local: datetime) -> None:
    """Fourteen hours ahead, twelve behind, and a day that was left out."""
    assert timedelta(hours=12) <= latest_due(local) - earliest_due(local) <= timedelta(hours=50)


@given(locals_, st.lists(zones | st.sampled_from(["", "Mars/Olympus", "europe/vienna"]), max_size=30), zones)
def test_each_zone_is_due_once_and_a_name_that_is_none_with_the_fallback(
    local: datetime, names: list[str], fallback: str
) -> None:
    due = due_by_zone(local, names, fallback)
    assert set(due) == set(names)
    for name in names:
        assert due[name] == local_due(local, name if name in zone_names() else fallback)


def test_at_every_change_of_clocks_nobody_is_due_twice_or_never() -> None:
    """Around each change in ten years of each zone: each quarter hour on the wall has one due time, in their order."""
    seen = 0
    for zone in ZONES:
        for change in _changes(zone, range(2020, 2030)):
            seen += 1
            shown = change.astimezone(find_zone(zone)).replace(tzinfo=None)
            walls = [shown + timedelta(minutes=15 * quarters) for quarters in range(-12, 13)]
            due = due_by_zone_each(walls, zone)
            # Behind a gap those that were moved on are due among those that were not: no step back exceeds the gap.
            gap = abs(_offset(change, zone) - _offset(change - HOUR / 4, zone))
            assert all(later - sooner > -gap for sooner, later in pairwise(due))
            for set_time, at in zip(walls, due, strict=True):
                moved = at.astimezone(find_zone(zone)).replace(tzinfo=None) - set_time
                assert timedelta() <= moved <= timedelta(hours=24)
    assert seen > 1000


def due_by_zone_each(walls: list[datetime], zone: str) -> list[datetime]:
    return [due_by_zone(each, [zone], "UTC")[zone] for each in walls]


def _offset(at: datetime, zone: str) -> timedelta:
    offset = at.astimezone(find_zone(zone)).utcoffset()
    assert offset is not None
    return offset


def _changes(zone: str, years: range) -> list[datetime]:
    where = find_zone(zone)
    start = datetime(years[0], 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=number) for number in range(366 * len(years))]
    changed = [a for a, b in pairwise(days) if a.astimezone(where).utcoffset() != b.astimezone(where).utcoffset()]
    return [_to_the_quarter(day, zone) for day in changed]


def _to_the_quarter(day: datetime, zone: str) -> datetime:
    where = find_zone(zone)
    quarters = [day + timedelta(minutes=15 * number) for number in range(97)]
    return next(b for a, b in pairwise(quarters) if a.astimezone(where).utcoffset() != b.astimezone(where).utcoffset())


def test_a_fallback_that_is_no_zone_is_said_to_be() -> None:
    with pytest.raises(UnknownZoneError):
        due_by_zone(wall(2026, 1, 1), [], "Nowhere")
    with pytest.raises(UnknownZoneError):
        local_due(wall(2026, 1, 1), "../etc/passwd")
    assert known_zone(None, "Asia/Tokyo") == known_zone("Nowhere", "Asia/Tokyo") == "Asia/Tokyo"


@given(st.floats(0, 1, exclude_max=True), st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_spread_stays_within_its_period(fraction: float, period: timedelta) -> None:
    assert timedelta(0) <= spread_offset(fraction, period) <= period


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=2), st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_spread_keeps_the_order(fractions: list[float], period: timedelta) -> None:
    offsets = [spread_offset(fraction, period) for fraction in sorted(fractions)]
    assert offsets == sorted(offsets)
