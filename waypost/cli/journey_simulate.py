"""`waypost journeys simulate`: a journey walked by the real workflow, gate and decisions on a simulated clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.journey_problems import refusing, run
from waypost.cli.timeline_view import show
from waypost.simulation.cases import Case
from waypost.simulation.playing import play
from waypost.simulation.reading import Options, read_case
from waypost.simulation.servers import servers
from waypost.simulation.timeline import Timeline, tell

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A journey in YAML or JSON.")],
    contact: Annotated[
        str | None, typer.Option(metavar="FILE|JSON", help="Who walks; without it somebody with an email and a phone.")
    ] = None,
    events: Annotated[Path | None, typer.Option(metavar="FILE", help="What happens when: docs/journeys.md.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="JSON", help="What the enrollment carries: the entering event's properties.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it begins: 2026-11-24T09:00 on the contact's clock. Now.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="P90D|TIME", help="No further than this; without it to the end, 400 days.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The tenant: quiet hours, caps, zone, segments, topics.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Templates as KEY.json; others say their names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the JSON to this file, too.")] = None,
) -> None:
    """Walk a journey on a simulated clock and tell what is sent when and why. Nothing leaves this machine.

    Starts a PostgreSQL and Temporal's time-skipping server for itself; months take seconds. Exit code 1 for a document
    with problems, 2 for what else was given and cannot be.

    [dim]waypost journeys simulate onboarding.yaml --data '{"plan": "pro"}'[/dim]

    [dim]waypost journeys simulate dunning.yaml --events bounced.yaml --start 2026-11-24T09:00 --json[/dim]
    """
    options = Options(
        file=file, contact=contact, events=events, data=data, start=start, until=until, rules=rules, templates=templates
    )
    with refusing("simulate"):
        timeline = run(_simulate(read_case(options, now=datetime.now(UTC))))
        text = json.dumps(timeline.as_json(), indent=2, ensure_ascii=False)
        if report is not None:
            report.write_text(text + "\n", encoding="utf-8")
    if as_json:
        typer.echo(text)
    else:
        show(timeline)


async def _simulate(case: Case) -> Timeline:
    async with servers() as running:
        return tell(await play(running, case))
