"""The demo's campaign: one e-mail to everybody on the shop's list, and what came of each recipient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any
from uuid import UUID, uuid5

from waypost.demo import templates
from waypost.demo.door import Door
from waypost.demo.endings import End, foretold, observed
from waypost.demo.errors import DemoError
from waypost.demo.people import Person
from waypost.demo.watching import Rows
from waypost.messaging.addresses import address_key
from waypost.messaging.values import Channel, RunState

MEMBERS_A_CALL = 1000
_PAUSE_S = 0.25
_PATIENCE_S = 30.0
_PAGE = 200
_NOBODY = UUID("1f0c7a52-0000-5000-8000-000000000000")
_OVER = (RunState.COMPLETED, RunState.CANCELLED, RunState.HALTED)


class Newsletter:
    """Every method raises `DemoError`."""

    def __init__(self, door: Door, *, run: str, persons: Sequence[Person]) -> None:
        self._door = door
        self._key = run
        self._persons = persons
        self.foreseen: dict[UUID, frozenset[End]] = {}
        """Every recipient's message, with the end that is right for it; who is on the list and no recipient is there
        under an id that no message has."""
        self.rows: Rows = {}
        """Every recipient, as a message is shown."""
        self.execution: str | None = None

    async def put(self) -> None:
        """The list, the template, the campaign: a draft, and nothing is sent yet."""
        await self._door.ask("PUT", f"/v1/lists/{self._key}", json={"name": "The demo's newsletter"})
        for start in range(0, len(self._persons), MEMBERS_A_CALL):
            some = [person.external_id for person in self._persons[start : start + MEMBERS_A_CALL]]
            await self._door.ask("POST", f"/v1/lists/{self._key}/members", json={"external_ids": some})
        key = templates.NEWSLETTER
        await self._door.ask("PUT", f"/v1/templates/{key}", json=templates.load(key))
        await self._door.ask("PUT", f"/v1/campaigns/{self._key}", json=self._campaign())

    async def send(self) -> AsyncIterator[int]:
        """Schedule it at once, and twice, as a shop does that had no answer; how many have their outcome, until all."""
        for _ in range(2):
            await self._door.ask("POST", f"/v1/campaigns/{self._key}/schedule")
        clock = asyncio.get_running_loop().time
        last, since = -1, clock()
        while True:
            shown = (await self._door.ask("GET", f"/v1/campaigns/{self._key}")).json()["run"]
            self.execution = shown["execution"]
            ended = 0 if shown["audience"] is None else shown["audience"] - shown["open"]
            if ended != last:
                last, since = ended, clock()
            yield ended
            if shown["state"] in _OVER:
                return
            if clock() - since > _PATIENCE_S:
                raise DemoError(f"The campaign stands still ({shown['state']}); see logs/ and {self.execution}.")
            await asyncio.sleep(_PAUSE_S)

    async def settle(self, suppressed: Collection[tuple[Channel, str]]) -> AsyncIterator[int]:
        """How many recipients have come to their end, each time we look; until all have, or none does any more.

        `suppressed` is who was when it was sent."""
        clock = asyncio.get_running_loop().time
        last, since = -1, clock()
        while True:
            await self._look(suppressed)
            now = sum(observed(row) in self.foreseen[message] for message, row in self.rows.items())
            if now != last:
                last, since = now, clock()
            yield now
            if now >= len(self.foreseen) or clock() - since > _PATIENCE_S:
                return
            await asyncio.sleep(_PAUSE_S)

    async def _look(self, suppressed: Collection[tuple[Channel, str]]) -> None:
        listed = self._door.all(f"/v1/campaigns/{self._key}/recipients", limit=_PAGE)
        found = {row["contact"]: row async for row in listed}
        self.rows = {UUID(row["message_id"]): _as_message(row) for row in found.values()}
        self.foreseen = {
            UUID(row["message_id"]): frozenset({_end(row["address"], suppressed)}) for row in found.values()
        }
        for person in self._persons:
            if person.external_id not in found:
                self.foreseen[uuid5(_NOBODY, person.external_id)] = frozenset({End.DELIVERED})

    def _campaign(self) -> dict[str, object]:
        goods = [{"name": name, "price": f"{cents / 100:.2f}"} for name, cents in (("Mug", 790), ("Poster", 1590))]
        return {
            "name": "The demo's newsletter",
            "channel": "email",
            "template": templates.NEWSLETTER,
            "audience": {"list": self._key},
            "data": {"offer": "ten per cent off", "until": "Sunday", "items": goods},
        }


def _end(address: str, suppressed: Collection[tuple[Channel, str]]) -> End:
    if (Channel.EMAIL, address_key(Channel.EMAIL, address)) in suppressed:
        return End.SUPPRESSED
    return foretold(Channel.EMAIL, address)


def _as_message(recipient: dict[str, Any]) -> dict[str, Any]:
    return {"id": recipient["message_id"], "channel": Channel.EMAIL, **recipient}
