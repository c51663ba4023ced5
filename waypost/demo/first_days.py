"""The demo's journey: people enter it by an event, do what it waits for or not, and leave by one of its ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import waypost
from waypost.demo import templates
from waypost.demo.door import Door
from waypost.demo.endings import observed
from waypost.demo.errors import DemoError, ExamplesError
from waypost.demo.people import CYCLE, Person
from waypost.demo.walk import IsSuppressed, Walk, Way
from waypost.journeys.validation import check_journey

FILE = Path(waypost.__file__).parent.parent / "examples" / "demo" / "first-days.yaml"
NAME = "first-days"
"""What the document has in the place of the run's key."""
TOPIC = "shop-club"
MOST = 60
"""People who walk it, at most: three of each fate."""

_WAITS_AT = "first-order"
_CLOSES = 7
_PAUSE_S = 0.25
_PATIENCE_S = 30.0
_PAGE = 200
_A_CALL = 500

_REGULAR = Way("completed", "completed", "thanks-by-sms")
_CUSTOMER = Way("completed", "completed", "thanks")
_LEFT = Way("exit_rule", "account_closed", _WAITS_AT)
_NOT_YET = Way("exit", "not_yet", "not-yet")


def document(run: str) -> str:
    """The journey of a run. Raises `ExamplesError`."""
    try:
        return FILE.read_text(encoding="utf-8").replace(NAME, run)
    except OSError as error:
        raise ExamplesError(f"{FILE} can't be read ({type(error).__name__}): run the demo from a clone.") from error


def way_of(person: Person) -> tuple[str | None, Mapping[str, object], Way]:
    """What the person does while the journey waits for it, and how it leaves then."""
    if person.number % CYCLE == _CLOSES:
        return "account_closed", {}, _LEFT
    match person.number % 4:
        case 0:
            return "order_placed", {"total": 80}, _REGULAR
        case 1:
            return "order_placed", {"total": 20}, _CUSTOMER
        case _:
            return None, {}, _NOT_YET


