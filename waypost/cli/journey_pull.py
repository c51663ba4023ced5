"""`waypost journeys pull`: the server's documents as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.journey_client import STACK, Data, Key, Url, client
from waypost.cli.tenant_client import Shown

app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def pull(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="Without any: all.", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where the files are written.")] = Path("journeys"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    url: Url = None,
    key: Key = None,
    data: Data = STACK,
) -> None:
    """Write drafts as KEY.yaml, as they were put (KEY.json for one that is JSON). Who says the same is not touched.

    [dim]waypost journeys pull --dir journeys[/dim]
    """
    done = []
    with client("pull", url, key, data) as api:
        for name in keys or [one["key"] for one in api.all()]:
            found = api.get(name)
            if found is None:
                typer.echo(f"waypost journeys pull: the server has no journey {name}.", err=True)
                raise typer.Exit(1)
            done.append(_write(folder, found))
    for one in [] if as_json else done:
        typer.echo(f"{one['file']}: {one['what']}")
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))


def _write(folder: Path, found: Shown) -> dict[str, str]:
    draft = str(found["draft"])
    file = folder / f"{found['key']}.{'json' if draft.lstrip().startswith('{') else 'yaml'}"
    try:
        before = file.read_text(encoding="utf-8-sig") if file.exists() else None
        if before != draft:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(draft, encoding="utf-8")
    except OSError as error:
        typer.echo(f"waypost journeys pull: {file} cannot be written: {error.strerror}.", err=True)
        raise typer.Exit(1) from None
    what = "the same" if before == draft else "new" if before is None else "changed"
    return {"file": str(file), "journey": str(found["key"]), "what": what}
