"""Send windows, quiet hours and caps, on every clock of the world and over every change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from waypost.messaging.rules import (
    EVERY_DAY,
    FrequencyCap,
    QuietHours,
    SendWindow,
    Weekday,
    after_quiet_hours,
    cap_is_reached,
    next_in_window,
)
from waypost.messaging.values import Channel
from waypost.messaging.zones import UnknownZoneError, find_zone, zone_names

MINUTE, HOUR, DAY, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
OFFICE = SendWindow(days=EVERY_DAY[:5], start=time(9), end=time(17))
NIGHT = QuietHours(start=time(21), end=time(8))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # year to minute


zones = st.sampled_from(sorted(zone_names()))
moments = st.integers(0, 70 * 366 * 86400).map(lambda seconds: utc(1975, 1, 1) + timedelta(seconds=seconds))
clocks = st.times().map(lambda at: at.replace(microsecond=0)) | st.builds(
    time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59])
)
windows = st.builds(
    SendWindow,
    days=st.lists(st.sampled_from(Weekday), min_size=1, unique=True).map(tuple),
    start=clocks,
    end=clocks,
)
quiets = (
    st.tuples(clocks, clocks)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: QuietHours(start=pair[0], end=pair[1]))
)


def changes_between(begin: datetime, end: datetime, zone: str) -> list[datetime]:
    """The quarter hours in which the zone's clocks change."""
    where = find_zone(zone)
    ticks = [begin + number * 15 * MINUTE for number in range(int((end - begin) / (15 * MINUTE)) + 1)]
    return [b for a, b in pairwise(ticks) if a.astimezone(where).utcoffset() != b.astimezone(where).utcoffset()]


@pytest.mark.parametrize(
    ("moment", "zone", "expected"),
    [
        (utc(2026, 11, 24, 12, 0), "Europe/Vienna", utc(2026, 11, 24, 12, 0)),
        (utc(2026, 11, 24, 7, 59), "Europe/Vienna", utc(2026, 11, 24, 8, 0)),
        (utc(2026, 11, 24, 16, 0), "Europe/Vienna", utc(2026, 11, 25, 8, 0)),
        (utc(2026, 11, 27, 16, 0), "Europe/Vienna", utc(2026, 11, 30, 8, 0)),  # Friday evening: Monday
        (utc(2026, 3, 27, 17, 0), "Europe/Vienna", utc(2026, 3, 30, 7, 0)),  # the clocks go forward in between
        (utc(2026, 10, 23, 17, 0), "Europe/Vienna", utc(2026, 10, 26, 8, 0)),  # and back
        (utc(2026, 11, 24, 22, 0), "Pacific/Kiritimati", utc(2026, 11, 24, 22, 0)),  # noon of the 25th there
        (utc(2026, 11, 24, 2, 0), "Pacific/Pago_Pago", utc(2026, 11, 24, 2, 0)),  # the 23rd, 15:00
    ],
)
def test_a_window_opens_by_the_recipients_clock(moment: datetime, zone: str, expected: datetime) -> None:
    assert next_in_window(moment, OFFICE, zone) == expected


def test_a_window_over_midnight_belongs_to_the_day_it_begins() -> None:
    late = SendWindow(days=(Weekday.FRIDAY,), start=time(22), end=time(2))
    assert next_in_window(utc(2026, 11, 28, 1, 0), late, "UTC") == utc(2026, 11, 28, 1, 0)
    assert next_in_window(utc(2026, 11, 27, 1, 0), late, "UTC") == utc(2026, 11, 27, 22, 0)
    assert next_in_window(utc(2026, 11, 28, 2, 0), late, "UTC") == utc(2026, 12, 4, 22, 0)


def test_a_window_of_the_same_start_and_end_is_a_whole_day() -> None:
    sunday = SendWindow(days=(Weekday.SUNDAY,), start=time(0), end=time(0))
    assert next_in_window(utc(2026, 11, 28, 12, 0), sunday, "UTC") == utc(2026, 11, 29, 0, 0)
    assert next_in_window(utc(2026, 11, 29, 23, 59), sunday, "UTC") == utc(2026, 11, 29, 23, 59)


def test_an_hour_that_a_change_leaves_out_opens_a_window_at_the_change() -> None:
    early = SendWindow(start=time(2, 30), end=time(5))
    assert next_in_window(utc(2026, 3, 29, 0, 0), early, "Europe/Vienna") == utc(2026, 3, 29, 1, 0)


def test_a_window_that_a_change_leaves_out_opens_the_next_day() -> None:
    gone = SendWindow(start=time(2, 15), end=time(2, 45))
    assert next_in_window(utc(2026, 3, 29, 0, 50), gone, "Europe/Vienna") == utc(2026, 3, 30, 0, 15)


def test_an_hour_that_comes_twice_is_open_and_quiet_twice() -> None:
    twice = SendWindow(start=time(2, 30), end=time(2, 45))
    assert next_in_window(utc(2026, 10, 25, 0, 0), twice, "Europe/Vienna") == utc(2026, 10, 25, 0, 30)
    assert next_in_window(utc(2026, 10, 25, 0, 45), twice, "Europe/Vienna") == utc(2026, 10, 25, 1, 30)
    quiet = QuietHours(start=time(1), end=time(2, 30))
    assert after_quiet_hours(utc(2026, 10, 25, 0, 0), quiet, "Europe/Vienna") == utc(2026, 10, 25, 0, 30)
    assert after_quiet_hours(utc(2026, 10, 25, 1, 0), quiet, "Europe/Vienna") == utc(2026, 10, 25, 1, 30)


