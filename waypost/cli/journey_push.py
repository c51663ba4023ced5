"""`waypost journeys push`: documents become drafts of the server, and are published where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli.journey_client import STACK, Data, JourneyClient, Key, Url, client
from waypost.cli.journey_differences import between, show
from waypost.cli.journeys import SCENARIOS, sound_file
from waypost.journeys.document import Journey

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def push(
    places: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Documents, or folders of them.")],
    publish: Annotated[bool, typer.Option("--publish", help="Publish each: people enter it from then on.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what would be different.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    url: Url = None,
    key: Key = None,
    data: Data = STACK,
) -> None:
    """Put documents to the server. All are checked before the first is put; what is there already is put once.

    Files of scenarios (*.test.yaml) are passed over.

    [dim]waypost journeys push journeys/ --dry-run[/dim]

    [dim]waypost journeys push journeys/onboarding.yaml --publish[/dim]
    """
    documents = [(file, sound_file(file)) for file in _files(places)]
    if not documents:
        raise typer.BadParameter("There is no journey in it.", param_hint="FILE|DIR")
    done = []
    with client("push", url, key, data) as api:
        for file, journey in documents:
            done.append(_push(api, file, journey, publish=publish, dry_run=dry_run, quiet=as_json))
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))


def _files(places: list[Path]) -> list[Path]:
    found: list[Path] = []
    for place in places:
        inside = sorted(file for kind in ("*.yaml", "*.yml", "*.json") for file in place.rglob(kind))
        found += [file for file in inside if not file.name.endswith(SCENARIOS)] if place.is_dir() else [place]
    return found


def _push(
    api: JourneyClient, file: Path, journey: Journey, *, publish: bool, dry_run: bool, quiet: bool
) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8-sig")
    there = api.get(journey.journey)
    found = between(there["draft"], journey) if there is not None else ()
    what = "new" if there is None else "changed" if found or there["draft"] != text else "same"
    done: dict[str, Any] = {"file": str(file), "journey": journey.journey, "draft": what, "published": None}
    done["differences"] = [one.as_json() for one in found]
    if not dry_run:
        if what != "same":
            api.put(journey.journey, text)
        if publish:
            done["published"] = dict(api.publish(journey.journey))
    if not quiet:
        typer.echo(f"{journey.journey}: {_said(done, dry_run=dry_run)}")
        if dry_run and found:
            show(found)
    return done


def _said(done: dict[str, Any], *, dry_run: bool) -> str:
    draft = {"new": "a new draft", "changed": "another draft", "same": "the draft is the same"}[done["draft"]]
    if dry_run:
        return f"{draft} (nothing was changed)"
    published = done["published"]
    if published is None:
        return draft
    draining = ", entered once the version before is empty" if published["draining"] else ""
    word = "published" if published["new"] else "published before"
    return f"{draft}, {word} as version {published['version']}{draining}"
