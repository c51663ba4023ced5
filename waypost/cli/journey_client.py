"""A tenant's journeys over HTTP: listed, read, put and published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from waypost.cli.campaign_client import CampaignsError, door

_TIMEOUT = httpx.Timeout(10.0, read=60.0)

Shown = Mapping[str, Any]

Url = Annotated[str | None, typer.Option(envvar="WAYPOST_URL", help="Where the API is.")]
Key = Annotated[str | None, typer.Option(envvar="WAYPOST_KEY", help="A tenant's key: journeys:read, or :write.")]
Data = Annotated[Path, typer.Option(envvar="WAYPOST_DATA", help="Without these: this stack's.")]
STACK = Path(".waypost")
_FAILED = 1


class JourneyRefusedError(Exception):
    """The API says no; `errors` are what is wrong with a document, one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        self.status = answer.status_code
        self.errors: list[dict[str, Any]] = problem.get("errors") or []
        super().__init__(problem.get("detail") or f"the API answered {answer.status_code}.")


class JourneyClient:
    """A tenant's key at work. Every method raises `JourneyRefusedError` and httpx's errors."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False)

    def __enter__(self) -> JourneyClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def all(self) -> Iterator[Shown]:
        """Every journey of the key's mode, in the order they were made."""
        cursor: str | None = None
        while True:
            page = self._ask("GET", "/v1/journeys", params={"cursor": cursor} if cursor else {})
            yield from page["data"]
            if (cursor := page["next_cursor"]) is None:
                return

    def get(self, key: str) -> Shown | None:
        """A journey with its draft; None: there is none of that key."""
        try:
            return self._ask("GET", f"/v1/journeys/{key}")
        except JourneyRefusedError as error:
            if error.status == 404:
                return None
            raise

    def put(self, key: str, text: str) -> Shown:
        """Make it, or replace its draft."""
        headers = {"content-type": "application/yaml"}
        return self._ask("PUT", f"/v1/journeys/{key}", content=text.encode(), headers=headers)

    def publish(self, key: str) -> Shown:
        """Make the draft the version that people enter."""
        return self._ask("POST", f"/v1/journeys/{key}/publish")

    def _ask(self, method: str, path: str, **what: Any) -> Shown:
        answer = self._http.request(method, path, **what)
        if not answer.is_success:
            raise JourneyRefusedError(answer)
        found: Shown = answer.json()
        return found


@contextlib.contextmanager
def client(command: str, url: str | None, key: str | None, data: Path) -> Iterator[JourneyClient]:
    """A client; what goes wrong with it is said, each problem of a document in a line, with exit code 1."""
    try:
        with JourneyClient(*door(url, key, data)) as opened:
            yield opened
    except (CampaignsError, httpx.HTTPError, JourneyRefusedError) as error:
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
