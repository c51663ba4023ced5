"""What happens in the demo, scene by scene: a small shop writes to its customers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from waypost.demo import templates
from waypost.demo.door import Accepted, Door
from waypost.demo.endings import End, foretold
from waypost.demo.errors import DemoError
from waypost.demo.first_days import MOST, FirstDays
from waypost.demo.newsletter import Newsletter
from waypost.demo.people import Person
from waypost.demo.shop import GUEST, Shop
from waypost.demo.watching import Rows, Watch
from waypost.messaging.addresses import address_key
from waypost.messaging.values import Channel

Row = TypeVar("Row")

_A_CALL = 250
"""Contacts or messages of a batch."""
_REPEATS = 20
_STOPPERS = 10
_PATIENCE_S = 30.0

Reply = Callable[[str, str], Awaitable[None]]
"""Lets the person with that number write that text to the shop."""


class Step(Protocol):
    """One scene's progress."""

    def reach(self, done: int) -> None:
        """So much of it is done."""

    def advance(self, by: int = 1) -> None:
        """So much more of it is done."""


class Stage(Protocol):
    """Where progress is shown."""

    def scene(self, title: str, total: int) -> Step:
        """The next scene begins."""


class Script:
    """The scenes, and what came of them. Every scene raises `DemoError`."""

    def __init__(self, door: Door, stage: Stage, *, run: str, persons: Sequence[Person], reply: Reply) -> None:
        self._door = door
        self._stage = stage
        self._run = run
        self._shop = Shop(run)
        self._persons = persons
        self._reply = reply
        self._suppressed: frozenset[tuple[Channel, str]] = frozenset()
        self._receipts: dict[str, UUID] = {}
        self.foreseen: dict[UUID, frozenset[End]] = {}
        """Every accepted message, with the ends that are right for it."""
        self.rows: Rows = {}
        """Every message as the API showed it last."""
        self.newsletter = Newsletter(door, run=run, persons=persons)
        self.first_days = FirstDays(door, run=run, persons=persons)
        self.repeated = self.repeated_right = 0
        self.execution: str | None = None
        """The link to one worth looking at."""

    async def play(self) -> None:
        """All of it."""
        await self._import_contacts()
        await self._put_templates()
        self._suppressed = await self._suppressions()
        await self._send_receipts()
        await self._send_parcels()
        await self._send_login_codes()
        await self._repeat()
        await self._settle("Sent, and reported by the providers")
        await self._send_newsletter()
        await self._leave()
        await self._write_again()
        await self._walk()
        await self._settle("Everything has its end")
        for more in (self.newsletter, self.first_days.walk):
            self.foreseen |= more.foreseen
            self.rows |= more.rows

    async def _import_contacts(self) -> None:
        step = self._stage.scene("Contacts from the CSV file", len(self._persons))
        for some in _batches(self._persons):
            contacts = [person.as_contact() for person in some]
            answer = await self._door.ask("POST", "/v1/contacts/batch", json={"contacts": contacts})
            refused = [each["external_id"] for each in answer.json()["verdicts"] if each["status"] == "refused"]
            if refused:
                raise DemoError(f"Contacts of the CSV file were refused: {', '.join(refused[:5])}.")
            step.advance(len(some))

    async def _put_templates(self) -> None:
        keys = (templates.RECEIPT, templates.LOGIN_CODE, templates.PARCEL)
        step = self._stage.scene("Templates: MJML, text, SMS", len(keys))
        for key in keys:
            await self._door.ask("PUT", f"/v1/templates/{key}", json=templates.load(key))
            step.advance()

    async def _send_receipts(self) -> None:
        step = self._stage.scene("Receipts by e-mail, a call each", len(self._persons))
        await self._each(self._persons, self._send_receipt, step)

    async def _send_receipt(self, person: Person) -> None:
        key = self._shop.key("receipt", person.number)
        accepted = await self._door.send(self._shop.receipt(person), key=key)
        self._receipts[key] = accepted.id
        self._foresee(accepted.id, Channel.EMAIL, person.email)

    async def _send_parcels(self) -> None:
        told = [person for person in self._persons if person.gets_a_text]
        step = self._stage.scene("Parcel news by SMS, in batches", len(told))
        for number, some in enumerate(_batches(told)):
            bodies = [self._shop.parcel(person) for person in some]
            accepted = await self._door.send_many(bodies, key=self._shop.key("parcels", number))
            for person, message in zip(some, accepted, strict=True):
                self._foresee(message.id, Channel.SMS, person.phone)
            step.advance(len(some))

    async def _send_login_codes(self) -> None:
        asking = [person for person in self._persons if person.signs_in]
        if asking:
            step = self._stage.scene("Login codes, else by SMS", len(asking))
            await self._each(asking, self._send_login_code, step)

    async def _send_login_code(self, person: Person) -> None:
        accepted = await self._door.send(self._shop.login_code(person), key=self._shop.key("code", person.number))
        self._foresee(accepted.id, Channel.EMAIL, person.email)
        self._foresee_fallback(accepted, is_needed=self.foreseen[accepted.id] == {End.UNREPORTED})

    def _foresee_fallback(self, accepted: Accepted, *, is_needed: bool) -> None:
        assert accepted.fallback_id is not None
        # On a busy machine a receipt may come after the fallback's time: then the text message is right as well.
        self.foreseen[accepted.fallback_id] = frozenset({End.DELIVERED} if is_needed else {End.SKIPPED, End.DELIVERED})
        if is_needed or self.execution is None:
            self.execution = accepted.execution

    async def _repeat(self) -> None:
        """What a shop does that had no answer: the same calls with the same keys."""
        some = self._persons[:_REPEATS]
        step = self._stage.scene("The same calls again, same keys", len(some))
        for person in some:
            key = self._shop.key("receipt", person.number)
            again = await self._door.send(self._shop.receipt(person), key=key)
            self.repeated += 1
            self.repeated_right += again.replayed and again.id == self._receipts[key]
            step.advance()

    async def _send_newsletter(self) -> None:
        """A campaign over all of them; whom bounces and complaints have suppressed by now is not written to."""
        self._suppressed = suppressed = await self._suppressions()
        await self.newsletter.put()
        step = self._stage.scene("A campaign to everybody", len(self._persons))
        async for ended in self.newsletter.send():
            step.reach(ended)
        step = self._stage.scene("  and reported by the provider", len(self._persons))
        async for settled in self.newsletter.settle(suppressed):
            step.reach(settled)

    async def _leave(self) -> None:
        """Some answer STOP; one address is put on the list by hand."""
        leaving = [p for p in self._persons if p.will_stop and not self._is_suppressed(Channel.SMS, p.phone)]
        leaving = leaving[:_STOPPERS]
        step = self._stage.scene("People leave: STOP, or by hand", len(leaving) + 1)
        guest = {"channel": "email", "address": GUEST, "note": "asked by telephone"}
        await self._door.ask("POST", "/v1/suppressions", json=guest)
        for person in leaving:
            await self._reply(person.phone, "STOP")
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while (gone := await self._count_gone(leaving)) < len(leaving):
            step.reach(1 + gone)
            if asyncio.get_running_loop().time() > deadline:
                raise DemoError(f"A STOP was not minded within {_PATIENCE_S:.0f} s; see logs/ingest.log.")
            await asyncio.sleep(0.1)
        step.reach(1 + gone)

    async def _count_gone(self, leaving: Sequence[Person]) -> int:
        self._suppressed = await self._suppressions()
        return sum(self._is_suppressed(Channel.SMS, person.phone) for person in leaving)

    async def _write_again(self) -> None:
        """To all whom nothing may reach any more; and a message for tomorrow, which is cancelled."""
        bodies = list(self._letters())
        step = self._stage.scene("Writing to them all the same", len(bodies))
        for number, some in enumerate(_batches(bodies)):
            for accepted in await self._door.send_many(some, key=self._shop.key("letters", number)):
                self.foreseen[accepted.id] = frozenset({End.SUPPRESSED})
            step.advance(len(some))
        later = await self._door.send(self._shop.tomorrows(self._persons[0]), key=self._shop.key("later", 0))
        await self._door.ask("POST", f"/v1/messages/{later.id}/cancel")
        self.foreseen[later.id] = frozenset({End.CANCELLED})

    def _letters(self) -> Iterator[dict[str, object]]:
        yield self._shop.letter({"email": GUEST}, channel="email")
        for person in self._persons:
            to = {"contact": person.external_id}
            if self._is_suppressed(Channel.EMAIL, person.email):
                yield self._shop.letter(to, channel="email")
            if self._is_suppressed(Channel.SMS, person.phone):
                yield self._shop.letter(to, channel="sms")

    async def _walk(self) -> None:
        """A journey from its publication until all have left it; with messages to whom nothing may reach, too."""
        days, count = self.first_days, min(MOST, len(self._persons))
        await days.put()
        await days.enter()
        waiting, left = self._stage.scene("A journey: it waits for people", count), None
        async for came, ended in days.play():
            waiting.reach(came)
            if came == count or ended:
                left = left or self._stage.scene("  who leave it, by some way", count)
                left.reach(ended)
        step = self._stage.scene("  and its messages have their end", count)
        async for settled in days.read(self._is_suppressed):
            step.reach(settled)
        await days.close()

    async def _settle(self, title: str) -> None:
        step = self._stage.scene(title, len(self.foreseen))
        watch = Watch(self._door, tag=self._run, foreseen=self.foreseen)
        async for settled in watch.until_settled(patience_s=_PATIENCE_S):
            step.reach(settled)
        self.rows = watch.rows

    async def _each(self, persons: Sequence[Person], send: Callable[[Person], Awaitable[None]], step: Step) -> None:
        async def one(person: Person) -> None:
            await send(person)
            step.advance()

        for some in _batches(persons):
            try:
                async with asyncio.TaskGroup() as calls:
                    for person in some:
                        calls.create_task(one(person))
            except* DemoError as failed:
                raise failed.exceptions[0] from None

    async def _suppressions(self) -> frozenset[tuple[Channel, str]]:
        rows = self._door.all("/v1/suppressions", limit=200)
        return frozenset([(Channel(row["channel"]), row["address"]) async for row in rows])

    def _is_suppressed(self, channel: Channel, address: str) -> bool:
        return (channel, address_key(channel, address)) in self._suppressed

    def _foresee(self, message: UUID, channel: Channel, address: str) -> None:
        end = End.SUPPRESSED if self._is_suppressed(channel, address) else foretold(channel, address)
        self.foreseen[message] = frozenset({end})


def _batches(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    return (rows[start : start + _A_CALL] for start in range(0, len(rows), _A_CALL))
