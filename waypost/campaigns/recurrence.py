"""When a recurring campaign runs again: slots `every` apart, counted from the first, none of them made up for."""

from datetime import datetime, timedelta

MAX_GRACE = timedelta(hours=1)


def next_slot(*, first: datetime, every: timedelta, after: datetime) -> datetime:
    """The first slot that is later than `after`; slots are `first` and every `every` from then on."""
    return first if after < first else first + ((after - first) // every + 1) * every


def is_missed(slot: datetime, *, every: timedelta, now: datetime) -> bool:
    """Whether it is too late for a slot: by a tenth of the time between two, or by an hour. It is left out then."""
    return now - slot > min(every / 10, MAX_GRACE)
