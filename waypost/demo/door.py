"""The API as the demo's shop calls it: with keys that make repeating safe, and repeating where it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import httpx

from waypost.demo.errors import RefusedError, SilentError

AT_ONCE = 16
"""Calls in flight."""
_TIMEOUT_S = 15.0
_PATIENCE_S = 60.0
_PAUSE_S = 0.25
_REPEATABLE = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What the API promised; `replayed`: it had promised the same before."""

    id: UUID
    fallback_id: UUID | None
    execution: str
    replayed: bool


class Door:
    """A tenant's API key at work. Every method raises `RefusedError` and `SilentError`."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
        )
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(self, body: Mapping[str, object], *, key: str) -> Accepted:
        """One message."""
        answer = await self.ask("POST", "/v1/messages", json=body, headers={"idempotency-key": key})
        return _accepted(answer.json(), replayed=answer.headers.get("idempotent-replay") == "true")

    async def send_many(self, bodies: Sequence[Mapping[str, object]], *, key: str) -> list[Accepted]:
        """Up to 500 messages in one call, all of which must be accepted."""
        path = "/v1/messages/batch"
        answer = await self.ask("POST", path, json={"messages": bodies}, headers={"idempotency-key": key})
        verdicts = answer.json()["verdicts"]
        for verdict in verdicts:
            if verdict["status"] == "refused":
                raise _refused("POST", path, 200, verdict["problem"])
        return [_accepted(verdict, replayed=verdict["status"] == "duplicate") for verdict in verdicts]

    async def all(self, path: str, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        """Every row of a list."""
        cursor: str | None = None
        while True:
            page = await self.page(path, cursor=cursor, **query)
            for row in page["data"]:
                yield row
            if (cursor := page["next_cursor"]) is None:
                return

    async def page(self, path: str, *, cursor: str | None, **query: str | int) -> dict[str, Any]:
        """One page of a list."""
        asked = query | ({"cursor": cursor} if cursor else {})
        found: dict[str, Any] = (await self.ask("GET", path, params=asked)).json()
        return found

    async def ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        """One call, repeated for a minute where the API is away or asks for patience."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            async with self._turns:
                answer = await self._once(method, path, **what)
            if answer is not None and answer.status_code not in _REPEATABLE:
                return _checked(answer, method, path)
            if asyncio.get_running_loop().time() > deadline:
                raise SilentError(f"{method} {path} had no answer for {_PATIENCE_S:.0f} s; see the stack's logs.")
            await asyncio.sleep(_pause(answer))

    async def _once(self, method: str, path: str, **what: Any) -> httpx.Response | None:
        try:
            return await self._http.request(method, path, **what)
        except httpx.TransportError:
            return None


def _pause(answer: httpx.Response | None) -> float:
    told = answer.headers.get("retry-after", "") if answer is not None else ""
    return float(told) if told.isdigit() else _PAUSE_S


def _checked(answer: httpx.Response, method: str, path: str) -> httpx.Response:
    if answer.is_success:
        return answer
    problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    raise _refused(method, path, answer.status_code, problem)


def _refused(method: str, path: str, status: int, problem: Mapping[str, Any]) -> RefusedError:
    return RefusedError(
        method=method, path=path, status=status, code=problem.get("code", ""), detail=problem.get("detail", "")
    )


def _accepted(row: Mapping[str, Any], *, replayed: bool) -> Accepted:
    fallback = row.get("fallback_id")
    return Accepted(
        id=UUID(row["id"]),
        fallback_id=UUID(fallback) if fallback else None,
        execution=row["links"]["execution"],
        replayed=replayed,
    )
