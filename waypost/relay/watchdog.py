"""Finds dispatched messages whose execution is gone. Liveness comes from Temporal, never from a clock.

It only puts the row back, to be started again under the same id: it inserts nothing, voids nothing, calls no provider.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from prometheus_client import Counter
from temporalio.client import Client

from waypost.messaging.values import Lane
from waypost.relay.executions import Liveness
from waypost.store.database import Database
from waypost.store.sweeps import Key, Suspect, return_orphans, suspected_orphans
from workflows.names import message_workflow_id

logger = logging.getLogger(__name__)

SUSPECT_AGE = timedelta(seconds=30)
BATCH = 50
_ROUND = 2
"""A round takes at least so many times the suspect age."""

_RETURNED = Counter("waypost_orphans_returned_total", "Dispatched rows whose execution was gone", ["lane"])


class Watchdog:
    """Asks Temporal about one lane's dispatched messages: round by round from the oldest, a round a minute at most.

    A place is all that it remembers, so that a round comes to the last of any number of messages.
    """

    def __init__(
        self,
        database: Database,
        client: Callable[[], Client | None],
        lane: Lane,
        *,
        suspect_age: timedelta = SUSPECT_AGE,
        batch: int = BATCH,
    ) -> None:
        self._suspect_age = suspect_age
        self._database = database
        self._client = client
        self._lane = lane
        self._batch = batch
        self._place: Suspect | None = None
        self._round_ends = 0.0
        self._liveness = Liveness()

    async def look(self) -> bool:
        """Ask about a batch of suspects and put orphans back; whether more may wait."""
        client = self._client()
        if client is None:
            return False
        suspects = await self._suspects()
        gone = await self._liveness.gone(client, [message_workflow_id(suspect.key[1]) for suspect in suspects])
        await self._put_back([suspect.key for suspect, is_gone in zip(suspects, gone, strict=True) if is_gone])
        if all(is_gone is None for is_gone in gone):  # Temporal is away, or there was nothing to ask
            return False
        self._place = suspects[-1]
        return len(suspects) == self._batch

    async def _suspects(self) -> list[Suspect]:
        """The next ones. Messages that become suspects join the round's end; a new round waits for its time."""
        if self._place is not None:
            suspects = await self._next()
            if suspects or time.monotonic() < self._round_ends:
                return suspects
        self._place = None
        self._round_ends = time.monotonic() + _ROUND * self._suspect_age.total_seconds()
        return await self._next()

    async def _next(self) -> list[Suspect]:
        async with self._database.transaction() as connection:
            return await suspected_orphans(
                connection, lane=self._lane, age=self._suspect_age, after=self._place, limit=self._batch
            )

    async def _put_back(self, orphans: list[Key]) -> None:
        if not orphans:
            return
        async with self._database.transaction() as connection:
            returned = await return_orphans(connection, orphans, age=self._suspect_age)
        _RETURNED.labels(self._lane).inc(returned)
        logger.warning("orphans returned", extra={"count": returned, "lane": self._lane.value})
