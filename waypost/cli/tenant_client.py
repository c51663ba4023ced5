"""What the commands that speak with a tenant's key share: where the API is, what it answers, and its pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from waypost.stack import running

Shown = Mapping[str, Any]


class ClientError(Exception):
    """The root of what goes wrong with these commands; the text says what to do."""


class NoDoorError(ClientError):
    """Nothing says where the API is, or with which key."""


class RefusedError(ClientError):
    """The API says no; `errors` are what is wrong with what it was given, one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        self.status = answer.status_code
        self.code: str = problem.get("code", "")
        self.errors: list[dict[str, Any]] = problem.get("errors") or []
        super().__init__(problem.get("detail") or f"the API answered {answer.status_code}.")


def door(url: str | None, key: str | None, data: Path) -> tuple[str, str]:
    """Where the API is and with which key: as given, else those of the stack that runs on `data`."""
    stack = None if url and key else running.find(data)
    url = url or (stack.urls["api"] if stack else None)
    key = key or (stack.demo_api_key if stack else None)
    if not url or not key:
        raise NoDoorError("set WAYPOST_URL and WAYPOST_KEY, or run a stack (waypost dev).")
    return url, key


class TenantClient:
    """A tenant's key at work. Every method raises `ClientError`, and httpx's errors unless it says otherwise."""

    def __init__(self, url: str, key: str, *, timeout: httpx.Timeout) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _pages(self, path: str) -> Iterator[Shown]:
        """Every row of a listing, in its order."""
        cursor: str | None = None
        while True:
            page = self._ask("GET", path, params={"cursor": cursor} if cursor else {})
            yield from page["data"]
            if (cursor := page["next_cursor"]) is None:
                return

    def _ask(self, method: str, path: str, **what: Any) -> Shown:
        return answer_of(self._http.request(method, path, **what))


def answer_of(answer: httpx.Response) -> Shown:
    """What the API says. Raises `RefusedError`."""
    if not answer.is_success:
        raise RefusedError(answer)
    found: Shown = answer.json()
    return found
