"""When a campaign's recipients are due: wall-clock times in their zones, spreads, and the rules of sending.

Everything that is returned is in UTC. The rules' own arithmetic is shared with the gate: waypost.messaging.rules.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from waypost.messaging.rules import (
    FrequencyCap,
    QuietHours,
    SendWindow,
    Weekday,
    after_quiet_hours,
    next_in_window,
)
from waypost.messaging.zones import UnknownZoneError, find_zone, known_zone, local_to_utc, zone_names

__all__ = [
    "FrequencyCap",
    "QuietHours",
    "SendWindow",
    "UnknownZoneError",
    "Weekday",
    "after_quiet_hours",
    "due_by_zone",
    "earliest_due",
    "latest_due",
    "local_due",
    "next_in_window",
    "spread_offset",
]


def local_due(local: datetime, zone: str) -> datetime:
    """When a zone's clocks show `local` (naive), in UTC.

    A time that a change of clocks leaves out is moved on by the gap; of one that comes twice it is the first.
    Raises `UnknownZoneError`.
    """
    return local_to_utc(local, zone)


def earliest_due(local: datetime) -> datetime:
    """When the first clock of the world shows `local`: by then the audience must be frozen. UTC+14 at present."""
    return min(local_to_utc(local, zone) for zone in zone_names())


def latest_due(local: datetime) -> datetime:
    """When the last clock of the world shows `local`."""
    return max(local_to_utc(local, zone) for zone in zone_names())


def due_by_zone(local: datetime, zones: Iterable[str], fallback: str) -> dict[str, datetime]:
    """When `local` is due in each of `zones`; a name that is no zone gets `fallback`'s. Raises `UnknownZoneError`."""
    find_zone(fallback)
    return {zone: local_to_utc(local, known_zone(zone, fallback)) for zone in zones}


def spread_offset(fraction: float, period: timedelta) -> timedelta:
    """How much later a recipient is due whose place in a spread is `fraction` (from 0 up to 1)."""
    return timedelta(microseconds=int(min(max(fraction, 0.0), 1.0) * (period // timedelta(microseconds=1))))
