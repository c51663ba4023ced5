"""What a comparison means. The SQL of it (waypost.store.segment_values) is held against this, value by value."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any, assert_never

from waypost.segments.comparisons import Around, Compare, Comparison, Has, OneOf, Presence, Scalar, TextMatch, Within
from waypost.segments.moments import FromNow, read_moment, read_when

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {"eq": eq, "ne": ne, "gt": gt, "gte": ge, "lt": lt, "lte": le}


def value_at(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a place in an object; None where there is none. Lists have no places."""
    value: Any = tree
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def holds(value: Any, comparison: Comparison, *, now: datetime) -> bool:
    """Whether a comparison holds of a value: JSON, or the moment when a contact was made."""
    match comparison:
        case Presence():
            return (value is not None) is (comparison.op == "exists")
        case Compare():
            return _compare(value, comparison)
        case OneOf():
            return any(_equal(value, one, ignore_case=comparison.ignore_case) for one in comparison.values)
        case TextMatch():
            return isinstance(value, str) and _match(value, comparison)
        case Has():
            return isinstance(value, list | tuple) and any(
                _equal(element, comparison.value, ignore_case=False) for element in value
            )
        case Around() | Within():
            moment = read_moment(value) if isinstance(value, str) else value
            return isinstance(moment, datetime) and _in_time(moment, comparison, now)
        case _:
            assert_never(comparison)


def fold(text: str) -> str:
    """A text without its case, letter by letter as waypost_fold() in SQL does it: a letter stays one letter."""
    return "".join(low if len(low := character.lower()) == 1 else "i" for character in text)  # only İ becomes two


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "none"


def _comparable(value: Any) -> Any:
    # A float is what its shortest digits say, which is what JSON and PostgreSQL keep of it.
    return Decimal(repr(value)) if _kind(value) == "number" else value


def _equal(value: Any, other: Scalar, *, ignore_case: bool) -> bool:
    if _kind(value) != _kind(other):
        return False
    if ignore_case and isinstance(other, str):
        return fold(value) == fold(other)
    return bool(_comparable(value) == _comparable(other))


def _compare(value: Any, comparison: Compare) -> bool:
    other = comparison.value
    if _kind(value) != _kind(other):
        return False
    if comparison.ignore_case and isinstance(other, str):
        value, other = fold(value), fold(other)
    return _OPERATORS[comparison.op](_comparable(value), _comparable(other))


def _match(value: str, comparison: TextMatch) -> bool:
    piece = comparison.value
    if comparison.ignore_case:
        value, piece = fold(value), fold(piece)
    match comparison.op:
        case "contains":
            return piece in value
        case "starts_with":
            return value.startswith(piece)
        case "ends_with":
            return value.endswith(piece)
        case _:
            assert_never(comparison.op)


def _in_time(moment: datetime, comparison: Around | Within, now: datetime) -> bool:
    match comparison.op:
        case "within_last":
            return now - comparison.period <= moment <= now
        case "within_next":
            return now <= moment <= now + comparison.period
        case "before":
            return moment < _when(comparison.moment, now)
        case "after":
            return moment > _when(comparison.moment, now)
        case _:
            assert_never(comparison.op)


def _when(moment: str, now: datetime) -> datetime:
    found = read_when(moment)
    return now + found.offset if isinstance(found, FromNow) else found
