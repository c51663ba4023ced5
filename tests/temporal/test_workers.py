"""Workers that follow queues: started, drained without waiting, started again; Temporal may be away meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.worker import UnsandboxedWorkflowRunner

from waypost.settings import TemporalSettings
from waypost.stack.temporal import TemporalServer
from waypost.temporal.client import connect
from waypost.temporal.workers import QueueWorkers


@workflow.defn(name="ask", sandboxed=False)
class Ask:
    """Runs the slow activity once."""

    @workflow.run
    async def run(self, _: str) -> str:
        answer: str = await workflow.execute_activity("slow", start_to_close_timeout=timedelta(seconds=10))
        return answer


class Slow:
    """An activity that takes as long as the test likes."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()
        self.order: list[str] = []

    @activity.defn(name="slow")
    async def slow(self) -> str:
        self.order.append(activity.info().workflow_id or "")
        self.entered.set()
        await self.let_go.wait()
        return "done"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(temporal_server: TemporalServer) -> Client:
    return await connect(TemporalSettings(address=temporal_server.address))


@pytest.fixture
async def slow() -> Slow:
    return Slow()


@pytest.fixture
async def workers(client: Client, slow: Slow) -> AsyncIterator[QueueWorkers]:
    made = QueueWorkers(
        client,
        workflows=[Ask],
        activities=[slow.slow],
        graceful=timedelta(seconds=5),
        width=1,
        runner=UnsandboxedWorkflowRunner(),
    )
    yield made
    slow.let_go.set()
    await made.close()


async def ask(client: Client, queue: str, *, id_: str | None = None, priority: Priority = Priority.default) -> str:
    """One execution's result."""
    result: str = await client.execute_workflow(
        Ask.run, "x", id=id_ or str(uuid4()), task_queue=queue, priority=priority, task_timeout=timedelta(seconds=2)
    )
    return result


async def test_exactly_the_wanted_queues_are_polled(client: Client, workers: QueueWorkers, slow: Slow) -> None:
    slow.let_go.set()
    one, other = f"a-{uuid4()}", f"b-{uuid4()}"
    await workers.set_queues(frozenset({one}))
    assert await ask(client, one) == "done"
    await workers.set_queues(frozenset({other}))
    assert workers.queues == {other}
    assert await ask(client, other) == "done"


async def test_a_queue_drains_without_holding_up_the_others(client: Client, workers: QueueWorkers, slow: Slow) -> None:
    """Following tenants must not wait for a call of ten seconds: its beat would be missed and its share taken."""
    queue = f"a-{uuid4()}"
    await workers.set_queues(frozenset({queue}))
    asked = asyncio.create_task(ask(client, queue))
    await slow.entered.wait()
    started = time.monotonic()
    await workers.set_queues(frozenset())
    await workers.set_queues(frozenset({queue}))
    assert time.monotonic() - started < 0.5
    assert workers.queues == frozenset(), "the SDK allows one Worker a queue"
    slow.let_go.set()
    async with asyncio.timeout(5):
        while not workers.queues:
            await workers.set_queues(frozenset({queue}))
            await asyncio.sleep(0.05)
        assert await asked == "done"


async def test_closing_lets_a_call_finish(client: Client, slow: Slow) -> None:
    workers = QueueWorkers(client, workflows=[Ask], activities=[slow.slow], graceful=timedelta(seconds=5), width=1)
    queue = f"a-{uuid4()}"
    await workers.set_queues(frozenset({queue}))
    handle = await client.start_workflow(Ask.run, "x", id=str(uuid4()), task_queue=queue)
    await slow.entered.wait()
    closing = asyncio.create_task(workers.close())
    await asyncio.sleep(0.1)
    assert not closing.done()
    slow.let_go.set()
    await closing
    history = await handle.fetch_history()
    assert any(event.HasField("activity_task_completed_event_attributes") for event in history.events)


async def test_a_worker_that_ended_is_started_again_by_the_next_look(
    client: Client, workers: QueueWorkers, slow: Slow
) -> None:
    slow.let_go.set()
    queue = f"a-{uuid4()}"
    await workers.set_queues(frozenset({queue}))
    await asyncio.sleep(0.1)
    _, running = workers._running[queue]
    running.cancel()
    await asyncio.wait([running])
    await workers.set_queues(frozenset({queue}))
    assert workers.queues == {queue}
    assert await ask(client, queue) == "done"


async def test_an_urgent_execution_of_a_shared_queue_goes_first(
    client: Client, workers: QueueWorkers, slow: Slow
) -> None:
    queue = f"pool-{uuid4()}"
    waiting = []
    for number in range(6):
        name = f"{uuid4()}/{number}"
        priority = Priority(priority_key=1 if number == 5 else 3, fairness_key="t")
        await client.start_workflow(Ask.run, "x", id=name, task_queue=queue, priority=priority)
        waiting.append(name)
    slow.let_go.set()
    await workers.set_queues(frozenset({queue}))
    async with asyncio.timeout(10):
        for name in waiting:
            await client.get_workflow_handle(name).result()
    assert slow.order.index(waiting[5]) <= 2
