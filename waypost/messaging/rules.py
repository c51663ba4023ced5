"""When a tenant lets its campaigns and journeys write to people: send windows, quiet hours, frequency caps.

Judged by the clock on the wall of the recipient's zone: an hour that happens twice counts both times, one that a change
of clocks leaves out never comes.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from waypost.messaging.values import Channel
from waypost.messaging.zones import find_zone

MAX_CAPS = 10
MAX_CAP_LIMIT = 100
MAX_CAP_PERIOD = timedelta(days=90)


class Weekday(StrEnum):
    """Days as `datetime.weekday` counts them."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


EVERY_DAY = tuple(Weekday)


_WALL_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$"


def _wall_clock(value: object) -> object:
    # pydantic would also read numbers and offsets; one way to write it is enough.
    if isinstance(value, time) and value.tzinfo is None:
        return value.replace(fold=0)
    if isinstance(value, str) and re.match(_WALL_CLOCK, value, re.ASCII):
        return value
    raise PydanticCustomError("wall_clock", "Give a time as the recipient's clock shows it, such as 21:00.")


WallClock = Annotated[
    time,
    BeforeValidator(_wall_clock),
    WithJsonSchema({"type": "string", "pattern": _WALL_CLOCK, "examples": ["21:00"]}),
]
"""A time of day in whatever zone the recipient is in."""


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SendWindow(_Rule):
    """Sends go out on these days from `start` until before `end`. An end at or before start is the next day's."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7)] = EVERY_DAY
    start: WallClock
    end: WallClock

    def holds(self, local: datetime) -> bool:
        """Whether the window is open when the recipient's clock shows `local`."""
        now = local.time()
        if self.start < self.end:
            return self.start <= now < self.end and EVERY_DAY[local.weekday()] in self.days
        if now >= self.start and EVERY_DAY[local.weekday()] in self.days:
            return True
        return now < self.end and EVERY_DAY[local.weekday() - 1] in self.days


class QuietHours(_Rule):
    """Nothing goes out from `start` until before `end`; where start is after end they last over midnight."""

    start: WallClock
    end: WallClock

    @model_validator(mode="after")
    def _some_time_is_left(self) -> Self:
        if self.start == self.end:
            raise PydanticCustomError("quiet_hours", "start and end are the same: nothing could ever be sent.")
        return self

    def holds(self, local: datetime) -> bool:
        """Whether it is quiet when the recipient's clock shows `local`."""
        now = local.time()
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


class FrequencyCap(_Rule):
    """At most `limit` messages to a contact in any `period`; without `channel` those of all channels together."""

    channel: Channel | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_CAP_LIMIT)]
    period: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=MAX_CAP_PERIOD)]


def next_in_window(moment: datetime, window: SendWindow, zone: str) -> datetime:
    """The first time from `moment` on (aware) that the window is open; `moment` itself where it is.

    At most a week away, or two where a change of clocks leaves the window's only hour out. In UTC, but for `moment`.
    Raises `UnknownZoneError`.
    """
    where = find_zone(zone)
    if window.holds(moment.astimezone(where)):
        return moment
    return next(at for at in _openings(moment, window.start, where) if window.holds(at.astimezone(where)))


def after_quiet_hours(moment: datetime, quiet: QuietHours, zone: str) -> datetime:
    """The first time from `moment` on (aware) that is not quiet; `moment` itself where it is not.

    In UTC, but for `moment`. Raises `UnknownZoneError`.
    """
    where = find_zone(zone)
    if not quiet.holds(moment.astimezone(where)):
        return moment
    return next(at for at in _openings(moment, quiet.end, where) if not quiet.holds(at.astimezone(where)))


def cap_is_reached(
    caps: Iterable[FrequencyCap],
    *,
    channel: Channel,
    now: datetime,
    sent: Iterable[datetime],
    sent_any: Iterable[datetime],
) -> bool:
    """Whether a message of `channel` more would be over a cap.

    `sent`: when the contact was written to on the channel; `sent_any`: on whatever channel.
    """
    for cap in caps:
        if cap.channel is None or cap.channel is channel:
            since = now - cap.period
            if sum(at > since for at in (sent_any if cap.channel is None else sent)) >= cap.limit:
                return True
    return False


def _openings(moment: datetime, start: time, zone: tzinfo) -> Iterator[datetime]:
    """Times after `moment`, in order, at which something that begins at `start` may begin. Ends after a fortnight."""
    today = moment.astimezone(UTC).date()
    for days in range(_SEARCHED_DAYS):
        yield from (at for at in _openings_of_day(today + timedelta(days=days), start, zone) if at > moment)


_SEARCHED_DAYS = 17
_DAY = timedelta(days=1)
_STEP = timedelta(hours=6)
"""No zone changes its clocks twice in this time."""


@lru_cache(maxsize=8192)
def _openings_of_day(day: date, start: time, zone: tzinfo) -> tuple[datetime, ...]:
    """Those of a day in UTC, in order; a bulk send asks for the same few again and again.

    A clock reaches `start` by showing it, once or twice, or at a change by jumping over it or back to before it.
    """
    midnight = datetime.combine(day, time(), UTC)
    showing = (datetime.combine(day + timedelta(days=near), start, zone) for near in (-2, -1, 0, 1, 2))
    found = {local.replace(fold=fold).astimezone(UTC) for local in showing for fold in (0, 1)}
    found |= {_change_between(at, at + _STEP, zone) for at in (midnight + hours * _STEP for hours in range(-1, 4))}
    return tuple(sorted(at for at in found if midnight <= at < midnight + _DAY))


def _change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The second at which the zone's clocks change; `after` where they do not, which is as good a time to look."""
    offset = before.astimezone(zone).utcoffset()
    if after.astimezone(zone).utcoffset() == offset:
        return after
    while (seconds := int((after - before).total_seconds())) > 1:
        middle = before + timedelta(seconds=seconds // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
