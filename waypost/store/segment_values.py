"""A comparison of one value as SQL, which agrees to the letter with waypost.segments.comparing; never null."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeAlias, assert_never

from psycopg import sql
from psycopg.types.json import Jsonb

from waypost.segments.comparisons import (
    Around,
    Compare,
    Comparison,
    Has,
    OneOf,
    Presence,
    Scalar,
    TextMatch,
    Within,
)
from waypost.segments.moments import FromNow, read_when

FALSE = sql.SQL("false")
NOW = sql.SQL("waypost_now()")

_OPERATORS = {
    "eq": sql.SQL("="),
    "ne": sql.SQL("<>"),
    "gt": sql.SQL(">"),
    "gte": sql.SQL(">="),
    "lt": sql.SQL("<"),
    "lte": sql.SQL("<="),
    "before": sql.SQL("<"),
    "after": sql.SQL(">"),
}


@dataclass(frozen=True, slots=True)
class InJson:
    """A place in a jsonb column that is an object and never null. Equality is containment, which an index answers."""

    column: sql.Composable
    path: Sequence[str]

    def _value(self) -> sql.Composed:
        # ->, not #>: the latter finds elements of lists by their number.
        return sql.SQL("({})").format(sql.SQL(" -> ").join([self.column, *map(sql.Literal, self.path)]))

    def holds(self, value: Scalar | list[Scalar]) -> sql.Composable:
        """Whether the value is just this one, or a list that has these; never null."""
        said: Any = value
        for name in reversed(self.path):
            said = {name: said}
        return sql.SQL("{} @> {}").format(self.column, sql.Literal(Jsonb(said)))

    def present(self) -> sql.Composable:
        """Not missing and not null."""
        return sql.SQL("COALESCE(jsonb_typeof({}) <> 'null', false)").format(self._value())

    def text(self) -> sql.Composable:
        """The string."""
        value = self._value()
        return sql.SQL("CASE WHEN jsonb_typeof({}) = 'string' THEN {} #>> '{{}}' END").format(value, value)

    def number(self) -> sql.Composable:
        """The number, exact."""
        value = self._value()
        return sql.SQL("CASE WHEN jsonb_typeof({}) = 'number' THEN {}::numeric END").format(value, value)

    def moment(self) -> sql.Composable:
        """The moment that the string writes."""
        return sql.SQL("waypost_moment({})").format(self.text())


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of text."""

    column: sql.Composable

    def present(self) -> sql.Composable:
        """Not null."""
        return sql.SQL("{} IS NOT NULL").format(self.column)

    def text(self) -> sql.Composable:
        """The column."""
        return self.column

    def number(self) -> None:
        """Never."""

    def moment(self) -> sql.Composable:
        """The moment that the text writes."""
        return sql.SQL("waypost_moment({})").format(self.column)


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column of timestamptz."""

    column: sql.Composable

    def present(self) -> sql.Composable:
        """Not null."""
        return sql.SQL("{} IS NOT NULL").format(self.column)

    def text(self) -> None:
        """Never."""

    def number(self) -> None:
        """Never."""

    def moment(self) -> sql.Composable:
        """The column."""
        return self.column


Operand: TypeAlias = InJson | TextColumn | TimeColumn
"""A value in a row, seen as each kind that a comparison may ask for: null, or no SQL at all, where it is none."""


def known(condition: sql.Composable) -> sql.Composed:
    """A condition that is false where it is null: `not` turns it into true, as everybody expects."""
    return sql.SQL("COALESCE({}, false)").format(condition)


def compile_comparison(operand: Operand, comparison: Comparison) -> sql.Composable:
    """A comparison of an operand as a condition that is never null."""
    match comparison:
        case Presence():
            present = operand.present()
            return present if comparison.op == "exists" else sql.SQL("NOT ({})").format(present)
        case Compare():
            return _compare(operand, comparison)
        case OneOf():
            equal = (_equal(operand, value, ignore_case=comparison.ignore_case) for value in comparison.values)
            return sql.SQL("({})").format(sql.SQL(" OR ").join(equal))
        case TextMatch():
            return _match(operand, comparison)
        case Has():
            return operand.holds([comparison.value]) if isinstance(operand, InJson) else FALSE
        case Around():
            return _around(operand.moment(), comparison)
        case Within():
            moment = operand.moment()
            if moment is None:
                return FALSE
            return known(within(moment, comparison.period, ahead=comparison.op == "within_next"))
        case _:
            assert_never(comparison)


def _equal(operand: Operand, value: Scalar, *, ignore_case: bool) -> sql.Composable:
    if isinstance(operand, InJson) and not (ignore_case and isinstance(value, str)):
        return operand.holds(value)
    text = operand.text()
    if text is None or not isinstance(value, str):
        return FALSE
    given: sql.Composable = sql.Literal(value)
    if ignore_case:
        text, given = fold(text), fold(given)
    return known(sql.SQL("{} = {}").format(text, given))


def _compare(operand: Operand, comparison: Compare) -> sql.Composable:
    value = comparison.value
    if comparison.op == "eq":
        return _equal(operand, value, ignore_case=comparison.ignore_case)
    if isinstance(value, bool):
        return operand.holds(not value) if isinstance(operand, InJson) else FALSE
    seen: sql.Composable | None
    given: sql.Composable
    if isinstance(value, str):
        seen, given = operand.text(), sql.Literal(value)
        if seen is not None and comparison.ignore_case:
            seen, given = fold(seen), fold(given)
        # By code point, as Python compares, whatever the database's own order is.
        order = sql.SQL(' COLLATE "C"')
    else:
        seen, given, order = operand.number(), number(value), sql.SQL("")
    if seen is None:
        return FALSE
    return known(sql.SQL("({}){} {} {}").format(seen, order, _OPERATORS[comparison.op], given))


def _match(operand: Operand, comparison: TextMatch) -> sql.Composable:
    text = operand.text()
    piece: sql.Composable = sql.Literal(comparison.value)
    if text is None:
        return FALSE
    if comparison.ignore_case:
        text, piece = fold(text), fold(piece)
    match comparison.op:
        case "contains":
            shape = "strpos({text}, {piece}) > 0"
        case "starts_with":
            shape = "starts_with({text}, {piece})"
        case "ends_with":
            shape = "right({text}, length({piece})) = {piece}"
        case _:
            assert_never(comparison.op)
    return known(sql.SQL(shape).format(text=text, piece=piece))


def _around(moment: sql.Composable | None, comparison: Around) -> sql.Composable:
    if moment is None:
        return FALSE
    return known(sql.SQL("{} {} {}").format(moment, _OPERATORS[comparison.op], _when(comparison.moment)))


def _when(moment: str) -> sql.Composable:
    found = read_when(moment)
    if isinstance(found, FromNow):
        return sql.SQL("({} + {})").format(NOW, _period(found.offset))
    return sql.SQL("{}::timestamptz").format(sql.Literal(found.isoformat()))


def within(moment: sql.Composable, period: timedelta, *, ahead: bool) -> sql.Composable:
    """Whether a moment is in the period before now, or in the one after it; null where the moment is."""
    shape = "{moment} BETWEEN {now} AND {now} + {period}" if ahead else "{moment} BETWEEN {now} - {period} AND {now}"
    return sql.SQL(shape).format(moment=moment, now=NOW, period=_period(period))


def _period(period: timedelta) -> sql.Composable:
    # Not days: those depend on the session's time zone.
    return sql.SQL("{}::interval").format(sql.Literal(f"{period // timedelta(microseconds=1)} microseconds"))


def fold(text: sql.Composable) -> sql.Composed:
    """A text without its case."""
    return sql.SQL("waypost_fold({})").format(text)


def number(value: int | float) -> sql.Composable:
    """A number as its shortest decimal digits say it, which is what jsonb keeps of it."""
    return sql.SQL("{}::numeric").format(sql.Literal(str(Decimal(repr(value)))))
