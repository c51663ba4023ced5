"""`waypost config`: every setting, with its value, its source and what it is for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import typer
from pydantic import AliasChoices, AliasPath, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from waypost.settings import GROUPS

app = typer.Typer(rich_markup_mode="rich", add_completion=False)

_MASK = "********"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of the list; `source` is environment, default or missing."""

    name: str
    value: str | None
    source: str
    group: str
    description: str


@app.command()
def config(
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
) -> None:
    """List every setting: its name, value, where the value comes from, and what it is for. Secrets are masked.

    [dim]waypost config[/dim]                                  what this shell would run with

    [dim]waypost config --json | jq '.[] | select(.source=="missing")'[/dim]   what is still to be set
    """
    settings = list(list_settings())
    if as_json:
        typer.echo(json.dumps([asdict(setting) for setting in settings], indent=2))
    else:
        Console().print(_table(settings))


def list_settings() -> Iterator[Setting]:
    """All settings of all groups, in their order."""
    for group in GROUPS:
        for name, field in group.model_fields.items():
            yield _setting(group, name, field)


def _setting(group: type[BaseSettings], name: str, field: FieldInfo) -> Setting:
    variable = _variable(group, name, field)
    given = os.environ.get(variable)
    secret = SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
    if given is not None:
        value, source = (_MASK if secret else given), "environment"
    elif field.is_required():
        value, source = None, "missing"
    else:
        value, source = (None if field.default is None else str(field.default)), "default"
    return Setting(
        name=variable,
        value=value,
        source=source,
        group=group.__name__.removesuffix("Settings").lower(),
        description=field.description or "",
    )


def _variable(group: type[BaseSettings], name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    if isinstance(alias, str):
        return alias
    if isinstance(alias, AliasChoices | AliasPath):
        return str(alias.convert_to_aliases()[0][0] if isinstance(alias, AliasChoices) else alias.path[0])
    return f"{group.model_config.get('env_prefix', '')}{name}".upper()


def _table(settings: list[Setting]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Setting", no_wrap=True)
    for heading in ("Value", "Source", "What it is for"):
        table.add_column(heading, overflow="fold")
    group = settings[0].group if settings else ""
    for setting in settings:
        if setting.group != group:
            table.add_section()
            group = setting.group
        colour = {"missing": "red", "environment": "green"}.get(setting.source, "dim")
        value = setting.value if setting.value is not None else "–"
        table.add_row(setting.name, value, f"[{colour}]{setting.source}[/]", setting.description)
    return table