def test_quiet_hours_last_over_midnight() -> None:
    assert after_quiet_hours(utc(2026, 11, 24, 20, 0), NIGHT, "Europe/Vienna") == utc(2026, 11, 25, 7, 0)
    assert after_quiet_hours(utc(2026, 11, 25, 1, 0), NIGHT, "Europe/Vienna") == utc(2026, 11, 25, 7, 0)
    assert after_quiet_hours(utc(2026, 11, 25, 7, 0), NIGHT, "Europe/Vienna") == utc(2026, 11, 25, 7, 0)


@given(moments, windows, zones)
def test_the_next_time_in_a_window_is_in_it_and_the_first(moment: datetime, window: SendWindow, zone: str) -> None:
    found = next_in_window(moment, window, zone)
    assert window.holds(found.astimezone(find_zone(zone)))
    assert moment <= found <= moment + 2 * WEEK + DAY
    if found > moment + WEEK:  # only where a change of clocks left the window's hours out, or shortened them
        assert changes_between(moment, found, zone)
    _nothing_before(moment, found, zone, window.holds)


@given(moments, quiets, zones)
def test_the_end_of_quiet_hours_is_not_quiet_and_the_first(moment: datetime, quiet: QuietHours, zone: str) -> None:
    found = after_quiet_hours(moment, quiet, zone)
    assert not quiet.holds(found.astimezone(find_zone(zone)))
    assert moment <= found <= moment + 2 * DAY + HOUR
    if found > moment + DAY:
        assert changes_between(moment, found, zone)
    _nothing_before(moment, found, zone, lambda local: not quiet.holds(local))


def _nothing_before(moment: datetime, found: datetime, zone: str, allows: object) -> None:
    """Of the times in between none is allowed, the second before the end least of all."""
    assert callable(allows)
    where = find_zone(zone)
    wait = found - moment
    between = [moment + wait * part / 97 for part in range(97)] + [found - timedelta(seconds=1)]
    assert not any(allows(at.astimezone(where)) for at in between if moment <= at < found)


@pytest.mark.parametrize("year", [1978, 2011, 2026])
def test_at_every_change_of_clocks_of_every_zone_the_first_allowed_time_is_found(year: int) -> None:
    """Not by chance: each change of the year, with hours around it that it leaves out or doubles."""
    seen = 0
    for zone in sorted(zone_names()):
        where = find_zone(zone)
        for change in _changes_of_year(year, zone):
            seen += 1
            shown = change.astimezone(where).replace(tzinfo=None)
            for start in (shown - 45 * MINUTE, shown + 30 * MINUTE):
                window = SendWindow(start=start.time(), end=(start + HOUR).time())
                for moment in (change - 2 * HOUR, change - MINUTE, change, change + 20 * MINUTE):
                    found = next_in_window(moment, window, zone)
                    assert window.holds(found.astimezone(where))
                    _nothing_before(moment, found, zone, window.holds)
    assert seen > 100


def _changes_of_year(year: int, zone: str) -> list[datetime]:
    where = find_zone(zone)
    days = [utc(year, 1, 1, 0, 0) + number * DAY for number in range(366)]
    changed = [a for a, b in pairwise(days) if a.astimezone(where).utcoffset() != b.astimezone(where).utcoffset()]
    return [change for day in changed for change in changes_between(day, day + DAY, zone)]


def test_a_zone_that_is_none_is_said_to_be() -> None:
    with pytest.raises(UnknownZoneError):
        next_in_window(utc(2026, 11, 24, 12, 0), OFFICE, "Europe/Atlantis")


def test_a_cap_counts_what_was_sent_within_its_period() -> None:
    now = utc(2026, 11, 24, 12, 0)
    daily = FrequencyCap(limit=2, period=DAY)

    def reached(*hours: int, cap: FrequencyCap = daily, other: int = 0) -> bool:
        sent = [now - each * HOUR for each in hours]
        return cap_is_reached([cap], channel=Channel.EMAIL, now=now, sent=sent, sent_any=sent + [now] * other)

    assert not reached(1)
    assert reached(1, 23)
    assert not reached(1, 24)
    assert reached(1, other=1)
    assert not reached(1, other=1, cap=FrequencyCap(channel=Channel.EMAIL, limit=2, period=DAY))
    assert not reached(1, 2, other=9, cap=FrequencyCap(channel=Channel.SMS, limit=1, period=DAY))


@pytest.mark.parametrize(
    "rule",
    [
        lambda: QuietHours(start=time(8), end=time(8)),
        lambda: QuietHours(start=time(8, tzinfo=UTC), end=time(9)),
        lambda: SendWindow(days=(), start=time(8), end=time(9)),
        lambda: FrequencyCap(limit=0, period=DAY),
        lambda: FrequencyCap(limit=101, period=DAY),
        lambda: FrequencyCap(limit=1, period=91 * DAY),
        lambda: FrequencyCap(limit=1, period=timedelta()),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: object) -> None:
    assert callable(rule)
    with pytest.raises(ValidationError):
        rule()


def test_rules_come_back_from_json_as_they_were() -> None:
    for rule in (OFFICE, NIGHT, FrequencyCap(channel=Channel.SMS, limit=3, period=WEEK)):
        assert type(rule).model_validate_json(rule.model_dump_json()) == rule
