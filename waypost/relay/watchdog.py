"""Finds dispatched messages whose execution is gone. Liveness comes from Temporal, never from a clock.

It only puts the row back, to be started again under the same id: it inserts nothing, voids nothing, calls no provider.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from prometheus_client import Counter
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from waypost.messaging.values import Lane
from waypost.store.database import Database
from waypost.store.sweeps import Key, return_orphans, suspected_orphans
from workflows.names import message_workflow_id

logger = logging.getLogger(__name__)

SUSPECT_AGE = timedelta(seconds=30)
BATCH = 50
_AT_ONCE = 8
_ASK_TIMEOUT_S = 2.0
_SPARE_S = 60.0
_MAX_SPARED = 5_000

_RETURNED = Counter("waypost_orphans_returned_total", "Dispatched rows whose execution was gone", ["lane"])


class Watchdog:
    """Asks Temporal about one lane's dispatched messages, each at most once a minute."""

    def __init__(
        self,
        database: Database,
        client: Callable[[], Client | None],
        lane: Lane,
        *,
        suspect_age: timedelta = SUSPECT_AGE,
    ) -> None:
        self._suspect_age = suspect_age
        self._database = database
        self._client = client
        self._lane = lane
        self._asked: dict[UUID, float] = {}
        self._width = asyncio.Semaphore(_AT_ONCE)

    async def look(self) -> bool:
        """Ask about a batch of suspects and put orphans back; whether more may wait."""
        client = self._client()
        if client is None:
            return False
        self._forget()
        async with self._database.transaction() as connection:
            suspects = await suspected_orphans(
                connection, lane=self._lane, age=self._suspect_age, spared=list(self._asked), limit=BATCH
            )
        gone = await asyncio.gather(*(self._is_gone(client, message) for _, message in suspects))
        orphans = [suspect for suspect, is_gone in zip(suspects, gone, strict=True) if is_gone]
        await self._put_back(orphans)
        return len(suspects) == BATCH

    async def _put_back(self, orphans: list[Key]) -> None:
        if not orphans:
            return
        async with self._database.transaction() as connection:
            returned = await return_orphans(connection, orphans, age=self._suspect_age)
        _RETURNED.labels(self._lane).inc(returned)
        logger.warning("orphans returned", extra={"count": returned, "lane": self._lane.value})

    async def _is_gone(self, client: Client, message: UUID) -> bool:
        """Only when Temporal says so: closed, or not there. Silence means nothing."""
        async with self._width:
            try:
                async with asyncio.timeout(_ASK_TIMEOUT_S):
                    described = await client.get_workflow_handle(message_workflow_id(message)).describe()
            except RPCError as error:
                return error.status is RPCStatusCode.NOT_FOUND
            except (TimeoutError, RuntimeError):  # a lazy client that cannot connect
                return False
        self._asked[message] = time.monotonic()
        return described.status not in (WorkflowExecutionStatus.RUNNING, None)

    def _forget(self) -> None:
        oldest = time.monotonic() - _SPARE_S
        self._asked = {message: at for message, at in self._asked.items() if at > oldest}
        if len(self._asked) > _MAX_SPARED:
            self._asked.clear()