class FirstDays:
    """Every method raises `DemoError`."""

    def __init__(self, door: Door, *, run: str, persons: Sequence[Person]) -> None:
        self._door = door
        self._run = run
        self._text = document(run)
        self._persons = {person.external_id: person for person in persons[:MOST]}
        self._ways: dict[str, frozenset[Way]] = {}
        self._most = -1
        checked = check_journey(self._text)
        if checked.journey is None:
            raise ExamplesError(f"{FILE} is no sound journey: {checked.problems[0].message}")
        self.walk = Walk(checked.journey, entered=len(self._persons))

    async def put(self) -> None:
        """Topic, templates, the draft; and published, twice, as somebody does who had no answer."""
        await self._door.ask("PUT", f"/v1/topics/{TOPIC}", json={"name": "The shop's club"})
        for key in templates.CLUB:
            await self._door.ask("PUT", f"/v1/templates/{key}", json=templates.load(key))
        headers = {"content-type": "application/yaml"}
        await self._door.ask("PUT", self._path(), content=self._text.encode(), headers=headers)
        for _ in range(2):
            await self._door.ask("POST", self._path("/publish"))

    async def enter(self) -> None:
        """Everybody signs up; and the shop, which had no answer, says so twice."""
        plans = ("basic", "family")
        events = [
            self._event(person, "signed_up", {"run": self._run, "plan": plans[person.number % 2]})
            for person in self._persons.values()
        ]
        for _ in range(2):
            await self._tell(events)

    async def play(self) -> AsyncIterator[tuple[int, int]]:
        """Whoever is waited for does what it does; how many were seen waiting and how many left, until all have."""
        clock = asyncio.get_running_loop().time
        last, since = (-1, -1), clock()
        while True:
            await self._act()
            counts = (await self._door.ask("GET", self._path())).json()["counts"]
            await self._draw_when_fullest(sum(counts["steps"].values()))
            now = (len(self._ways), sum(counts["endings"].values()))
            if now != last:
                last, since = now, clock()
            yield now
            if now[1] >= len(self._persons):
                return
            if clock() - since > _PATIENCE_S:
                raise DemoError(f"The journey stands still: {counts}; see logs/worker-bulk.log.")
            await asyncio.sleep(_PAUSE_S)

    async def read(self, is_suppressed: IsSuppressed) -> AsyncIterator[int]:
        """How many have come to the end that is right, messages included; until all have, or none does any more."""
        rows = [row async for row in self._door.all(self._path("/enrollments"), limit=_PAGE)]
        details = await _all(self._door.ask("GET", f"/v1/enrollments/{row['id']}") for row in rows)
        enrollments = [answer.json() for answer in details]
        for each in enrollments:
            self.walk.add(each, self._ways.get(each["contact"], frozenset({_NOT_YET})))
        clock = asyncio.get_running_loop().time
        last, since, unsettled = -1, clock(), enrollments
        while True:
            unsettled = [each for each in unsettled if not await self._is_settled(each, is_suppressed)]
            now = len(enrollments) - len(unsettled)
            if now != last:
                last, since = now, clock()
            yield now
            if not unsettled or clock() - since > _PATIENCE_S:
                return
            await asyncio.sleep(_PAUSE_S)

    async def close(self) -> None:
        """Nobody enters any more: the next run has a journey of its own."""
        self.walk.mermaid = (await self._door.ask("GET", self._path("/diagram"))).text
        await self._door.ask("POST", self._path("/archive"))

    async def _act(self) -> None:
        """Of those who have come to the wait since we looked last. What comes after its time may lead either way."""
        listed = self._door.all(self._path("/enrollments"), state="open", step=_WAITS_AT, limit=_PAGE)
        new = [row async for row in listed if row["contact"] not in self._ways and row["resting_since"] is not None]
        acting = [(row, self._persons[row["contact"]], *way_of(self._persons[row["contact"]])) for row in new]
        await self._tell([self._event(person, name, what) for _, person, name, what, _ in acting if name is not None])
        told_at = datetime.now(UTC)
        for row, _, _, _, way in acting:
            in_time = told_at < datetime.fromisoformat(row["wakes_at"])
            self._ways[row["contact"]] = frozenset({way} if in_time else {way, _NOT_YET})

    async def _tell(self, events: Sequence[Mapping[str, object]]) -> None:
        for start in range(0, len(events), _A_CALL):
            some = events[start : start + _A_CALL]
            answer = (await self._door.ask("POST", "/v1/events/batch", json={"events": some})).json()
            refused = [verdict["problem"]["detail"] for verdict in answer["verdicts"] if verdict["status"] == "refused"]
            if refused:
                raise DemoError(f"An event was refused: {refused[0]}")

    async def _draw_when_fullest(self, people: int) -> None:
        if people <= self._most:
            return
        self._most = people
        picture = await self._door.ask("GET", self._path("/diagram"), params={"format": "svg", "counts": "true"})
        self.walk.svg = picture.text

    async def _is_settled(self, enrollment: Mapping[str, Any], is_suppressed: IsSuppressed) -> bool:
        listed = self._door.all("/v1/messages", enrollment=enrollment["id"], limit=_PAGE)
        rows = [row async for row in listed]
        self.walk.foresee(enrollment, rows, self._persons[enrollment["contact"]], is_suppressed)
        return all(observed(row) in self.walk.foreseen[UUID(row["id"])] for row in rows)

    def _event(self, person: Person, name: str, what: Mapping[str, object]) -> Mapping[str, object]:
        key = f"{self._run}-{name}-{person.number}"
        return {"id": key, "contact": person.external_id, "name": name, "properties": what}

    def _path(self, more: str = "") -> str:
        return f"/v1/journeys/{self._run}{more}"


async def _all(asked: Iterable[Any]) -> list[Any]:
    return list(await asyncio.gather(*asked))
