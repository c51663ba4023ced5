"""Which process serves which tenant, and who still counts as a process."""

import asyncio
import os
import socket
from uuid import UUID, uuid4

from tests.relay.ledger import Ledger
from waypost.messaging.values import Lane
from waypost.relay.placement import Placement, queues_of
from waypost.store.database import Database
from waypost.store.worker_processes import ServedTenant


async def placed(store: Database) -> tuple[Placement, frozenset[str]]:
    """A process's first look."""
    told: asyncio.Future[frozenset[str]] = asyncio.get_running_loop().create_future()

    async def set_queues(queues: frozenset[str]) -> None:
        if not told.done():
            told.set_result(queues)

    placement = Placement(store, Lane.FAST, set_queues)
    running = asyncio.create_task(placement.run())
    queues = await told
    running.cancel()
    return placement, queues


async def beats(ledger: Ledger, *, host: str, pid: int) -> UUID:
    process = uuid4()
    await ledger.execute(
        "INSERT INTO worker_processes (id, lane, host, pid) VALUES (%s, 'fast', %s, %s)", (process, host, pid)
    )
    return process


async def known(ledger: Ledger) -> set[UUID]:
    return {row["id"] for row in await ledger.execute("SELECT id FROM worker_processes")}


async def test_a_process_killed_on_this_host_keeps_no_share_once_another_starts(
    store: Database, ledger: Ledger
) -> None:
    await ledger.execute("DELETE FROM worker_processes")
    killed = await beats(ledger, host=socket.gethostname(), pid=2**22 + 1)
    predecessor = await beats(ledger, host=socket.gethostname(), pid=os.getpid())
    living = await beats(ledger, host=socket.gethostname(), pid=os.getppid())
    elsewhere = await beats(ledger, host="elsewhere", pid=2**22 + 1)
    placement, _ = await placed(store)
    assert await known(ledger) == {placement.process, living, elsewhere}
    assert not {killed, predecessor} & await known(ledger)


def test_every_queue_is_served_by_exactly_one_of_several_processes() -> None:
    processes = [uuid4() for _ in range(3)]
    tenants = [ServedTenant(uuid4(), "own") for _ in range(50)]
    shares = [queues_of(p, processes=processes, tenants=tenants, lane=Lane.FAST) for p in processes]
    assert sum(map(len, shares)) == 50
    assert len(frozenset().union(*shares)) == 50
    assert all(shares)
