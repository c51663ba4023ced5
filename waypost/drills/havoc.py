"""What kill-nine does to a stack besides kills: restarts, a store rolled back, executions terminated by hand."""

import asyncio
import math
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from waypost.drills.fault_points import API_POINTS, INGEST_POINTS, WORKER_POINTS
from waypost.drills.killer import Killer
from waypost.drills.staging import API, INGEST, WORKER, Staging
from waypost.store.audit import claim_count, dispatched_messages
from workflows.names import message_workflow_id

TERMINATED_SHARE = 0.01
_LOOK_EVERY_S = 0.25
_COUNT_EVERY_S = 0.2


class Restarts:
    """PostgreSQL and Temporal, one after the other, while work goes on; and once Temporal's store rolled back."""

    def __init__(
        self,
        staging: Staging,
        schedule: Sequence[tuple[str, signal.Signals]],
        *,
        every_s: float,
        roll_back_s: float | None,
    ) -> None:
        self._staging = staging
        self._schedule = schedule
        self._every_s = every_s
        self._roll_back_s = roll_back_s
        self.done = 0
        self.rolled_back = 0

    async def run(self) -> None:
        """All of them."""
        for process, how in self._schedule:
            await asyncio.sleep(self._every_s)
            await self._staging.restart(process, how)
            self.done += 1
        if self._roll_back_s is not None:
            await asyncio.sleep(self._every_s)
            await self._roll_back(self._staging.data / "temporal-copy.db", self._roll_back_s)

    async def _roll_back(self, copy: Path, seconds: float) -> None:
        await asyncio.to_thread(self._staging.copy_temporal, copy)
        await asyncio.sleep(seconds)
        await self._staging.roll_back_temporal(copy)
        self.rolled_back += 1


class Terminations:
    """Somebody terminates open executions by hand, one in a hundred messages."""

    def __init__(self, staging: Staging, *, messages: Callable[[], int], seed: int) -> None:
        self._staging = staging
        self._messages = messages
        self._random = random.Random(seed)
        self.done = 0

    @property
    def wanted(self) -> int:
        """How many there should be by now."""
        return math.ceil(TERMINATED_SHARE * self._messages())

    async def run(self) -> None:
        """Until cancelled, a little ahead of the share."""
        client = await self._staging.temporal()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self.done <= self.wanted:
                await self._terminate_one(client)

    async def _terminate_one(self, client: Client) -> None:
        open_now = await self._staging.read(dispatched_messages)
        if not open_now:
            return
        message = self._random.choice(open_now)
        try:
            async with asyncio.timeout(2):
                await client.get_workflow_handle(message_workflow_id(message)).terminate(reason="drill")
        except (RPCError, TimeoutError):  # closed meanwhile, or Temporal is away
            return
        self.done += 1


class Kills:
    """The killers of worker, API and ingest."""

    def __init__(self, staging: Staging, *, worker: int, api: int, ingest: int, pause_s: float) -> None:
        self._staging = staging
        self._counted, self._counted_at = 0, 0.0
        self.worker = Killer(staging.points(WORKER), WORKER_POINTS, times=worker, work=self._claims)
        self.api = Killer(staging.points(API), API_POINTS, times=api, work=self._claims, pause_s=pause_s)
        self.ingest = Killer(staging.points(INGEST), INGEST_POINTS, times=ingest, work=self._claims, pause_s=pause_s)

    async def run(self) -> None:
        """All of them, side by side."""
        async with asyncio.TaskGroup() as group:
            for killer in (self.worker, self.api, self.ingest):
                group.create_task(killer.run())

    @property
    def done(self) -> int:
        """Kills so far."""
        return self.worker.done + self.api.done + self.ingest.done

    @property
    def wanted(self) -> int:
        """Kills in all."""
        return self.worker.wanted + self.api.wanted + self.ingest.wanted

    async def _claims(self) -> int:
        """Counted a few times a second, however many ask."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at > _COUNT_EVERY_S:
            self._counted_at = now
            self._counted = await self._staging.read(claim_count)
        return self._counted
