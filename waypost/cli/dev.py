"""`waypost dev`: the whole stack in one command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import typer
from rich.console import Console
from rich.markup import escape

from waypost.stack import demo_tenant, running
from waypost.stack.errors import StackError
from waypost.stack.layout import Stack, StackOptions, build, make_data_folder
from waypost.stack.lock import StackLock
from waypost.stack.logs import Logs
from waypost.stack.running import RunningStack
from waypost.stack.supervisor import EventKind, StackEvent, Supervisor

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

_HELP_PORT = "Port of {}."


@app.command()
def dev(
    data: Path = typer.Option(
        Path(".waypost"), envvar="WAYPOST_DATA", help="Folder for data, logs, ports and secrets."
    ),
    api_port: int = typer.Option(0, help=_HELP_PORT.format("the API"), show_default=False),
    ingest_port: int = typer.Option(0, help=_HELP_PORT.format("ingest"), show_default=False),
    simulators_port: int = typer.Option(0, help=_HELP_PORT.format("the simulators and the inbox"), show_default=False),
    temporal_port: int = typer.Option(0, help=_HELP_PORT.format("Temporal"), show_default=False),
    temporal_ui_port: int = typer.Option(0, help=_HELP_PORT.format("Temporal's Web UI"), show_default=False),
    postgres_port: int = typer.Option(0, help=_HELP_PORT.format("PostgreSQL"), show_default=False),
    workers: bool = typer.Option(True, help="Start a worker for each lane; without, start worker.py yourself."),
    demo: bool | None = typer.Option(
        None,
        "--demo/--no-demo",
        help="Make a demo tenant with accounts, senders and a key.",
        show_default="yes, but not in a database of yours",
    ),
    unsafe_fast: bool = typer.Option(False, help="Let PostgreSQL lose data in a power cut, to be faster."),
    as_json: bool = typer.Option(False, "--json", help="Print a JSON object a line, for programs."),
) -> None:
    """Start PostgreSQL, Temporal, the simulators, the API, ingest and a worker a lane; Ctrl-C stops them in order.

    Everything stays on this machine and below the data folder; a second start finds it again.
    Ports that are not given are chosen free, kept for the next start, and written to ports.json.

    [dim]waypost dev[/dim]                                         ports of its own choice

    [dim]waypost dev --api-port 8000 --temporal-ui-port 8233[/dim]   ports of yours

    [dim]waypost dev --data /tmp/second[/dim]                        one more, beside the first

    [dim]WAYPOST_DATABASE_URL=… TEMPORAL_ADDRESS=… waypost dev[/dim]  your servers instead of the embedded ones
    """
    ports = {
        "api": api_port,
        "ingest": ingest_port,
        "simulators": simulators_port,
        "temporal": temporal_port,
        "temporal-ui": temporal_ui_port,
        "postgres": postgres_port,
    }
    view: View = SteadyView(JsonView() if as_json else TerminalView(Console()))
    try:
        folder = make_data_folder(data)
        options = StackOptions(data=folder, ports=ports, workers=workers, unsafe_fast=unsafe_fast)
        _locked(options, view, demo=not os.environ.get("WAYPOST_DATABASE_URL") if demo is None else demo)
    except StackError as error:
        typer.echo(f"waypost dev: {error}", err=True)
        raise typer.Exit(1) from None


_MARKS = {
    EventKind.STARTING: "[dim]…[/]",
    EventKind.READY: "[green]✓[/]",
    EventKind.CRASHED: "[red]✗[/]",
    EventKind.STOPPING: "[dim]…[/]",
    EventKind.STOPPED: "[green]✓[/]",
    EventKind.KILLED: "[yellow]![/]",
}


class View(Protocol):
    """How progress is shown."""

    def event(self, event: StackEvent) -> None: ...

    def stack(self, stack: RunningStack, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...


class SteadyView:
    """Another view; that nobody reads any more (a closed pipe) is no reason to stop out of order."""

    def __init__(self, view: View) -> None:
        self._view = view

    def event(self, event: StackEvent) -> None:
        with suppress(BrokenPipeError):
            self._view.event(event)

    def stack(self, stack: RunningStack, seconds: float) -> None:
        with suppress(BrokenPipeError):
            self._view.stack(stack, seconds)

    def note(self, text: str) -> None:
        with suppress(BrokenPipeError):
            self._view.note(text)


class JsonView:
    """A JSON object a line."""

    def event(self, event: StackEvent) -> None:
        self._print({"event": event.kind, "name": event.name, "seconds": event.seconds, "detail": event.detail})

    def stack(self, stack: RunningStack, seconds: float) -> None:
        addresses = {"urls": dict(stack.urls), "ports": dict(stack.ports)}
        self._print({"event": "stack", "seconds": seconds, **addresses, "demo_api_key": stack.demo_api_key})

    def note(self, text: str) -> None:
        self._print({"event": "note", "detail": text})

    def _print(self, content: Mapping[str, object]) -> None:
        sys.stdout.write(json.dumps(content) + "\n")
        sys.stdout.flush()


class TerminalView:
    """Lines for a person."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def event(self, event: StackEvent) -> None:
        if event.kind is EventKind.STARTING:
            return
        took = f"[dim]{event.seconds:.1f} s[/]" if event.seconds else ""
        detail = f"{event.kind} {event.detail}" if event.kind is not EventKind.CRASHED else event.detail
        self._console.print(f"{_MARKS[event.kind]} {event.name:<19} {detail.strip()} {took}", highlight=False)

    def stack(self, stack: RunningStack, seconds: float) -> None:
        self._console.print(f"\n[bold green]Ready[/] after {seconds:.1f} s\n", highlight=False)
        for label, value in _addresses(stack):
            # Soft: a key that the terminal itself wraps is still copied as one line.
            self._console.print(f"[bold]{label:<27}[/]{escape(value)}", highlight=False, soft_wrap=True)
        self._console.print("\nCtrl-C stops everything in order; the data stays.\n", style="dim")

    def note(self, text: str) -> None:
        self._console.print(text, style="dim")


