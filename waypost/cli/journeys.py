"""`waypost journeys`: validate and draw journeys, print their JSON Schema; and the commands that need servers.

Those are modules of their own, imported when they run.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from waypost.cli.main import Entry, LazyCommand
from waypost.journeys.document import Journey, journey_schema
from waypost.journeys.mermaid import to_mermaid
from waypost.journeys.plan import compile_plan, write_plan
from waypost.journeys.problems import Problem
from waypost.journeys.source import MAX_CHARACTERS
from waypost.journeys.svg import to_svg
from waypost.journeys.validation import Checked, check_journey

_ALONE, _SERVER = "Without a server", "With the server"

LATER: tuple[Entry, ...] = (
    Entry("simulate", "waypost.cli.journey_simulate:app", _ALONE, "Walk a journey on a simulated clock"),
    Entry("test", "waypost.cli.journey_test:app", _ALONE, "Hold journeys against the scenarios beside them"),
    Entry("diff", "waypost.cli.journey_diff:app", _ALONE, "Compare two documents, or one with the server's"),
    Entry("push", "waypost.cli.journey_push:app", _SERVER, "Put documents to the server, and publish them"),
    Entry("pull", "waypost.cli.journey_pull:app", _SERVER, "Write the server's documents to files"),
)


class _Group(TyperGroup):
    """The commands of this module, and those that are imported when they run."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for entry in LATER:
            self.add_command(LazyCommand(entry))


app = typer.Typer(rich_markup_mode="rich", add_completion=False, no_args_is_help=True, cls=_Group)

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A journey in YAML or JSON.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
INVALID = 1
SCENARIOS = ".test.yaml"
"""Files that end so are no journeys: waypost.simulation.reading has them."""


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

    Exit code 0 where nothing is, 1 where something is. Templates, lists and segments are not looked up. Files of
    scenarios (*.test.yaml) are passed over.

    [dim]waypost journeys validate journeys/*.yaml[/dim]
    """
    checked = {file: check_file(file) for file in files if not file.name.endswith(SCENARIOS)}
    if as_json:
        typer.echo(json.dumps([_as_json(file, one) for file, one in checked.items()], indent=2, ensure_ascii=False))
    else:
        for file, one in checked.items():
            tell_checked(file, one)
    raise typer.Exit(INVALID if any(one.problems for one in checked.values()) else 0)


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
    journey, numbers = sound_file(file), _counts(counts)
    typer.echo(to_mermaid(journey, numbers) if picture is Picture.MERMAID else to_svg(journey, numbers), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of journeys, for editors: they complete and check what is written."""
    typer.echo(json.dumps(journey_schema(), indent=2, ensure_ascii=False))


def check_file(file: Path) -> Checked:
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


def sound_file(file: Path) -> Journey:
    """A file's journey; says what is wrong and exits where something is."""
    checked = check_file(file)
    if checked.journey is None:
        tell_checked(file, checked, error=True)
        raise typer.Exit(INVALID)
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


def tell_checked(file: Path, checked: Checked, *, error: bool = False) -> None:
    """Say what came of checking a file."""
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
