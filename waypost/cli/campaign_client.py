"""A tenant's campaigns over HTTP: asked, moved, and followed by server-sent events that are taken up again."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from waypost.stack import running

PATIENCE_S = 60.0
_PAUSE_S = 1.0
_TIMEOUT = httpx.Timeout(10.0, read=40.0)
"""The API lets itself be heard every 15 s."""
_PASSING = frozenset({429, 502, 503, 504})

Shown = Mapping[str, Any]


class CampaignsError(Exception):
    """The root of what goes wrong with these commands; the text says what to do."""


class NoDoorError(CampaignsError):
    """Nothing says where the API is, or with which key."""


class RefusedError(CampaignsError):
    """The API says no."""

    def __init__(self, answer: httpx.Response) -> None:
        problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        self.code: str = problem.get("code", "")
        super().__init__(problem.get("detail") or f"the API answered {answer.status_code}.")


class SilentError(CampaignsError):
    """The API did not answer for a minute."""


def door(url: str | None, key: str | None, data: Path) -> tuple[str, str]:
    """Where the API is and with which key: as given, else those of the stack that runs on `data`."""
    stack = None if url and key else running.find(data)
    url = url or (stack.urls["api"] if stack else None)
    key = key or (stack.demo_api_key if stack else None)
    if not url or not key:
        raise NoDoorError("set WAYPOST_URL and WAYPOST_KEY, or run a stack (waypost dev).")
    return url, key


class CampaignClient:
    """A tenant's key at work. Every method raises `CampaignsError`."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False)

    def __enter__(self) -> CampaignClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def all(self) -> Iterator[Shown]:
        """Every campaign, in the order they were made."""
        cursor: str | None = None
        while True:
            page = self._ask("GET", "/v1/campaigns", params={"cursor": cursor} if cursor else {})
            yield from page["data"]
            if (cursor := page["next_cursor"]) is None:
                return

    def get(self, campaign: str) -> Shown:
        """A campaign with its last run."""
        return self._ask("GET", f"/v1/campaigns/{campaign}")

    def act(self, campaign: str, action: str) -> Shown:
        """`POST /v1/campaigns/{key}/{action}`; the campaign after it."""
        return self._ask("POST", f"/v1/campaigns/{campaign}/{action}")

    def follow(self, campaign: str, run: int | None = None) -> Generator[Shown, None, None]:
        """The run each time that it changed, until it is over; taken up again where the connection is lost."""
        query = {} if run is None else {"run": str(run)}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                for kind, shown in self._events(f"/v1/campaigns/{campaign}/progress", query):
                    deadline = time.monotonic() + PATIENCE_S
                    yield shown
                    if kind == "end":
                        return
            except (httpx.TransportError, SilentError):
                if time.monotonic() > deadline:
                    raise SilentError("the API did not answer for a minute.") from None
            time.sleep(_PAUSE_S)

    def _events(self, path: str, query: Mapping[str, str]) -> Iterator[tuple[str, Shown]]:
        with self._http.stream("GET", path, params=query) as answer:
            if not answer.is_success:
                answer.read()
                raise SilentError if answer.status_code in _PASSING else RefusedError(answer)
            kind = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    def _ask(self, method: str, path: str, **what: Any) -> Shown:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._http.request(method, path, **what)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code not in _PASSING:
                if not answer.is_success:
                    raise RefusedError(answer)
                found: Shown = answer.json()
                return found
            if time.monotonic() > deadline:
                raise SilentError("the API did not answer for a minute.")
            time.sleep(_PAUSE_S)