def _addresses(stack: RunningStack) -> list[tuple[str, str]]:
    urls = stack.urls
    rows = [
        ("API (docs/api.md)", urls["api"]),
        ("API as an OpenAPI document", urls["docs"]),
        ("Inbox of the simulators", urls["inbox"]),
        ("Temporal Web UI", urls.get("temporal_ui", "")),
        ("Metrics", urls["metrics_api"]),
        ("Webhooks (ingest)", urls["ingest"]),
        ("PostgreSQL", urls["database"]),
        ("Temporal", urls["temporal"]),
        ("Demo tenant's API key", stack.demo_api_key or ""),
        ("Admin key and settings", f". {stack.data / 'env'}"),
        ("Logs", str(stack.data / "logs")),
    ]
    return [row for row in rows if row[1]]


def _locked(options: StackOptions, view: View, *, demo: bool) -> None:
    began = time.monotonic()
    lock = StackLock.acquire(options.data)
    try:
        running.withdraw(options.data)
        stack = build(options, os.environ)
        asyncio.run(_supervise(stack, view, lock, demo=demo, began=began))
    finally:
        running.withdraw(options.data)
        lock.release()


async def _supervise(stack: Stack, view: View, lock: StackLock, *, demo: bool, began: float) -> None:
    logs = Logs(stack.options.data / "logs")
    supervisor = Supervisor(stack.plan, logs=logs, report=view.event, inherited=(lock.fileno(),))
    stop = _stop_on_signal(supervisor, view)
    try:
        if await _started(supervisor, stop):
            key = await _demo_key(stack, view) if demo else None
            view.stack(running.announce(stack, pid=os.getpid(), demo_api_key=key), time.monotonic() - began)
            await supervisor.run_until(stop)
    finally:
        running.withdraw(stack.options.data)
        await supervisor.stop()


async def _started(supervisor: Supervisor, stop: asyncio.Event) -> bool:
    """False when it was told to stop before all was ready."""
    start, stopped = asyncio.ensure_future(supervisor.start()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((start, stopped), return_when="FIRST_COMPLETED")
    stopped.cancel()
    if not start.done():
        start.cancel()
        await asyncio.wait((start,))
        return False
    start.result()
    return True


async def _demo_key(stack: Stack, view: View) -> str | None:
    try:
        return await asyncio.to_thread(demo_tenant.ensure, stack)
    except demo_tenant.DemoTenantError as error:
        view.note(str(error))
        return None


def _stop_on_signal(supervisor: Supervisor, view: View) -> asyncio.Event:
    """The first Ctrl-C, SIGTERM or SIGHUP stops in order; the second does not wait."""
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            supervisor.hurry()
        else:
            stop.set()
            view.note("Stopping in order; once more Ctrl-C does not wait.")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told)
    return stop
