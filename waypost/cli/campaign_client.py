"""A tenant's campaigns over HTTP: asked, moved, and followed by server-sent events that are taken up again."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import httpx

from waypost.cli.tenant_client import ClientError, RefusedError, Shown, TenantClient, answer_of

PATIENCE_S = 60.0
_PAUSE_S = 1.0
_TIMEOUT = httpx.Timeout(10.0, read=40.0)
"""The API lets itself be heard every 15 s."""
_PASSING = frozenset({429, 502, 503, 504})


class SilentError(ClientError):
    """The API did not answer for a minute."""


class CampaignClient(TenantClient):
    """A tenant's key at work. Every method raises `ClientError`; one that gets no answer asks for a minute."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key, timeout=_TIMEOUT)

    def all(self) -> Iterator[Shown]:
        """Every campaign, in the order they were made."""
        return self._pages("/v1/campaigns")

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
                return answer_of(answer)
            if time.monotonic() > deadline:
                raise SilentError("the API did not answer for a minute.")
            time.sleep(_PAUSE_S)
