"""Where all provider events of an ingest process come together: stored in groups, acknowledged, then applied.

`keep` returns once an event is committed; only then may a webhook answer 2xx or a queue message be deleted.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Histogram
from psycopg.errors import ProgramLimitExceeded

from waypost.messaging.provider import ProviderEvent
from waypost.store.database import Database, DatabaseAway
from waypost.store.events import (
    Applied,
    apply_events,
    oldest_waiting,
    set_aside,
    store_and_apply,
    store_events,
    store_unparsable,
)
from waypost.store.notifications import OUTBOX_CHANNEL, notify

logger = logging.getLogger(__name__)

Arrival = tuple[UUID, ProviderEvent]
"""(account id, event)."""

_POLL_S = 1.0
_APART_S = 0.2
"""Between two batches that did not fill: the first event of a quiet time is applied at once, a stream in batches."""
_AWAY_S = 0.5
_TRIES_ALONE = 3
"""How often an event is tried by itself before it is set aside: deadlocks and races pass, bugs do not."""


class UnstorableError(Exception):
    """PostgreSQL will never take this: too long for an index, say. psycopg files that under "operational"."""


class IntakeMetrics:
    """What an ingest process counts of events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.received = Counter("waypost_events_received", "Events that came", ["feed"], registry=registry)
        self.stored = Counter("waypost_events_stored", "Events kept that were not known before", registry=registry)
        self.applied = Counter("waypost_events_applied", "Events applied to the ledger", registry=registry)
        self.unusable = Counter("waypost_events_unusable", "Events kept aside", ["why"], registry=registry)
        self.lag = Histogram(
            "waypost_event_lag_seconds",
            "From when the provider dates an event to when it was stored",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
            registry=registry,
        )


@dataclass(slots=True)
class _Waiter:
    arrivals: Sequence[Arrival]
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Suspect:
    """An event that may be why a batch failed; no `event` yet: the batch has just failed."""

    event: int | None = None
    failures: int = 0
    """How often it failed by itself."""


class Intake:
    """Group commit for whoever brings events, and the task that applies them."""

    def __init__(self, database: Database, metrics: IntakeMetrics, *, batch: int, signal: str) -> None:
        self._database = database
        self._metrics = metrics
        self._batch = batch
        self._signal = signal
        self._waiting: deque[_Waiter] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._told = asyncio.Event()

    async def keep(self, arrivals: Sequence[Arrival], *, feed: str) -> None:
        """Return when all are committed. Raises what PostgreSQL raised; then none of them may be acknowledged."""
        self._metrics.received.labels(feed).inc(len(arrivals))
        if not arrivals:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(arrivals, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await done

    async def keep_unparsable(self, *, account: UUID, event_id: str, code: str, raw: str) -> None:
        """Keep what nobody can read, for a person to look at."""
        async with self._database.transaction() as connection:
            await store_unparsable(connection, account=account, event_id=event_id, code=code, raw=raw)
        self._metrics.unusable.labels(code).inc()

    async def run(self) -> None:
        """Apply what is stored, told at once and polling as a fallback (another process may have died on its share)."""
        suspect: _Suspect | None = None
        while True:
            try:
                if suspect is not None:
                    suspect = await self._whom_to_suspect(suspect)
                applied = await self._apply(suspect)
                if not applied:
                    await self._wait()
                elif suspect is None and applied < self._batch:
                    await asyncio.sleep(_APART_S)
                suspect = None
            except DatabaseAway:  # deadlocks and time-outs too: they pass
                await asyncio.sleep(_AWAY_S)
            except Exception as error:
                logger.warning("events not applied", extra={"error": type(error).__name__})
                suspect = await self._after(suspect, error)

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._take_group()
            try:
                await self._write([arrival for waiter in group for arrival in waiter.arrivals])
            except DatabaseAway as error:
                _fail(group, error)
            except Exception:
                await self._write_apart(group)
            else:
                _finish(group)

    def _take_group(self) -> list[_Waiter]:
        group: list[_Waiter] = []
        size = 0
        while self._waiting and size < self._batch:
            group.append(self._waiting.popleft())
            size += len(group[-1].arrivals)
        return group

    async def _write_apart(self, group: Sequence[_Waiter]) -> None:
        """One of the group cannot be stored: it alone must fail."""
        for waiter in group:
            try:
                await self._write(waiter.arrivals)
            except Exception as error:
                _fail([waiter], error)
            else:
                _finish([waiter])

    async def _write(self, arrivals: Sequence[Arrival]) -> None:
        """Keep and apply them in one transaction; where that cannot be, keep them, and `run` applies them later."""
        try:
            new = await self._store_and_apply(arrivals)
        except Exception as error:  # a lock held too long, a deadlock, what one event would do: none may keep it out
            logger.info("events are kept first", extra={"error": type(error).__name__})
            new = await self._store(arrivals)
        self._metrics.stored.inc(new)
        now = time.time()
        for _, event in arrivals:
            self._metrics.lag.observe(max(0.0, now - event.occurred_at.timestamp()))

    async def _store_and_apply(self, arrivals: Sequence[Arrival]) -> int:
        async with self._database.transaction() as connection:
            applied = await store_and_apply(connection, arrivals, signal=self._signal)
        await self._count_applied(applied)
        return applied.events

    async def _store(self, arrivals: Sequence[Arrival]) -> int:
        try:
            async with self._database.transaction() as connection:
                stored = await store_events(connection, arrivals)
        except ProgramLimitExceeded as error:
            raise UnstorableError(error.sqlstate) from None
        self._told.set()
        return len(stored)

    async def _count_applied(self, applied: Applied) -> None:
        self._metrics.applied.inc(applied.events)
        if applied.hints:
            await notify(self._database, OUTBOX_CHANNEL)

    async def _apply(self, suspect: _Suspect | None) -> int:
        self._told.clear()
        only = suspect.event if suspect else None
        async with self._database.transaction() as connection:
            applied = await apply_events(connection, limit=self._batch, signal=self._signal, only=only)
        await self._count_applied(applied)
        return applied.events

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._told.wait(), _POLL_S)
        except TimeoutError:
            return

    async def _whom_to_suspect(self, suspect: _Suspect) -> _Suspect | None:
        """The oldest event that nobody else has in hand, with its failures so far; None: there is none any more."""
        async with self._database.transaction() as connection:
            oldest = await oldest_waiting(connection)
        if oldest is None or oldest == suspect.event:
            return suspect if oldest else None
        return _Suspect(oldest)

    async def _after(self, suspect: _Suspect | None, error: Exception) -> _Suspect | None:
        """Whom to try by itself: what fails again and again is set aside by its id, never tried in a circle."""
        suspect = _Suspect(suspect.event, suspect.failures + 1) if suspect else _Suspect()
        await asyncio.sleep(0.05 * (suspect.failures + 1))
        if suspect.event is None or suspect.failures < _TRIES_ALONE:
            return suspect
        try:
            async with self._database.transaction() as connection:
                await set_aside(connection, suspect.event, error=type(error).__name__)
        except DatabaseAway:
            return suspect
        self._metrics.unusable.labels("not_applied").inc()
        return None


def _finish(waiters: Sequence[_Waiter]) -> None:
    for waiter in waiters:
        if not waiter.done.done():
            waiter.done.set_result(None)


def _fail(waiters: Sequence[_Waiter], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.done.done():
            waiter.done.set_exception(error)
