"""`waypost demo`: the main job from end to end, and the proof that nothing was lost or sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from waypost.demo.errors import DemoError
from waypost.demo.people import MOST, Person, people, read_csv, write_csv
from waypost.demo.performing import Performance, perform
from waypost.demo.proof_table import proof_table
from waypost.demo.script import Step
from waypost.demo.walk_table import walk_table
from waypost.stack import running
from waypost.stack.errors import StackError
from waypost.stack.layout import make_data_folder
from waypost.stack.running import RunningStack

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

_PROCESSES = 9
"""What a stack starts, for the bar."""


@app.command()
def demo(
    contacts: int = typer.Option(200, min=1, max=MOST, help="How many people the shop writes to."),
    data: Path = typer.Option(Path(".waypost"), envvar="WAYPOST_DATA", help="The stack's data folder."),
    report: Path | None = typer.Option(None, help="Write figures and checks to this JSON file.", show_default=False),
    keep: bool = typer.Option(False, "--keep", help="Leave the stack open at the end, until Ctrl-C."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON and nothing else."),
) -> None:
    """A small shop writes to its customers, the simulators answer, and what came of it is counted on both sides.

    Uses the stack that runs on the data folder, or starts one for the time being. Contacts come from a CSV file; some
    of their addresses bounce, complain, stay silent or say STOP. Some walk a journey whose waits are seconds. Exit code
    0 only where nothing was lost or sent twice, every message came to the end that its address foretells, and everybody
    left the journey by the way that what they did leads to.

    [dim]waypost demo[/dim]                               200 people, about three quarters of a minute

    [dim]waypost demo --contacts 5000 --report demo.json[/dim]

    [dim]waypost demo --keep[/dim]                        then look at the inbox and the Temporal Web UI
    """
    console = Console(quiet=as_json)
    try:
        _check_writable(report)
        with _stopping_in_order():
            code = _run(contacts, data, report, keep=keep, as_json=as_json, console=console)
    except (StackError, DemoError) as error:
        typer.echo(f"waypost demo: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("waypost demo: stopped before its end.", err=True)
        raise typer.Exit(130) from None
    raise typer.Exit(code)


def _run(contacts: int, data: Path, report: Path | None, *, keep: bool, as_json: bool, console: Console) -> int:
    folder = make_data_folder(data)
    persons = _persons(folder, contacts)
    with contextlib.ExitStack() as opened:
        with Bars(console) as bars:
            stack, is_ours = _open(opened, folder, bars)
            performance = asyncio.run(perform(stack, persons, bars))
        found = performance.report
        if report is not None:
            found.write(report)
        if as_json:
            typer.echo(json.dumps(found.as_json(), indent=2, default=str))
        _show(performance, stack, console)
        if is_ours:
            _end(console, data, keep=keep)
    return 0 if found.passed else 1


def _check_writable(report: Path | None) -> None:
    """Now, and not after all the work. Raises `DemoError`."""
    if report is None:
        return
    try:
        report.touch()
    except OSError as error:
        raise DemoError(
            f"The report {report} can't be written ({error.strerror}): give another by --report."
        ) from error


@contextlib.contextmanager
def _stopping_in_order() -> Iterator[None]:
    """SIGTERM as Ctrl-C: a stack that was started for the demo must not stay behind."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell that starts us in the background has it ignored.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bars:
    """A line a scene, with a bar."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def scene(self, title: str, total: int) -> Step:
        """The next line."""
        return Bar(self._progress, self._progress.add_task(f"{title:<35}", total=total))


class Bar:
    """One of them."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, by: int = 1) -> None:
        """So much more of it is done."""
        self._progress.advance(self._task, by)

    def reach(self, done: int) -> None:
        """So much of it is done."""
        self._progress.update(self._task, completed=done)


def _persons(folder: Path, contacts: int) -> Sequence[Person]:
    file = folder / "demo" / "contacts.csv"
    write_csv(file, people(contacts))
    return read_csv(file)


def _open(opened: contextlib.ExitStack, folder: Path, bars: Bars) -> tuple[RunningStack, bool]:
    """The stack, and whether it is there for the demo alone."""
    found = running.find(folder)
    if found is not None:
        return found, False
    step = bars.scene("The stack starts", _PROCESSES)

    def told(event: Mapping[str, object]) -> None:
        if event.get("event") == "ready":
            step.advance()
        elif event.get("event") == "stack":
            step.reach(_PROCESSES)  # some of them may be servers of the user's

    return opened.enter_context(running.ensured(folder, "--demo", told=told)), True


def _show(performance: Performance, stack: RunningStack, console: Console) -> None:
    console.print()
    console.print(proof_table(performance.proof))
    console.print()
    picture = _write_picture(performance, stack)
    console.print(performance.walk.mermaid, highlight=False, markup=False, soft_wrap=True)
    console.print(walk_table(performance.walk, performance.walked))
    console.print()
    failed = [check for check in performance.report.checks if not check.ok]
    for check in failed:
        console.print(f"[red]✗ {check.name}: {check.value}, must be {check.bound}[/]", highlight=False)
    if failed:
        console.print(f"What went on is in {stack.data / 'logs'}.\n", highlight=False, soft_wrap=True)
    for label, url in (*_links(performance, stack), ("The journey's picture", str(picture))):
        console.print(f"[bold]{label:<28}[/]{escape(url)}", highlight=False, soft_wrap=True)
    console.print()


def _write_picture(performance: Performance, stack: RunningStack) -> Path:
    """The journey while it was fullest, with how many were where."""
    file = stack.data / "demo" / "first-days.svg"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(performance.walk.svg, encoding="utf-8")
    return file


def _links(performance: Performance, stack: RunningStack) -> Iterator[tuple[str, str]]:
    yield "Inbox", stack.urls["inbox"]
    if "temporal_ui" in stack.urls:
        yield "Temporal Web UI", stack.urls["temporal_ui"]
    if performance.execution is not None:
        yield "  a message with a fallback", performance.execution
    if performance.campaign_execution is not None:
        yield "  the campaign", performance.campaign_execution
    if performance.walk.execution is not None:
        yield "  somebody in the journey", performance.walk.execution
    yield "The messages, by API", f"{stack.urls['api']}/v1/messages?tag={performance.run}"
    yield "The campaign's recipients", f"{stack.urls['api']}/v1/campaigns/{performance.run}/recipients"
    if stack.demo_api_key is not None:
        yield "  with the tenant's key", stack.demo_api_key


def _end(console: Console, data: Path, *, keep: bool) -> None:
    if not keep:
        again, more, dev = _commands(data)
        console.print(
            f"The stack stops now and its data stays. To look at it: [bold]{again}{more}[/], or\n"
            f"[bold]{dev}[/] in one terminal and [bold]{again}[/] in another.",
            highlight=False,
            soft_wrap=True,
        )
        return
    console.print("The stack stays open; Ctrl-C stops it.", style="bold")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _commands(data: Path) -> tuple[str, str, str]:
    """How whoever called us calls us again, with what to keep the stack, and how to start it alone."""
    if "MAKELEVEL" in os.environ and data == Path(".waypost"):
        return "make demo", " ARGS=--keep", "make dev"
    where = "" if data == Path(".waypost") else f" --data {data}"
    return f"waypost demo{where}", " --keep", f"waypost dev{where}"
