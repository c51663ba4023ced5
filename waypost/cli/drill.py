"""`waypost drill NAME`: re-enact an incident on a private stack and check what comes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from waypost.drills import (
    dependency_outage,
    duplicate_watchdog,
    feed_outage,
    kill_nine,
    kill_nine_journeys,
    pause_and_caps,
)
from waypost.drills.report import Report, show
from waypost.drills.running import DrillRun, Scale
from waypost.stack.errors import StackError

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

DRILLS: Mapping[str, Callable[[DrillRun], Awaitable[Report]]] = {
    kill_nine.NAME: kill_nine.run,
    feed_outage.NAME: feed_outage.run,
    dependency_outage.NAME: dependency_outage.run,
    duplicate_watchdog.NAME: duplicate_watchdog.run,
    pause_and_caps.NAME: pause_and_caps.run,
}


@app.command()
def drill(
    name: str = typer.Argument(help=f"Which: {', '.join(DRILLS)}."),
    scale: Scale = typer.Option(Scale.SMOKE, help="smoke ends within a minute; full is for the claim."),
    report: Path | None = typer.Option(None, help="Write the report here, as JSON."),
    seed: int = typer.Option(1, help="Decides whatever is left to chance."),
    journeys: bool = typer.Option(False, "--journeys", help="Of kill-nine: while contacts walk a journey."),
    data: Path | None = typer.Option(None, help="Keep the stack's folder and its logs here; a fresh one is best."),
) -> None:
    """Run a drill: start a private stack, create the condition, measure, check. Exit code 0 only where all holds.

    Nothing outside the drill's own folder is touched, whatever the environment says. docs/incidents.md tells what
    each drill re-enacts and what its figures mean.

    [dim]waypost drill kill-nine[/dim]                             a minute

    [dim]waypost drill kill-nine --journeys[/dim]                  while contacts walk a journey

    [dim]waypost drill kill-nine --scale full --report out.json[/dim]
    """
    if name not in DRILLS:
        typer.echo(f"waypost drill: there is no {name}; there are {', '.join(DRILLS)}.", err=True)
        raise typer.Exit(2)
    if journeys and name != kill_nine.NAME:
        typer.echo(f"waypost drill: --journeys goes with {kill_nine.NAME}, not with {name}.", err=True)
        raise typer.Exit(2)
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # the drill stops PostgreSQL itself
    console = Console()
    try:
        with RichNarrator(console) as narrator:
            run = DrillRun(scale=scale, seed=seed, narrator=narrator, data=data)
            outcome = asyncio.run(_run(kill_nine_journeys.run if journeys else DRILLS[name], run))
    except StackError as error:
        typer.echo(f"waypost drill: {error}", err=True)
        raise typer.Exit(1) from None
    show(outcome, console)
    if report is not None:
        outcome.write(report)
    raise typer.Exit(0 if outcome.passed else 1)


async def _run(drill: Callable[[DrillRun], Awaitable[Report]], run: DrillRun) -> Report:
    return await drill(run)


class RichNarrator:
    """One line that moves, and a line for each step done."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting a private stack", total=None)

    def __enter__(self) -> RichNarrator:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, text: str) -> None:
        self._progress.update(self._task, description=text, completed=0, total=None)

    def progress(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)
