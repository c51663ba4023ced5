"""`waypost contacts`: a file of people becomes contacts."""

from __future__ import annotations

import csv
import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from waypost.cli.import_client import ImportClient, ImportRefusedError, ImportSilentError, LocalFile, refused_rows
from waypost.imports.options import Delimiter, IdFrom, ImportOptions
from waypost.stack import running

app = typer.Typer(rich_markup_mode="rich", add_completion=False, no_args_is_help=True)

_TIMEOUT = httpx.Timeout(10.0, read=90.0, write=90.0)
_COUNTS = ("created", "updated", "repeated", "refused", "blank")


@app.callback()
def contacts() -> None:
    """Contacts."""


@app.command(name="import")
def import_command(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV; its first row names the columns.")],
    mapping: Annotated[list[str] | None, typer.Option("--map", help="COLUMN=FIELD, - to leave it out.")] = None,
    id_from: Annotated[IdFrom, typer.Option("--id", help="What tells contacts apart.")] = IdFrom.EXTERNAL_ID,
    list_key: Annotated[str | None, typer.Option("--list", help="The list that they join; it must be there.")] = None,
    types: Annotated[bool, typer.Option("--types", help="Numbers and booleans become what they are.")] = False,
    delimiter: Annotated[Delimiter, typer.Option(help="Between cells.")] = Delimiter.AUTO,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge and count every row, change nothing.")] = False,
    label: Annotated[str | None, typer.Option(help="Another label makes the same file another import.")] = None,
    errors: Annotated[Path | None, typer.Option(help="Write refused rows and why to this CSV file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write counts, time and memory to this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON and nothing else.")] = False,
    url: Annotated[str | None, typer.Option(envvar="WAYPOST_URL", help="Where the API is.")] = None,
    key: Annotated[str | None, typer.Option(envvar="WAYPOST_KEY", help="A tenant's key: contacts:write.")] = None,
    data: Annotated[Path, typer.Option(envvar="WAYPOST_DATA", help="Without these: this stack's.")] = Path(".waypost"),
) -> None:
    """Import a CSV file. Killed or refused half-way, the same command again goes on where it stands.

    Rows that are wrong keep no other out; exit code 0 where the file is in, whatever was refused. See docs/imports.md.

    [dim]waypost contacts import people.csv --dry-run --errors refused.csv[/dim]

    [dim]waypost contacts import crm.csv --id email --map "E-Mail=email" --map "Notiz=-" --list newsletter[/dim]
    """
    options = ImportOptions(
        columns=tuple(_pair(one) for one in mapping or ()),
        id_from=id_from,
        delimiter=delimiter,
        types=types,
        list_key=list_key,
        dry_run=dry_run,
        label=label,
    )
    where, secret = _door(url, key, data)
    try:
        found = _import(where, secret, LocalFile.of(file), options, errors=errors, quiet=as_json)
    except (ImportRefusedError, ImportSilentError, OSError, httpx.TransportError) as error:
        typer.echo(f"waypost contacts import: {error}", err=True)
        raise typer.Exit(1) from None
    if report is not None:
        report.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _pair(text: str) -> tuple[str, str]:
    column, found, field = text.rpartition("=")
    if not (found and column.strip() and field.strip()):
        raise typer.BadParameter("a mapping is COLUMN=FIELD", param_hint="--map")
    return column.strip(), field.strip()


def _door(url: str | None, key: str | None, data: Path) -> tuple[str, str]:
    stack = None if url and key else running.find(data)
    url = url or (stack.urls["api"] if stack else None)
    key = key or (stack.demo_api_key if stack else None)
    if not url or not key:
        typer.echo("waypost contacts import: set WAYPOST_URL and WAYPOST_KEY, or run a stack (waypost dev).", err=True)
        raise typer.Exit(2)
    return url, key


def _import(
    url: str, key: str, file: LocalFile, options: ImportOptions, *, errors: Path | None, quiet: bool
) -> dict[str, Any]:
    began = time.monotonic()
    headers = {"authorization": f"Bearer {key}"}
    console = Console(quiet=quiet)
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False) as http:
        client = ImportClient(http, file, options)
        begun: list[int] = []
        with _Bar(console, file) as bar:

            def told(shown: Mapping[str, Any]) -> None:
                begun.append(shown["rows_read"])
                bar.show(shown)

            shown = client.run(told)
        if errors is not None:
            _write_errors(errors, client, file, options, shown)
    seconds = time.monotonic() - began
    # Those of this run: another one may have begun.
    figures = {"seconds": round(seconds, 2), "rows_this_run": shown["rows_read"] - begun[0], "peak_rss": peak_rss()}
    _tell(console, shown, figures, errors)
    return {**shown, **figures}


def _write_errors(
    path: Path, client: ImportClient, file: LocalFile, options: ImportOptions, shown: Mapping[str, Any]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        written = csv.writer(out)
        written.writerow(("row_number", "field", "message", "row"))
        written.writerows(refused_rows(file, options, client.errors(shown["id"])))


def _tell(console: Console, shown: Mapping[str, Any], figures: Mapping[str, Any], errors: Path | None) -> None:
    counted = ", ".join(f"{shown[f'rows_{name}']:,} {name}" for name in _COUNTS if shown[f"rows_{name}"])
    rate = figures["rows_this_run"] / max(figures["seconds"], 0.001)
    done = "would be (dry run)" if shown["dry_run"] else "in"
    console.print(f"{shown['rows_read']:,} rows {done}: {counted or 'none'} ({rate:,.0f} rows/s)", highlight=False)
    if shown["rows_refused"]:
        where = f"see {errors}" if errors else f"--errors FILE says why, or GET /v1/imports/{shown['id']}/errors"
        console.print(f"[yellow]{shown['rows_refused']:,} rows were refused:[/] {where}", highlight=False)


class _Bar:
    """Bytes of the file that are in, and rows."""

    def __init__(self, console: Console, file: LocalFile) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(file.path.name[:40], total=file.size, rows=0)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, shown: Mapping[str, Any]) -> None:
        """How far it is."""
        self._progress.update(self._task, completed=shown["byte_offset"], rows=shown["rows_read"])


def peak_rss() -> int:
    """The most memory this process had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage may tell the peak of whoever started us
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
