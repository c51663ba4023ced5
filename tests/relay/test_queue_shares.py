"""Which queues a process polls: each tenant's by exactly one process, followed within seconds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from uuid import UUID, uuid4, uuid5

from hypothesis import given
from hypothesis import strategies as st

from tests.relay.ledger import Ledger
from waypost.messaging.values import Lane
from waypost.relay.placement import Placement, chosen, queues_of
from waypost.store.database import Database
from waypost.store.worker_processes import ServedTenant
from workflows.names import task_queue

_processes = st.lists(st.uuids(version=4), min_size=1, max_size=6, unique=True)
_tenants = st.lists(st.uuids(version=4), max_size=40, unique=True)


def _served(tenants: list[UUID]) -> list[ServedTenant]:
    return [ServedTenant(tenant, "own") for tenant in tenants]


def _shares(processes: list[UUID], tenants: list[UUID]) -> dict[UUID, frozenset[str]]:
    return {
        process: queues_of(process, processes=processes, tenants=_served(tenants), lane=Lane.FAST)
        for process in processes
    }


@given(_processes, _tenants)
def test_every_queue_is_polled_by_exactly_one_process(processes: list[UUID], tenants: list[UUID]) -> None:
    counts = Counter(queue for share in _shares(processes, tenants).values() for queue in share)
    assert set(counts) == {task_queue(placement="own", tenant=tenant, lane=Lane.FAST) for tenant in tenants}
    assert set(counts.values()) <= {1}


@given(_processes, _tenants)
def test_the_order_in_which_processes_are_listed_does_not_matter(processes: list[UUID], tenants: list[UUID]) -> None:
    assert _shares(processes, tenants) == _shares(processes[::-1], tenants[::-1])


@given(_processes, st.uuids(version=4), _tenants)
def test_a_process_that_comes_takes_only_its_own_share(processes: list[UUID], comer: UUID, tenants: list[UUID]) -> None:
    before = _shares(processes, tenants)
    after = _shares([*processes, comer], tenants)
    for process in processes:
        assert after[process] <= before[process]
        assert before[process] - after[process] <= after[comer]


@given(_processes.filter(lambda some: len(some) > 1), _tenants)
def test_a_process_that_goes_moves_only_its_own_share(processes: list[UUID], tenants: list[UUID]) -> None:
    before = _shares(processes, tenants)
    after = _shares(processes[1:], tenants)
    for process in processes[1:]:
        assert before[process] <= after[process]
        assert after[process] - before[process] <= before[processes[0]]


def test_shares_are_about_equal() -> None:
    root = UUID(int=0)
    processes = [uuid5(root, f"process {number}") for number in range(4)]
    tenants = [uuid5(root, f"tenant {number}") for number in range(400)]
    sizes = [len(share) for share in _shares(processes, tenants).values()]
    assert min(sizes) > 60
    assert max(sizes) < 150


def test_a_pool_is_polled_by_every_process_and_a_lone_process_polls_everything() -> None:
    processes = [uuid4(), uuid4()]
    pooled = [ServedTenant(uuid4(), "pool-01"), ServedTenant(uuid4(), "pool-01")]
    for process in processes:
        assert queues_of(process, processes=processes, tenants=pooled, lane=Lane.BULK) == {"pool-01/bulk"}
    assert chosen("any", tuple(processes[:1])) == processes[0]


class Process:
    """A process that follows tenants and does nothing else."""

    def __init__(self, store: Database, lane: Lane = Lane.FAST) -> None:
        self.queues: frozenset[str] = frozenset()
        self.placement = Placement(store, lane, self._set)
        self._task = asyncio.create_task(self.placement.run())

    async def _set(self, queues: frozenset[str]) -> None:
        self.queues = queues

    async def wait(self, condition: object, *, seconds: float = 4) -> float:
        assert callable(condition)
        started = time.monotonic()
        while not condition(self.queues):
            assert time.monotonic() - started < seconds, sorted(self.queues)
            await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.placement.leave()

    def kill(self) -> None:
        """As `kill -9` would: nobody is told."""
        self._task.cancel()


async def test_tenants_are_followed_as_they_come_and_go(store: Database, ledger: Ledger) -> None:
    process = Process(store)
    own = task_queue(placement="own", tenant=ledger.tenant, lane=Lane.FAST)
    await process.wait(lambda queues: own in queues)
    new, _ = await ledger.add_tenant(ledger.account)
    queue = task_queue(placement="own", tenant=new, lane=Lane.FAST)
    assert await process.wait(lambda queues: queue in queues) < 3, "without being told"
    told, _ = await ledger.add_tenant(ledger.account)
    told_queue = task_queue(placement="own", tenant=told, lane=Lane.FAST)
    process.placement.tell()
    assert await process.wait(lambda queues: told_queue in queues) < 0.5, "at once when told"
    for state, polled in (("suspended", True), ("closing", True), ("closed", False)):
        await ledger.execute("UPDATE tenants SET state = %s WHERE id = %s", (state, new))
        process.placement.tell()
        await asyncio.sleep(0.15)
        assert (queue in process.queues) == polled, state
    await process.stop()


async def test_a_process_that_leaves_is_taken_over_at_once_and_one_that_dies_after_its_last_beat(
    store: Database, ledger: Ledger
) -> None:
    for _ in range(8):
        await ledger.add_tenant(ledger.account)
    first, second, third = (Process(store) for _ in range(3))
    everyone = [first, second, third]

    async def settle(processes: list[Process]) -> None:
        for process in processes:
            process.placement.tell()
        await asyncio.sleep(0.15)

    await settle(everyone)
    await settle(everyone)
    everything = first.queues | second.queues | third.queues
    assert sum(len(process.queues) for process in everyone) == len(everything)
    await third.stop()
    await settle([first, second])
    assert first.queues | second.queues == everything
    second.kill()
    await ledger.execute(
        "UPDATE worker_processes SET beat_at = beat_at - interval '11 s' WHERE id = %s", (second.placement.process,)
    )
    await settle([first])
    assert first.queues == everything
    await first.stop()
