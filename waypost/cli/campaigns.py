"""`waypost campaigns`: list, show, schedule, watch, pause, resume, cancel."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from waypost.cli.campaign_bar import CampaignBar, counted, state_of
from waypost.cli.campaign_client import CampaignClient
from waypost.cli.tenant_client import ClientError, Shown, door

app = typer.Typer(rich_markup_mode="rich", add_completion=False, no_args_is_help=True)

T = TypeVar("T")

_Campaign = Annotated[str, typer.Argument(metavar="KEY", help="The campaign's key.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_Url = Annotated[str | None, typer.Option(envvar="WAYPOST_URL", help="Where the API is.")]
_Key = Annotated[str | None, typer.Option(envvar="WAYPOST_KEY", help="A tenant's key: campaigns:read, or :write.")]
_Data = Annotated[Path, typer.Option(envvar="WAYPOST_DATA", help="Without these: this stack's.")]
_STACK = Path(".waypost")
_CANCELLED = 3


@app.callback()
def campaigns() -> None:
    """Campaigns: one message to a whole audience. See docs/campaigns.md."""


@app.command(name="list")
def list_command(as_json: _Json = False, url: _Url = None, key: _Key = None, data: _Data = _STACK) -> None:
    """Every campaign, in the order they were made."""
    rows = _with(lambda client: list(client.all()), url, key, data)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table("key", "name", "state", "runs", "changed", box=None)
    for row in rows:
        cells = (row["key"], row["name"], row["state"], str(row["last_run"]), _time(row["updated_at"]))
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


@app.command()
def show(campaign: _Campaign, as_json: _Json = False, url: _Url = None, key: _Key = None, data: _Data = _STACK) -> None:
    """A campaign and its last run, with exact counts of this moment."""
    _tell(_with(lambda client: client.get(campaign), url, key, data), as_json=as_json)


@app.command()
def schedule(
    campaign: _Campaign, as_json: _Json = False, url: _Url = None, key: _Key = None, data: _Data = _STACK
) -> None:
    """Make the draft's run, at its time or at once. Said twice, it is one run."""
    _act(campaign, "schedule", as_json, url, key, data)


@app.command()
def pause(
    campaign: _Campaign, as_json: _Json = False, url: _Url = None, key: _Key = None, data: _Data = _STACK
) -> None:
    """Stop within one provider call; nobody is forgotten."""
    _act(campaign, "pause", as_json, url, key, data)


@app.command()
def resume(
    campaign: _Campaign, as_json: _Json = False, url: _Url = None, key: _Key = None, data: _Data = _STACK
) -> None:
    """Go on after a pause or a halt."""
    _act(campaign, "resume", as_json, url, key, data)


@app.command()
def approve(
    campaign: _Campaign, as_json: _Json = False, url: _Url = None, key: _Key = None, data: _Data = _STACK
) -> None:
    """Let a run go out that waits for it, being larger than the tenant's approval_over."""
    _act(campaign, "approve", as_json, url, key, data)


@app.command()
def cancel(
    campaign: _Campaign,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: _Json = False,
    url: _Url = None,
    key: _Key = None,
    data: _Data = _STACK,
) -> None:
    """End it for good: who was not sent to yet gets the outcome cancelled."""
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Cancel {campaign} for good?", abort=True, err=True)
    _act(campaign, "cancel", as_json, url, key, data)


@app.command()
def watch(
    campaign: _Campaign,
    run: Annotated[int | None, typer.Option(min=1, help="The run's number; without it the last one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON each time that it changed.")] = False,
    url: _Url = None,
    key: _Key = None,
    data: _Data = _STACK,
) -> None:
    """Follow a run to its end: how far, how fast, how long yet. Ctrl-C ends the watching, not the campaign.

    Exit code 0 where the run completed, 3 where it was cancelled.

    [dim]waypost campaigns watch spring-sale[/dim]
    """
    try:
        last = _with(lambda client: _watch(client, campaign, run, as_json=as_json), url, key, data)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(_CANCELLED if last is not None and last["state"] == "cancelled" else 0)


def _watch(client: CampaignClient, campaign: str, run: int | None, *, as_json: bool) -> Shown | None:
    last: Shown | None = None
    console = Console(quiet=as_json)
    with CampaignBar(console, campaign) as bar, closing(client.follow(campaign, run)) as changes:
        for last in changes:
            bar.show(last)
            if as_json:
                typer.echo(json.dumps(last, ensure_ascii=False))
    if last is not None:
        console.print(
            f"Run {last['number']} is {state_of(last)}: {counted(last['counts'])}.", highlight=False, soft_wrap=True
        )
    return last


def _act(campaign: str, action: str, as_json: bool, url: str | None, key: str | None, data: Path) -> None:
    _tell(_with(lambda client: client.act(campaign, action), url, key, data), as_json=as_json)


def _with(work: Callable[[CampaignClient], T], url: str | None, key: str | None, data: Path) -> T:
    """Do it with a client; what goes wrong is said in one line."""
    try:
        with CampaignClient(*door(url, key, data)) as client:
            return work(client)
    except ClientError as error:
        typer.echo(f"waypost campaigns: {error}", err=True)
        raise typer.Exit(1) from None


def _tell(shown: Shown, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    console = Console()
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in _facts(shown):
        rows.add_row(f"[bold]{name}[/]", escape(value))
    console.print(rows)


def _facts(shown: Shown) -> list[tuple[str, str]]:
    facts = [("campaign", f"{shown['key']} ({shown['name']}), {shown['mode']}"), ("state", str(shown["state"]))]
    run: dict[str, Any] | None = shown["run"]
    if run is None:
        return [*facts, ("next", f"waypost campaigns schedule {shown['key']}")]
    facts += [("run", f"{run['number']} ({run['kind']}), {state_of(run)}"), ("due", _time(run["scheduled_at"]))]
    if run["audience"] is not None:
        facts += [
            ("recipients", f"{run['audience']:,}, {run['open']:,} of them open"),
            ("counts", counted(run["counts"])),
        ]
    if run["winner"] is not None:
        facts.append(("winner", run["winner"]))
    return [*facts, ("execution", run["execution"])]


def _time(text: str) -> str:
    return text[:19].replace("T", " ") + " UTC"
