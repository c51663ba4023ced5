"""Time zones of the IANA database, looked up once: a bulk send asks for one with every recipient."""

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones


class UnknownZoneError(ValueError):
    """No zone of the IANA database has this name."""


@cache
def zone_names() -> frozenset[str]:
    """Every name that the database has."""
    return frozenset(available_timezones())


_found: dict[str, ZoneInfo] = {}
# The standard library keeps eight of them; there are some six hundred, so that all stay.


def find_zone(name: str) -> ZoneInfo:
    """A zone by its name. Raises `UnknownZoneError`."""
    zone = _found.get(name)
    if zone is None:
        if name not in zone_names():
            raise UnknownZoneError("This is not a time zone of the IANA database.")
        zone = _found[name] = ZoneInfo(name)
    return zone


def known_zone(name: str | None, fallback: str) -> str:
    """`name` where it is a zone, else `fallback`: a contact without a zone, or with one of a later database."""
    return name if name is not None and (name in _found or name in zone_names()) else fallback


def local_to_utc(local: datetime, zone: str) -> datetime:
    """A wall-clock time (naive) of a zone in UTC.

    One that a change of clocks leaves out is moved on by as much as the clocks are; of one that comes twice it is the
    first. Raises `UnknownZoneError`, and OverflowError within a day of the first and last years that there are.
    """
    return local.replace(tzinfo=find_zone(name=zone), fold=0).astimezone(UTC)
