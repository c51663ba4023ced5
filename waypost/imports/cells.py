"""What one cell becomes. Every function raises `ValueError` with a sentence of ours that never repeats the cell."""

import re
from datetime import datetime
from typing import assert_never

from waypost.imports.layout import CellKind

_YES = frozenset({"true", "yes", "y", "1"})
_NO = frozenset({"false", "no", "n", "0"})
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?", re.ASCII)
"""What a double tells apart; 007 and +43 are no numbers but texts that have digits."""

Value = str | int | float | bool


def consent(cell: str) -> bool:
    """A word on a channel."""
    word = cell.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError("Consent is true or false (yes, no, 1, 0).")


def attribute(cell: str, kind: CellKind) -> Value:
    """An attribute's value; text stays as it is, blanks included."""
    match kind:
        case CellKind.TEXT:
            return cell
        case CellKind.INFER:
            return _inferred(cell)
        case CellKind.NUMBER:
            return _number(cell.strip())
        case CellKind.BOOLEAN:
            return _boolean(cell.strip().lower())
        case CellKind.DATE:
            return _date(cell.strip())
        case _:
            assert_never(kind)


def _inferred(cell: str) -> Value:
    if _NUMBER.fullmatch(cell):
        return _number(cell)
    return {"true": True, "false": False}.get(cell.lower(), cell)


def _number(cell: str) -> int | float:
    if not _NUMBER.fullmatch(cell):
        raise ValueError("This is not a number such as 12 or -3.5.")
    return float(cell) if "." in cell else int(cell)


def _boolean(cell: str) -> bool:
    if cell in _YES or cell in _NO:
        return cell in _YES
    raise ValueError("This is not true or false (yes, no, 1, 0).")


def _date(cell: str) -> str:
    try:
        found = datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError("This is not a date such as 2026-11-24 or 2026-11-24T15:00:00+01:00.") from None
    return found.date().isoformat() if len(cell) <= len("2026-11-24") else found.isoformat()
