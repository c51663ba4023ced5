"""Plays a case from its start to its end, and keeps what came of it."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

from waypost.journeys.entries import ApiEntry, SegmentEntry
from waypost.journeys.steps import Webhook
from waypost.messaging import ids
from waypost.messaging.provider import RenderedMessage
from waypost.messaging.webhooks import Answer
from waypost.simulation.cases import Case
from waypost.simulation.given import resolve
from waypost.simulation.hands import Hands
from waypost.simulation.laying import Laid, lay_down
from waypost.simulation.receipts import Receipts, Report
from waypost.simulation.running import Simulation
from waypost.simulation.script import ReceiptEntry, TimedEntry
from waypost.simulation.servers import Servers
from waypost.store.enrollments import Enrollment, TakenStep, list_visits
from waypost.store.journey_due import Due
from waypost.store.journey_timeline import PutOff, VisitMessage, count_unsent, messages_of, put_off

MOST = timedelta(days=400)
"""So long does a simulation without an end go on where it does not come to one."""

_JUST_BEFORE = timedelta(milliseconds=1)
"""What happens at the very moment of a timeout is in time."""

_STRIDE = timedelta(days=30)
_LOOK = timedelta(days=1)
"""So often it is looked whether time alone has brought the contact into a segment."""

_ATTEMPTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something that the script says; `note`: why it came to nothing."""

    at: datetime
    what: TimedEntry | Report
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """All that came of a case."""

    case: Case
    until: datetime
    happened: Sequence[Happened]
    enrollments: Sequence[Enrollment]
    visits: Mapping[UUID, Sequence[TakenStep]]
    messages: Sequence[VisitMessage]
    held: Sequence[PutOff]
    rendered: Mapping[UUID, RenderedMessage] = field(repr=False)
    """What was handed to the provider, by message."""


class _Poster:
    """Takes every webhook, but those of some steps."""

    def __init__(self, case: Case) -> None:
        steps = case.journey.steps
        self._refused = {
            step.url for name in case.tenant.refused_webhooks if isinstance(step := steps.get(name), Webhook)
        }

    async def post(self, url: str, body: bytes, *, identity: UUID, secrets: Sequence[bytes]) -> Answer:  # noqa: ARG002 - Poster
        taken = url not in self._refused
        return Answer(taken=taken, code="200" if taken else "404", again=False)


async def play(servers: Servers, case: Case) -> Played:
    """Simulate it. Raises `GivenError`."""
    laid = await lay_down(servers.database, case)
    simulation = Simulation(servers.database, servers.environment, laid.tenant, _Poster(case))
    async with simulation.running(case.start):
        player = _Player(simulation, laid, case)
        try:
            await player.begin()
            until = await player.go_on()
            return await player.told(until)
        finally:
            await player.leave()


class _Player:
    def __init__(self, simulation: Simulation, laid: Laid, case: Case) -> None:
        self._simulation = simulation
        self._laid = laid
        self._case = case
        self._hands = Hands(simulation, laid, case)
        self._receipts = Receipts(simulation, laid.account, case.script)
        self._order = count()
        self._coming: list[tuple[datetime, int, TimedEntry | Report]] = []
        self._happened: list[Happened] = []
        self._until = case.until or case.start + MOST
        self._entered = False

    async def begin(self) -> None:
        """The contact comes in as the journey says, at the start where nothing else says when."""
        case = self._case
        first = case.entry_event()
        if first is not None:
            self._expect(case.start, first)
        elif isinstance(case.journey.entry, ApiEntry):
            await self._hands.enroll(case.data or {})
        for entry in case.script.events:
            if isinstance(entry, ReceiptEntry):
                continue
            at = resolve(entry.at, start=case.start, zone=case.zone)
            if case.start <= at <= self._until:
                self._expect(at, entry)

    def _expect(self, at: datetime, what: TimedEntry | Report) -> None:
        heapq.heappush(self._coming, (at, next(self._order), what))

    async def go_on(self) -> datetime:
        """Let one thing come after another until it is over; when that was."""
        while True:
            found = await self._settle()
            now = self._simulation.clock.now()
            if self._coming and self._coming[0][0] - _JUST_BEFORE <= now:
                await self._take()
            elif now >= self._until or await self._is_over(found):
                return min(now, self._until)
            else:
                await self._simulation.clock.move_to(self._next(found, now))

    def _next(self, found: Due, now: datetime) -> datetime:
        waits = isinstance(self._case.journey.entry, SegmentEntry) and not self._entered
        moments = [self._until, now + (_LOOK if waits else _STRIDE)]
        if found.next_at is not None and found.next_at > now:
            moments.append(found.next_at)
        if self._coming:
            moments.append(max(now, self._coming[0][0] - _JUST_BEFORE))
        return min(moments)

    async def _take(self) -> None:
        at, _, what = heapq.heappop(self._coming)
        note = None
        if isinstance(what, Report):
            await self._receipts.apply(what)
        else:
            note = await self._hands.do(what, at)
        if not isinstance(what, Report) or what.scripted:
            self._happened.append(Happened(at=at, what=what, note=note))

    async def _settle(self) -> Due:
        """Do all that is due, and what providers report of it at once."""
        while True:
            found = await self._simulation.settle()
            reports = await self._receipts.look()
            if not reports:
                return found
            now = self._simulation.clock.now()
            for report in reports:
                if report.at <= now and not report.scripted:
                    await self._receipts.apply(report)
                else:
                    self._expect(report.at, report)

    async def _is_over(self, found: Due) -> bool:
        self._entered = self._entered or found.open > 0 or bool(await self._hands.people())
        if not self._entered or found.open or self._coming:
            return False
        async with self._simulation.app.transaction(self._laid.tenant) as connection:
            return await count_unsent(connection, tenant=self._laid.tenant) == 0

    async def told(self, until: datetime) -> Played:
        """All rows of it."""
        tenant, people = self._laid.tenant, await self._hands.people()
        async with self._simulation.app.transaction(tenant) as connection:
            visits = {one.id: await list_visits(connection, tenant=tenant, enrollment=one.id) for one in people}
            messages = await messages_of(connection, tenant=tenant, enrollments=[one.id for one in people])
            held = await put_off(connection, tenant=tenant, messages=[one.id for one in messages])
        return Played(
            case=self._case,
            until=until,
            happened=self._happened,
            enrollments=people,
            visits=visits,
            messages=messages,
            held=held,
            rendered=self._rendered(messages),
        )

    def _rendered(self, messages: Sequence[VisitMessage]) -> dict[UUID, RenderedMessage]:
        by_attempt = {one.attempt_id: one for one in self._simulation.provider.handed_over}
        found = {}
        for message in messages:
            for number in range(1, _ATTEMPTS):
                attempt = by_attempt.get(ids.attempt_id(message=message.id, number=number))
                if attempt is not None:
                    found[message.id] = attempt.whole()
        return found

    async def leave(self) -> None:
        """Nothing of it is left for the next simulation on the same servers."""
        await self._simulation.close_tenant([one.id for one in await self._hands.people() if one.state == "open"])
