"""Rows as CSV: one line a row, RFC 4180's quotes, times in ISO 8601."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Request

MEDIA_TYPE = "text/csv"

Format = Annotated[
    Literal["json", "csv"] | None, Query(description="Without it the Accept header says; text/csv, or else JSON")
]


def wants_csv(request: Request, asked: Literal["json", "csv"] | None) -> bool:
    """Whether the caller asked for CSV, by the query or else by the header."""
    if asked is not None:
        return asked == "csv"
    return MEDIA_TYPE in request.headers.get("accept", "")


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """The rows' lines; nothing is written for None."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case str() if value[:1] in ("=", "@", "\t", "\r"):
            return f"'{value}"  # a spreadsheet would run it as a formula
        case _:
            return value
