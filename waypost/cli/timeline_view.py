"""A simulation's timeline as a table for people."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from waypost.messaging.zones import find_zone
from waypost.simulation.timeline import Line, Timeline

_MARKS = {
    "sent": "[green]✉[/]",
    "not_sent": "[red]✗[/]",
    "put_off": "[yellow]…[/]",
    "waits": "[cyan]◷[/]",
    "goes_on": "[cyan]→[/]",
    "entered": "[bold]▶[/]",
    "ended": "[bold]■[/]",
    "open": "[bold]□[/]",
    "not_entered": "[red]□[/]",
}
_FROM_OUTSIDE = frozenset(
    {"event", "change", "delete", "receipt", "answer", "skip_wait", "move", "remove", "pause", "resume"}
)


def show(timeline: Timeline) -> None:
    """Print it: the contact's clock, UTC, and what happens."""
    console = Console(highlight=False)
    sent = sum(one.kind == "sent" for one in timeline.lines)
    console.print(
        f"[bold]{escape(timeline.journey)}[/]: {escape(timeline.contact)}, {timeline.zone}, {sent} sent", soft_wrap=True
    )
    for note in timeline.notes:
        console.print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    table = Table(box=None, padding=(0, 1), show_header=True, header_style="dim")
    table.add_column(timeline.zone, no_wrap=True)
    table.add_column("UTC", style="dim", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    before: datetime | None = None
    for line in timeline.lines:
        table.add_row(*_times(line, timeline, before), _mark(line), _text(line))
        before = line.at
    console.print(table)


def _times(line: Line, timeline: Timeline, before: datetime | None) -> tuple[str, str]:
    if line.at == before:
        return "", ""
    local = line.at.astimezone(find_zone(timeline.zone))
    return _clock(local, "%a %d %b %Y %H:%M"), _clock(line.at, "%d %b %H:%M")


def _clock(at: datetime, form: str) -> str:
    return at.strftime(form + (":%S" if at.second else ""))


def _mark(line: Line) -> str:
    return "[magenta]●[/]" if line.kind in _FROM_OUTSIDE else _MARKS.get(line.kind, "·")


def _text(line: Line) -> str:
    key = f"[dim]{escape(line.key)}[/] " if line.key else ""
    text = escape(line.text)
    return f"{key}[bold]{text}[/]" if line.kind in ("sent", "ended") else f"{key}{text}"
