"""Waiting until every message has come to the end that is foreseen for it, by looking at the list of messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from waypost.demo.door import Door
from waypost.demo.endings import End, observed

Foreseen = Mapping[UUID, frozenset[End]]
Rows = dict[UUID, dict[str, Any]]

_PAUSE_S = 0.25
_PAGE = 200


@dataclass(slots=True)
class _Page:
    cursor: str | None
    is_settled: bool = False


class Watch:
    """The messages of a tag; make it when no more are added, since pages are told apart by what was newest then."""

    def __init__(self, door: Door, *, tag: str, foreseen: Foreseen) -> None:
        self._door = door
        self._tag = tag
        self._foreseen = foreseen
        self._pages = [_Page(cursor=None)]
        self.rows: Rows = {}

    @property
    def settled(self) -> int:
        """How many have ended as foreseen."""
        return sum(self._has_ended(row) for row in self.rows.values())

    async def until_settled(self, *, patience_s: float) -> AsyncIterator[int]:
        """The number that has ended as foreseen, each time we look; ends when all have, or none does any more."""
        clock = asyncio.get_running_loop().time
        last, since = -1, clock()
        while True:
            await self._look()
            if (now := self.settled) != last:
                last, since = now, clock()
            yield now
            if now >= len(self._foreseen) or clock() - since > patience_s:
                return
            await asyncio.sleep(_PAUSE_S)

    async def _look(self) -> None:
        for page in self._pages:  # grows while the pages are seen for the first time
            if page.is_settled:
                continue
            found = await self._door.page("/v1/messages", cursor=page.cursor, tag=self._tag, limit=_PAGE)
            self.rows |= {UUID(row["id"]): row for row in found["data"]}
            page.is_settled = all(self._has_ended(row) for row in found["data"])
            if page is self._pages[-1] and found["next_cursor"] is not None:
                self._pages.append(_Page(cursor=found["next_cursor"]))

    def _has_ended(self, row: Mapping[str, Any]) -> bool:
        return observed(row) in self._foreseen.get(UUID(row["id"]), frozenset())
