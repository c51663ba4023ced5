"""How long: ISO 8601 durations of weeks, days, hours, minutes and seconds, which all have one length.

Months and years have none, so that they are refused; a day is 24 hours.
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_DURATION = timedelta(days=3_660)
MIN_DURATION = timedelta(seconds=1)

_PATTERN = (
    r"P(?=[0-9T])(?:(?P<weeks>[0-9]{1,4})W)?(?:(?P<days>[0-9]{1,5})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,6})H)?(?:(?P<minutes>[0-9]{1,7})M)?(?:(?P<seconds>[0-9]{1,9})S)?)?"
)
_DURATION = re.compile(_PATTERN, re.ASCII)
_SCHEMA = r"^P(?=[0-9T])([0-9]+W)?([0-9]+D)?(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+S)?)?$"
_WORDS = re.compile(r"\s*(?P<n>[0-9]{1,5})\s*(?P<unit>[a-z]+)\s*", re.ASCII | re.IGNORECASE)
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "PT{}S"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "PT{}M"),
    **dict.fromkeys(("h", "hour", "hours"), "PT{}H"),
    **dict.fromkeys(("d", "day", "days"), "P{}D"),
    **dict.fromkeys(("w", "week", "weeks"), "P{}W"),
}


def read_duration(text: str) -> timedelta | None:
    """The duration that a text writes; None for every other text."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    return timedelta(**{unit: int(number) for unit, number in found.groupdict().items() if number is not None})


def write_duration(duration: timedelta) -> str:
    """The shortest ISO 8601 text: P1DT2H. A negative one begins with a minus."""
    if duration < timedelta(0):
        return "-" + write_duration(-duration)
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "H"), (minutes, "M"), (seconds, "S"))
    clock = "".join(f"{number}{unit}" for number, unit in parts if number)
    day = f"{duration.days}D" if duration.days else ""
    return f"P{day}{'T' + clock if clock else ''}" if day or clock else "PT0S"


def suggest_duration(value: object) -> str | None:
    """What somebody may have meant who wrote `3 days`, `2h` or `P1M`."""
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"[+-]?P[0-9]{1,3}M", value):
        return f"P{int(value.strip('+-PM')) * 30}D"
    found = _WORDS.fullmatch(value)
    written = _UNITS.get(found["unit"].lower()) if found is not None else None
    return written.format(found["n"]) if written is not None and found is not None else None


def _read(value: object, *, signed: bool) -> timedelta:
    if isinstance(value, timedelta):
        return value
    found = None
    if isinstance(value, str):
        sign = value[:1] if signed and value[:1] in ("+", "-") else ""
        found = read_duration(value.removeprefix(sign))
        found = -found if found is not None and sign == "-" else found
    if found is None:
        raise PydanticCustomError("duration", "Give an ISO 8601 duration of days, hours, minutes: P3D, PT2H30M.")
    if abs(found) > MAX_DURATION:
        raise PydanticCustomError("duration", "This is longer than ten years.")
    return found


def _duration(value: object) -> timedelta:
    found = _read(value, signed=False)
    if found < MIN_DURATION:
        raise PydanticCustomError("duration", "A duration is a second at least.")
    return found


def _offset(value: object) -> timedelta:
    return _read(value, signed=True)


_WRITTEN = PlainSerializer(write_duration, return_type=str)

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    _WRITTEN,
    WithJsonSchema({"type": "string", "pattern": _SCHEMA, "examples": ["P3D", "PT2H30M"]}),
]
"""A second to ten years."""

Offset = Annotated[
    timedelta,
    BeforeValidator(_offset),
    _WRITTEN,
    WithJsonSchema({"type": "string", "pattern": "^[+-]?" + _SCHEMA[1:], "examples": ["-P3D", "PT2H"]}),
]
"""Ten years before to ten years after."""
