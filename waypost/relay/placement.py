"""Which queues this worker process polls: its share of the tenants, followed within seconds."""

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from uuid import UUID, uuid4

from waypost.messaging.values import Lane
from waypost.store.database import Database, DatabaseAway
from waypost.store.worker_processes import ServedTenant, alive, beat, forget, processes_of_host, served_tenants
from workflows.names import OWN_PLACEMENT, task_queue

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0

SetQueues = Callable[[frozenset[str]], Awaitable[None]]


class Placement:
    """Beats, looks who else is there, and tells `set_queues` what this process has to poll."""

    def __init__(self, database: Database, lane: Lane, set_queues: SetQueues) -> None:
        self.process = uuid4()
        self._database = database
        self._lane = lane
        self._set_queues = set_queues
        self._told = asyncio.Event()

    def tell(self) -> None:
        """Tenants changed: look now."""
        self._told.set()

    async def run(self) -> None:
        """Follow tenants for ever; while PostgreSQL is away the queues stay as they are."""
        cleared = False
        while True:
            try:
                if not cleared:
                    await self._forget_the_dead()
                    cleared = True
                await self._set_queues(await self._look())
            except DatabaseAway as error:
                logger.warning("placement not read", extra={"error": type(error).__name__})
            await self._wait()

    async def leave(self) -> None:
        """Others may take over at once."""
        try:
            async with self._database.transaction() as connection:
                await forget(connection, processes=[self.process])
        except DatabaseAway as error:
            logger.warning("process not forgotten", extra={"error": type(error).__name__})

    async def _forget_the_dead(self) -> None:
        """One that was killed here and started again as us must not keep its share until its beat is old."""
        async with self._database.transaction() as connection:
            known = await processes_of_host(connection, host=socket.gethostname())
            dead = [process for process, pid in known if pid == os.getpid() or not _is_running(pid)]
            await forget(connection, processes=dead)

    async def _look(self) -> frozenset[str]:
        async with self._database.transaction() as connection:
            await beat(connection, process=self.process, lane=self._lane, host=socket.gethostname(), pid=os.getpid())
            processes = await alive(connection, lane=self._lane)
            tenants = await served_tenants(connection)
        return queues_of(self.process, processes=processes, tenants=tenants, lane=self._lane)

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._told.wait(), _LOOK_EVERY_S)
        except TimeoutError:
            return
        self._told.clear()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def queues_of(
    process: UUID, *, processes: Sequence[UUID], tenants: Sequence[ServedTenant], lane: Lane
) -> frozenset[str]:
    """This process's queues by rendezvous hashing; pools are polled by every process, for they are what is shared."""
    candidates = tuple(processes) or (process,)
    queues = set()
    for tenant in tenants:
        queue = task_queue(placement=tenant.placement, tenant=tenant.id, lane=lane)
        if tenant.placement != OWN_PLACEMENT or chosen(queue, candidates) == process:
            queues.add(queue)
    return frozenset(queues)


@lru_cache(maxsize=10_000)
def chosen(queue: str, processes: tuple[UUID, ...]) -> UUID:
    """The process with the highest hash for this queue: one that comes or goes moves only its own share.

    Kept, for each process asks for every queue each two seconds and the answer changes with the processes alone.
    """
    return max(processes, key=lambda process: hashlib.blake2b(f"{process}/{queue}".encode(), digest_size=8).digest())
