"""`waypost ledger`: the send ledger against what a provider says that it accepted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import typer
from rich.console import Console
from rich.table import Table

from waypost.messaging.audit import Acceptance, LedgerAudit
from waypost.messaging.provider_log import LogLineError, acceptance, read_lines
from waypost.settings import DatabaseSettings
from waypost.store.audit import compare
from waypost.store.database import Database, DatabaseAway, Role

app = typer.Typer(rich_markup_mode="rich", add_completion=False, no_args_is_help=True)

_PAGE = 10_000
_SHOWN = 20


@app.callback()
def ledger() -> None:
    """The send ledger."""


@app.command(name="audit")
def audit_command(
    log: str = typer.Option(..., help="The provider's log: a file of JSON lines, or the URL of a simulator."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, with every id."),
) -> None:
    """Compare the ledger with a provider's log and print the difference as sets.

    Exit code 0 only where nothing is lost, duplicated, unexpected or mismatched. Run it when sends rest: what was
    accepted between reading the log and reading the ledger would count as lost.

    [dim]. .waypost/env; waypost ledger audit --log .waypost/simulators.log[/dim]
    """
    try:
        found = asyncio.run(_audit(log))
    except (OSError, httpx.HTTPError, LogLineError) as error:
        typer.echo(f"waypost ledger audit: the log could not be read ({error}).", err=True)
        raise typer.Exit(2) from None
    except DatabaseAway:
        typer.echo("waypost ledger audit: PostgreSQL does not answer; see WAYPOST_DATABASE_URL.", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(as_dictionary(found), indent=2))
    else:
        _show(found, Console())
    raise typer.Exit(0 if found.is_clean else 1)


async def _audit(log: str) -> LedgerAudit:
    database = Database(DatabaseSettings(), Role.RELAY, size=1)
    await database.open()
    try:
        # The log first: the ledger claims before it sends, so what it lacks of this log, it lacks.
        entries = list(read_log(log))
        async with database.transaction() as connection:
            return await compare(connection, entries)
    finally:
        await database.close()


def read_log(source: str) -> Iterator[Acceptance]:
    """A file's or a simulator's acceptances. Raises OSError, httpx.HTTPError, LogLineError."""
    if source.startswith(("http://", "https://")):
        yield from _read_pages(source)
        return
    with Path(source).open("rb") as file:
        yield from read_lines(file)


def _read_pages(url: str) -> Iterator[Acceptance]:
    path = url if "/control/log" in url else url.rstrip("/") + "/control/log"
    since = 0
    with httpx.Client(timeout=30.0) as http:
        while True:
            page = http.get(path, params={"since": since, "limit": _PAGE}).raise_for_status().json()
            yield from (acceptance(entry, since + place) for place, entry in enumerate(page["entries"]))
            if not page["entries"]:
                return
            since = page["next"]


def as_dictionary(found: LedgerAudit) -> dict[str, object]:
    """The audit as JSON has it."""
    return {
        "clean": found.is_clean,
        "attempts": found.attempts,
        "acceptances": found.acceptances,
        "agreed": found.agreed,
        **{name: sorted(str(each) for each in getattr(found, name)) for name in (*_DIFFERENCES, *_OPEN)},
    }


_DIFFERENCES = {
    "lost": "attempts that the ledger counts as accepted and the provider never had",
    "duplicated": "messages that the provider accepted more than once",
    "unexpected": "lines of the log that the ledger holds to be not sent, or does not know",
    "mismatched": "attempts with another recipient or provider's id there",
}
_OPEN = {
    "undecided": "attempts of which the ledger does not know yet",
    "maybe_sent": "attempts that are assumed to be sent",
    "allowed_duplicates": "login codes that were sent twice, as is allowed",
}


def _show(found: LedgerAudit, console: Console) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("", "attempts in the ledger", str(found.attempts))
    table.add_row("", "acceptances in the log", str(found.acceptances))
    table.add_row("", "agreed", str(found.agreed))
    for name, meaning in _OPEN.items():
        table.add_row("[dim]·[/]", f"{name}: {meaning}", str(len(getattr(found, name))))
    for name, meaning in _DIFFERENCES.items():
        ids = sorted(str(each) for each in getattr(found, name))
        mark = "[red]✗[/]" if ids else "[green]✓[/]"
        table.add_row(mark, f"{name}: {meaning}", str(len(ids)))
        for identity in ids[:_SHOWN]:
            table.add_row("", f"    [dim]{identity}[/]", "")
    console.print(table)
