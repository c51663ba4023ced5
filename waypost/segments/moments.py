"""Points in time as rules and attributes write them.

A rule writes `2026-11-24`, `2026-11-24T09:00:00+01:00`, `now`, `now - P30D`, `now + PT2H`. An attribute writes the
first two. What has no offset is UTC. A month is 30 days and a year 365: periods are exact.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

MAX_PERIOD = timedelta(days=36_525)

# The years are those of which PostgreSQL and Python agree in every zone. The same pattern as waypost_moment() in SQL.
_DAY = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_OFFSET = r"(Z|[+-](0[0-9]|1[0-5]):[0-5][0-9])"
_WRITTEN = re.compile(rf"{_DAY}(T{_TIME}{_OFFSET}?)?")
_RELATIVE = re.compile(r"now(?: *(?P<sign>[+-]) *(?P<period>P[0-9A-Z.]{1,40}))?")

_PERIOD: TypeAdapter[timedelta] = TypeAdapter(timedelta)

Period = Annotated[timedelta, Field(gt=timedelta(0), le=MAX_PERIOD, description="ISO 8601: P30D, PT2H")]


def read_moment(text: str) -> datetime | None:
    """The moment that a text writes, in UTC unless it names an offset; None for every other text."""
    if not _WRITTEN.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:  # the 30th of February
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FromNow:
    """A moment at a distance from now."""

    offset: timedelta


def read_when(text: str) -> datetime | FromNow:
    """The moment of a rule. Raises ValueError."""
    relative = _RELATIVE.fullmatch(text.strip())
    if relative is None:
        found = read_moment(text.strip())
        if found is None:
            raise ValueError("not a moment")
        return found
    if relative["period"] is None:
        return FromNow(timedelta(0))
    try:
        period = _PERIOD.validate_python(relative["period"])
    except ValidationError:
        raise ValueError("not a period") from None
    if not timedelta(0) <= period <= MAX_PERIOD:
        raise ValueError("a period beyond its bound")
    return FromNow(-period if relative["sign"] == "-" else period)


def _when(text: str) -> str:
    try:
        read_when(text)
    except ValueError:
        raise PydanticCustomError(
            "moment", "Give a date, a time (2026-11-24T09:00:00+01:00), now, now - P30D or now + PT2H."
        ) from None
    return text


When = Annotated[
    str,
    StringConstraints(min_length=3, max_length=64),
    AfterValidator(_when),
    Field(description="2026-11-24, 2026-11-24T09:00:00+01:00, now, now - P30D, now + PT2H"),
]
"""A moment as a rule writes it; `read_when` understands it."""
