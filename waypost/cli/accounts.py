"""`waypost accounts`: is a provider account fit to send, and does its feed work?"""

from __future__ import annotations

import asyncio

import typer
from rich.console import Console
from rich.markup import escape

from waypost.relay.account_check import Finding, check
from waypost.settings import DatabaseSettings, SecretSettings
from waypost.store.database import Database, DatabaseAway, Role
from waypost.store.sealing import Sealer

app = typer.Typer(rich_markup_mode="rich", add_completion=False, no_args_is_help=True)


@app.callback()
def accounts() -> None:
    """Provider accounts."""


@app.command(name="check")
def check_command(
    account: str = typer.Argument(..., help="The account's name or id."),
    wait: float = typer.Option(30.0, min=1, max=600, help="Seconds to wait for the probe's event."),
) -> None:
    """Prove an account: settings, credentials, standing, and that its feed brings back what it sends.

    An SES account sends one message to Amazon's mailbox simulator and waits for its tagged event; `waypost ingest`
    must be running. Exit code 0 only where nothing is missing; what is missing is named.

    [dim]. .waypost/env; waypost accounts check demo-ses[/dim]
    """
    try:
        found = asyncio.run(_check(account, wait, Console()))
    except DatabaseAway:
        typer.echo("waypost accounts check: PostgreSQL does not answer; see WAYPOST_DATABASE_URL.", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if all(finding.ok for finding in found) else 1)


async def _check(account: str, wait_s: float, console: Console) -> list[Finding]:
    database = Database(DatabaseSettings(), Role.RELAY, size=1)
    secrets = SecretSettings()
    sealer = Sealer(secrets.secret_key.get_secret_value(), secrets.previous)
    found = []
    await database.open()
    try:
        await database.check_role()
        async for finding in check(database, account, sealer=sealer, wait_s=wait_s):
            found.append(finding)
            _show(finding, console)
    finally:
        await database.close()
    return found


def _show(finding: Finding, console: Console) -> None:
    console.print(f"{'[green]✓[/]' if finding.ok else '[red]✗[/]'} {escape(finding.what)}", highlight=False)
    if finding.advice:
        console.print(f"    {escape(finding.advice)}", highlight=False)
