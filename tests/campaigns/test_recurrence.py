"""When a recurring campaign runs again."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from waypost.campaigns.recurrence import MAX_GRACE, is_missed, next_slot

FIRST = datetime(2026, 11, 2, 8, tzinfo=UTC)
WEEK = timedelta(days=7)

moments = st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given there
steps = st.timedeltas(timedelta(hours=1), timedelta(days=366))


def test_the_next_slot_is_a_whole_number_of_steps_from_the_first() -> None:
    assert next_slot(first=FIRST, every=WEEK, after=FIRST - WEEK) == FIRST
    assert next_slot(first=FIRST, every=WEEK, after=FIRST) == FIRST + WEEK
    assert next_slot(first=FIRST, every=WEEK, after=FIRST + 3 * WEEK + timedelta(hours=1)) == FIRST + 4 * WEEK


@given(moments, steps, moments)
def test_no_slot_lies_between_a_moment_and_the_next_one(first: datetime, every: timedelta, after: datetime) -> None:
    slot = next_slot(first=first, every=every, after=after)
    assert slot > after
    assert slot == first or (slot - first) % every == timedelta()
    assert slot == first or slot - every <= after


def test_a_slot_is_missed_after_a_tenth_of_its_step_or_an_hour() -> None:
    assert not is_missed(FIRST, every=WEEK, now=FIRST + MAX_GRACE)
    assert is_missed(FIRST, every=WEEK, now=FIRST + MAX_GRACE + timedelta(seconds=1))
    hour = timedelta(hours=1)
    assert not is_missed(FIRST, every=hour, now=FIRST + hour / 10)
    assert is_missed(FIRST, every=hour, now=FIRST + hour / 8)
