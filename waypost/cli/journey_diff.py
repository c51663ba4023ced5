"""`waypost journeys diff`: two documents, or one and what the server has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.journey_client import STACK, Data, Key, Url, client
from waypost.cli.journey_differences import between, show
from waypost.cli.journeys import sound_file
from waypost.journeys.differences import differences

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

_DIFFERENT = 3


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="The version before; with --server the document.")],
    after: Annotated[Path | None, typer.Argument(metavar="B", help="The version after.", show_default=False)] = None,
    server: Annotated[bool, typer.Option("--server", help="Compare the server's draft with A.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    url: Url = None,
    key: Key = None,
    data: Data = STACK,
) -> None:
    """Say what is different between two documents, step by step. Exit code 0 where nothing is, 3 where something is.

    [dim]waypost journeys diff before.yaml after.yaml[/dim]

    [dim]waypost journeys diff onboarding.yaml --server[/dim]
    """
    if server == (after is not None):
        raise typer.BadParameter("Give a second document, or --server.", param_hint="B")
    journey = sound_file(before)
    if after is not None:
        found = differences(journey, sound_file(after))
    else:
        with client("diff", url, key, data) as api:
            there = api.get(journey.journey)
        if there is None:
            typer.echo(f"waypost journeys diff: the server has no journey {journey.journey}.", err=True)
            raise typer.Exit(_DIFFERENT)
        found = between(there["draft"], journey)
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], indent=2, ensure_ascii=False))
    else:
        show(found)
    raise typer.Exit(_DIFFERENT if found else 0)
