"""When waits end: durations, times of day on the contact's clock, dates of the contact. All in UTC.

A time of day that a change of clocks leaves out comes as much later as the clocks are moved; of one that comes twice it
is the first (waypost.messaging.zones.local_to_utc).
"""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from waypost.journeys.entries import DateEntry
from waypost.journeys.pieces import ContactDate
from waypost.journeys.steps import LocalTime
from waypost.messaging.rules import EVERY_DAY
from waypost.messaging.zones import find_zone, local_to_utc
from waypost.segments.moments import read_moment

_DAY = timedelta(days=1)


def next_local_time(local: LocalTime, zone: str, *, since: datetime, later_than: datetime | None = None) -> datetime:
    """The first moment from `since` on, and after `later_than`, at which the zone's clock shows the time on its days.

    Raises `UnknownZoneError`.
    """
    today = since.astimezone(find_zone(zone)).date()
    for days in range(-1, 17):  # a date line that moves can leave a day out
        day = today + timedelta(days=days)
        at = local_to_utc(datetime.combine(day, local.time), zone)
        if EVERY_DAY[day.weekday()] in local.days and at >= since and (later_than is None or at > later_than):
            return at
    raise AssertionError("a day of the week comes within a fortnight")


def moment_of(date: ContactDate, value: Any, zone: str) -> datetime | None:
    """When the date that `value` writes comes, moved by its offset; None where the value is no date.

    What has no offset of its own is on the zone's clock; a date alone is its midnight. Raises `UnknownZoneError`.
    """
    return _moved(value, zone, offset=date.offset, at=date.at)


def next_date(entry: DateEntry, value: Any, zone: str, *, after: datetime) -> datetime | None:
    """The first time after `after` that a contact with this value enters; None: never.

    Raises `UnknownZoneError`.
    """
    if not entry.yearly:
        found = _moved(value, zone, offset=entry.offset, at=entry.at)
        return found if found is not None and found > after else None
    local = _local(value, zone)
    if local is None:
        return None
    for year in range(max(after.year - 11, local.year), after.year + 13):  # an offset is ten years at most
        found = _moved(_in_year(local, year).isoformat(), zone, offset=entry.offset, at=entry.at)
        if found is not None and found > after:
            return found
    return None


def _in_year(local: datetime, year: int) -> datetime:
    try:
        return local.replace(year=year)
    except ValueError:  # 29 February
        return local.replace(year=year, day=28)


def _written(value: Any) -> datetime | None:
    """The date or time, naive where it has no offset."""
    if not isinstance(value, str) or read_moment(value) is None:
        return None
    return datetime.fromisoformat(value)


def _local(value: Any, zone: str) -> datetime | None:
    written = _written(value)
    if written is None or written.tzinfo is None:
        return written
    return written.astimezone(find_zone(zone)).replace(tzinfo=None, fold=0)


def _moved(value: Any, zone: str, *, offset: timedelta, at: time | None) -> datetime | None:
    written, local = _written(value), _local(value, zone)
    if written is None or local is None:
        return None
    days = int(offset / _DAY)  # towards zero, so that -PT2H is two hours earlier by any clock
    rest = offset - days * _DAY
    if days or written.tzinfo is None:
        moment = local_to_utc(local + days * _DAY, zone) + rest
    else:
        moment = written.astimezone(UTC) + rest
    if at is None:
        return moment
    return local_to_utc(datetime.combine(moment.astimezone(find_zone(zone)).date(), at), zone)
