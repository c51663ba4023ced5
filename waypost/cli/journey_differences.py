"""What is different between two documents, shown."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from waypost.journeys.differences import Difference, differences
from waypost.journeys.document import Journey
from waypost.journeys.validation import check_journey


def between(before: str, after: Journey) -> tuple[Difference, ...]:
    """What a draft of the server's and a document differ in; a draft that is no longer sound differs in all."""
    old = check_journey(before).journey
    if old is None:
        return (Difference(what="changed", step=None, field="(document)", before="not sound", after=after.name),)
    return differences(old, after)


def show(found: tuple[Difference, ...]) -> None:
    """As a table."""
    if not found:
        typer.echo("No difference.")
        return
    table = Table("step", "field", "before", "after", box=None)
    for one in found:
        cells = (one.step or "(journey)", one.field or "(step)", _value(one.before), _value(one.after))
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


def _value(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
