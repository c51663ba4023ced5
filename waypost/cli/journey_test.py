"""`waypost journeys test`: journeys held against the scenarios that a team keeps beside them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from waypost.cli.journey_problems import refusing, run
from waypost.simulation.cases import Case
from waypost.simulation.expecting import Compared, Scenario, compare
from waypost.simulation.playing import play
from waypost.simulation.reading import cases_of, read_suite, suite_files
from waypost.simulation.servers import servers
from waypost.simulation.timeline import tell

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

_FAILED = 1
_MARKS = {"same": " ", "missing": "[red]-[/]", "unexpected": "[green]+[/]", "other_time": "[yellow]≠[/]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a scenario."""

    file: Path
    scenario: str
    seconds: float
    compared: tuple[Compared, ...]

    @property
    def passed(self) -> bool:
        """Whether all came as it was expected."""
        return all(one.verdict == "same" for one in self.compared)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "file": str(self.file),
            "scenario": self.scenario,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "compared": [one.as_json() for one in self.compared],
        }


@app.command()
def test(
    place: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Where *.test.yaml are.")],
    only: Annotated[str | None, typer.Option(metavar="TEXT", help="Scenarios with this in their names.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Simulate every scenario of the *.test.yaml files in a folder and below, and compare what comes of it.

    Exit code 0 where all is as expected, 1 where something is not or a document has problems, 2 for a file of
    scenarios that cannot be.

    [dim]waypost journeys test journeys/[/dim]
    """
    with refusing("test"):
        found = [
            (file, scenario, case)
            for file in suite_files(place)
            for scenario, case in cases_of(file, read_suite(file))
            if only is None or only.lower() in scenario.name.lower()
        ]
        results = run(_run(found, Console(quiet=as_json, highlight=False, soft_wrap=True)))
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in results], indent=2, ensure_ascii=False))
    raise typer.Exit(0 if all(one.passed for one in results) else _FAILED)


async def _run(found: list[tuple[Path, Scenario, Case]], console: Console) -> list[Result]:
    begun, results = time.monotonic(), []
    if found:
        async for result in _results(found):
            _tell(result, console)
            results.append(result)
    failed = sum(not one.passed for one in results)
    took = f"{time.monotonic() - begun:.1f} s"
    console.print(
        f"{len(results)} scenarios, {failed} failed, {took}" if found else "No scenario has this in its name."
    )
    return results


async def _results(found: Iterable[tuple[Path, Scenario, Case]]) -> AsyncIterator[Result]:
    async with servers() as running:
        for file, scenario, case in found:
            begun = time.monotonic()
            compared = compare(tell(await play(running, case)), scenario.expect)
            seconds = time.monotonic() - begun
            yield Result(file=file, scenario=scenario.name, seconds=seconds, compared=tuple(compared))


def _tell(result: Result, console: Console) -> None:
    mark = "[green]✓[/]" if result.passed else "[red]✗[/]"
    console.print(f"{mark} {escape(result.file.name)}: {escape(result.scenario)} [dim]{result.seconds:.2f} s[/]")
    if not result.passed:
        for one in result.compared:
            console.print(f"    {_MARKS[one.verdict]} {escape(one.text)}")
