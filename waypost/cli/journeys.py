"""`waypost journeys`: validate, draw and compare journeys, and print their JSON Schema. All without a server."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from waypost.journeys.differences import Difference, differences
from waypost.journeys.document import Journey, journey_schema
from waypost.journeys.mermaid import to_mermaid
from waypost.journeys.plan import compile_plan, write_plan
from waypost.journeys.problems import Problem
from waypost.journeys.source import MAX_CHARACTERS
from waypost.journeys.svg import to_svg
from waypost.journeys.validation import Checked, check_journey

app = typer.Typer(rich_markup_mode="rich", add_completion=False, no_args_is_help=True)

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A journey in YAML or JSON.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_INVALID = 1
_DIFFERENT = 3


class Picture(StrEnum):
    """What a diagram is drawn as."""

    MERMAID = "mermaid"
    SVG = "svg"


@app.callback()
def journeys() -> None:
    """Journeys: a contact's path of sends, waits and branches, as a document. See docs/journeys.md."""


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Journeys in YAML or JSON.")],
    as_json: _Json = False,
) -> None:
    """Say everything that is wrong, with the step, the line and what may have been meant.

    Exit code 0 where nothing is, 1 where something is. Templates, lists and segments are not looked up.

    [dim]waypost journeys validate journeys/*.yaml[/dim]
    """
    checked = {file: _check(file) for file in files}
    if as_json:
        typer.echo(json.dumps([_as_json(file, one) for file, one in checked.items()], indent=2, ensure_ascii=False))
    else:
        for file, one in checked.items():
            _tell(file, one)
    raise typer.Exit(_INVALID if any(one.problems for one in checked.values()) else 0)


@app.command()
def diagram(
    file: _File,
    picture: Annotated[
        Picture, typer.Option("--format", help="mermaid for wikis, svg for a browser.")
    ] = Picture.MERMAID,
    counts: Annotated[str | None, typer.Option(help='How many are at each step: {"welcome": 12}.')] = None,
) -> None:
    """Draw a journey.

    [dim]waypost journeys diagram onboarding.yaml --format svg > onboarding.svg[/dim]
    """
    journey, numbers = _sound(file), _counts(counts)
    typer.echo(to_mermaid(journey, numbers) if picture is Picture.MERMAID else to_svg(journey, numbers), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of journeys, for editors: they complete and check what is written."""
    typer.echo(json.dumps(journey_schema(), indent=2, ensure_ascii=False))


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="The version before.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The version after.")],
    as_json: _Json = False,
) -> None:
    """Say what is different between two documents, step by step. Exit code 0 where nothing is, 3 where something is."""
    found = differences(_sound(before), _sound(after))
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], indent=2, ensure_ascii=False))
    else:
        _compare(found)
    raise typer.Exit(_DIFFERENT if found else 0)


def _check(file: Path) -> Checked:
    """What is wrong with a file; one that cannot be read has that as its problem."""
    try:
        with file.open(encoding="utf-8-sig") as opened:
            text = opened.read(MAX_CHARACTERS + 1)
    except UnicodeDecodeError:
        return Checked(journey=None, problems=(Problem(code="unreadable", message="This is no UTF-8 text."),))
    except OSError as error:
        said = f"It cannot be read: {error.strerror}."
        return Checked(journey=None, problems=(Problem(code="unreadable", message=said),))
    return check_journey(text)


def _sound(file: Path) -> Journey:
    checked = _check(file)
    if checked.journey is None:
        _tell(file, checked, error=True)
        raise typer.Exit(_INVALID)
    return checked.journey


def _counts(said: str | None) -> dict[str, int] | None:
    try:
        counts = json.loads(said) if said is not None else {}
    except ValueError:
        counts = None
    if not isinstance(counts, dict) or not all(type(count) is int for count in counts.values()):
        raise typer.BadParameter('Give JSON such as {"welcome": 12}.', param_hint="--counts")
    return counts


def _as_json(file: Path, checked: Checked) -> dict[str, object]:
    return {
        "file": str(file),
        "valid": checked.journey is not None,
        "journey": checked.journey.journey if checked.journey is not None else None,
        "steps": len(checked.journey.steps) if checked.journey is not None else None,
        "plan_bytes": len(write_plan(compile_plan(checked.journey))) if checked.journey is not None else None,
        "problems": [problem.as_json() for problem in checked.problems],
    }


def _tell(file: Path, checked: Checked, *, error: bool = False) -> None:
    console = Console(stderr=error, highlight=False, soft_wrap=True)
    if checked.journey is not None:
        size = len(write_plan(compile_plan(checked.journey)))
        steps = f"{len(checked.journey.steps)} steps, plan of {size:,} bytes"
        console.print(f"[green]✓[/] [bold]{escape(str(file))}[/]  {checked.journey.journey}: {steps}")
        return
    count = len(checked.problems)
    console.print(f"[red]✗[/] [bold]{escape(str(file))}[/]  {count} problem{'s' if count > 1 else ''}")
    for problem in checked.problems:
        place = f"line {problem.line}" if problem.line is not None else "file"
        step = f"[bold]{escape(problem.step)}[/]: " if problem.step is not None else ""
        hint = f" [dim]({escape(problem.suggestion)})[/]" if problem.suggestion else ""
        console.print(f"  {place:>9}  {step}{escape(problem.message)}{hint}")


def _compare(found: tuple[Difference, ...]) -> None:
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
