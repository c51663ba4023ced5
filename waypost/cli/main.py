"""The `waypost` command. A command's module is imported when the command runs, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import importlib.util
import signal
from dataclasses import dataclass
from types import FrameType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_HELP = """
Send e-mail and SMS as durable work: nothing accepted is lost or sent twice.

[bold]Begin here[/bold]

  waypost dev                      the whole stack on this machine, and its URLs
  waypost demo                     the main job from end to end, and its proof
  waypost dev --data /tmp/second   a second stack beside the first

[bold]In production[/bold] every process is a command of its own: waypost migrate,
waypost api, waypost ingest, python worker.py --lanes fast (and bulk).
Settings come from the environment: waypost config lists them.
"""

_EPILOG = "waypost COMMAND --help shows a command's options and examples."


@dataclass(frozen=True)
class Entry:
    """A command: where its typer application is, and what the list says of it."""

    name: str
    target: str
    panel: str
    summary: str


_STACK, _PROCESSES, _WORK, _PROOF = "The stack", "Processes", "At work", "Proof"

COMMANDS: tuple[Entry, ...] = (
    Entry("dev", "waypost.cli.dev:app", _STACK, "Start everything on this machine; Ctrl-C stops it in order"),
    Entry("demo", "waypost.cli.demo:app", _STACK, "Do the main job on a stack and prove the outcome"),
    Entry("config", "waypost.cli.config:app", _STACK, "List every setting, its value and where it comes from"),
    Entry("version", "waypost.cli.version:app", _STACK, "Print the versions of Waypost and what it stands on"),
    Entry("migrate", "waypost.cli.serve:migrate_app", _PROCESSES, "Bring the database to the newest migration"),
    Entry("api", "waypost.cli.serve:api_app", _PROCESSES, "Serve the API"),
    Entry("ingest", "waypost.cli.serve:ingest_app", _PROCESSES, "Take in what providers report"),
    Entry("simulators", "waypost.cli.serve:simulators_app", _PROCESSES, "Serve the simulated SES, SNS, SQS and Twilio"),
    Entry("accounts", "waypost.cli.accounts:app", _WORK, "Provider accounts: check a feed and name what is missing"),
    Entry("contacts", "waypost.cli.contacts:app", _WORK, "Contacts: import a CSV file, resumable"),
    Entry("campaigns", "waypost.cli.campaigns:app", _WORK, "Campaigns: schedule, watch, pause, resume, cancel"),
    Entry("ledger", "waypost.cli.ledger:app", _WORK, "The send ledger: audit it against a provider's log"),
    Entry("journeys", "waypost.cli.journeys:app", _WORK, "Journeys: validate, draw and compare their documents"),
    Entry("drill", "waypost.cli.drill:app", _PROOF, "Re-enact an incident and check what comes out"),
    Entry("bench", "waypost.cli.bench:app", _PROOF, "Measure throughput, latency and footprint"),
)


class LazyCommand(TyperCommand):
    """Stands in the list for a command, and turns into it when it runs."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.summary, rich_help_panel=entry.panel)
        self._target = entry.target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        module, _, attribute = self._target.partition(":")
        application: typer.Typer = getattr(importlib.import_module(module), attribute)
        return typer.main.get_command(application).make_context(info_name, args, parent=parent, **extra)


def build() -> TyperGroup:
    """The command group, of the commands that are installed."""
    commands = [LazyCommand(entry) for entry in COMMANDS if _exists(entry.target)]
    return TyperGroup(
        name="waypost",
        commands=commands,
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def main() -> None:
    """The console script. SIGTERM ends it as Ctrl-C does: what it has started for itself is stopped."""
    signal.signal(signal.SIGTERM, _end)
    build()()


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _exists(target: str) -> bool:
    return importlib.util.find_spec(target.partition(":")[0]) is not None


if __name__ == "__main__":
    main()
