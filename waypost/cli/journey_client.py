"""A tenant's journeys over HTTP: listed, read, put and published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from waypost.cli.tenant_client import ClientError, RefusedError, Shown, TenantClient, door

_TIMEOUT = httpx.Timeout(10.0, read=60.0)

Url = Annotated[str | None, typer.Option(envvar="WAYPOST_URL", help="Where the API is.")]
Key = Annotated[str | None, typer.Option(envvar="WAYPOST_KEY", help="A tenant's key: journeys:read, or :write.")]
Data = Annotated[Path, typer.Option(envvar="WAYPOST_DATA", help="Without these: this stack's.")]
STACK = Path(".waypost")
_FAILED = 1


class JourneyClient(TenantClient):
    """A tenant's key at work. Every method raises `ClientError` and httpx's errors."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key, timeout=_TIMEOUT)

    def all(self) -> Iterator[Shown]:
        """Every journey of the key's mode, in the order they were made."""
        return self._pages("/v1/journeys")

    def get(self, key: str) -> Shown | None:
        """A journey with its draft; None: there is none of that key."""
        try:
            return self._ask("GET", f"/v1/journeys/{key}")
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def put(self, key: str, text: str) -> Shown:
        """Make it, or replace its draft."""
        headers = {"content-type": "application/yaml"}
        return self._ask("PUT", f"/v1/journeys/{key}", content=text.encode(), headers=headers)

    def publish(self, key: str) -> Shown:
        """Make the draft the version that people enter; asked again while people of the one before are to be moved."""
        published = self._ask("POST", f"/v1/journeys/{key}/publish")
        more = published["more"]
        while more:
            more = self._ask("POST", f"/v1/journeys/{key}/publish")["more"]
        return published


@contextlib.contextmanager
def client(command: str, url: str | None, key: str | None, data: Path) -> Iterator[JourneyClient]:
    """A client; what goes wrong with it is said, each problem of a document in a line, with exit code 1."""
    try:
        with JourneyClient(*door(url, key, data)) as opened:
            yield opened
    except (ClientError, httpx.HTTPError) as error:
        text = f"the API did not answer ({type(error).__name__})." if isinstance(error, httpx.HTTPError) else error
        typer.echo(f"waypost journeys {command}: {text}", err=True)
        for one in getattr(error, "errors", ()):
            typer.echo(f"  {_problem(one)}", err=True)
        raise typer.Exit(_FAILED) from None


def _problem(one: Mapping[str, Any]) -> str:
    line = f"line {one['line']}: " if one.get("line") else ""
    step = f"{one['step']}: " if one.get("step") else ""
    hint = f" ({one['suggestion']})" if one.get("suggestion") else ""
    return f"{line}{step}{one.get('message')}{hint}"
