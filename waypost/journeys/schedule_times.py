"""When a schedule lets people in: at moments that are the same for everybody, or on each contact's own clock."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from waypost.journeys.entries import ScheduleEntry
from waypost.messaging.zones import find_zone, local_to_utc

_ONCE_MORE = 2
"""Clocks are moved by less than two times of a schedule, which are an hour apart at least."""


def on_each_clock(entry: ScheduleEntry) -> bool:
    """Whether its times are those of each contact's clock."""
    return entry.first.tzinfo is None


def next_time(entry: ScheduleEntry, zone: str, *, since: datetime) -> datetime | None:
    """The schedule's first time from `since` on for contacts of a zone, in UTC; None: there is none any more.

    Raises `UnknownZoneError`.
    """
    if not on_each_clock(entry):
        first = entry.first.astimezone(UTC)
        return _from(first, entry.every, _place(first, entry.every, since), since=since)
    here = since.astimezone(find_zone(zone)).replace(tzinfo=None)
    for place in range(max(0, _place(entry.first, entry.every, here) - _ONCE_MORE), 10_000_000):
        if entry.every is None and place > 0:
            return None
        local = entry.first + place * (entry.every or timedelta(0))
        if (at := local_to_utc(local, zone)) >= since:
            return at
    return None


def zones_due(
    entry: ScheduleEntry, zones: Iterable[str], *, since: datetime, now: datetime
) -> tuple[frozenset[str], datetime | None]:
    """The zones for which a time came from `since` until `now`, and when the next one of any comes; None: never."""
    due, ahead = set(), []
    for zone in zones:
        at = next_time(entry, zone, since=since)
        if at is not None and at <= now:
            due.add(zone)
            at = next_time(entry, zone, since=now + timedelta(microseconds=1))
        if at is not None:
            ahead.append(at)
    return frozenset(due), min(ahead, default=None)


def _place(first: datetime, every: timedelta | None, since: datetime) -> int:
    """Which time is the first from `since` on, counted from 0, by a clock that is never moved."""
    if every is None or since <= first:
        return 0
    return -((first - since) // every)


def _from(first: datetime, every: timedelta | None, place: int, *, since: datetime) -> datetime | None:
    at = first + place * (every or timedelta(0))
    return at if at >= since else None
