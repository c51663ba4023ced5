"""One small Temporal Worker a queue in one process, sharing client, runtime and executors."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker, WorkflowRunner

logger = logging.getLogger(__name__)

_CACHED_WORKFLOWS = 2000
"""A process's budget of cached executions, divided among its queues."""

_STOP_AT_ONCE = 50


class QueueWorkers:
    """The Workers of this process, by task queue."""

    def __init__(
        self,
        client: Client,
        *,
        workflows: Sequence[type],
        activities: Sequence[Callable[..., Any]],
        graceful: timedelta,
        width: int,
        runner: WorkflowRunner | None = None,
    ) -> None:
        self._client = client
        self._workflows = workflows
        self._activities = activities
        self._graceful = graceful
        self._width = width
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="workflow-task")
        self._running: dict[str, tuple[Worker, asyncio.Task[None]]] = {}
        # The sandbox imports the workflow's module anew for each execution: a third of a worker's CPU. Lint bans what
        # it guards against, and the tests run every workflow inside it (docs/decisions/0003-no-sandbox.md).
        self._runner = runner or UnsandboxedWorkflowRunner()

    @property
    def queues(self) -> frozenset[str]:
        """What is polled now."""
        return frozenset(self._running)

    async def set_queues(self, wanted: frozenset[str]) -> None:
        """Poll exactly these queues: start what is new, drain what is gone."""
        self._drop_ended()
        for queue in sorted(wanted - self.queues):
            self._start(queue, cached=max(10, _CACHED_WORKFLOWS // max(1, len(wanted))))
            await asyncio.sleep(0)
        gone = self.queues - wanted
        if gone:
            await self._stop(gone)

    async def close(self) -> None:
        """Stop polling, let activities in mid-call finish, and end."""
        await self._stop(self.queues)
        self._threads.shutdown(wait=False)

    def _start(self, queue: str, *, cached: int) -> None:
        pollers = PollerBehaviorAutoscaling(minimum=1, initial=1, maximum=8)
        worker = Worker(
            self._client,
            task_queue=queue,
            workflows=self._workflows,
            activities=self._activities,
            workflow_task_executor=self._threads,
            workflow_runner=self._runner,
            max_cached_workflows=cached,
            max_concurrent_activities=self._width,
            max_concurrent_workflow_tasks=max(2, self._width),
            workflow_task_poller_behavior=pollers,
            activity_task_poller_behavior=pollers,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            graceful_shutdown_timeout=self._graceful,
            disable_eager_activity_execution=True,
        )
        self._running[queue] = (worker, asyncio.create_task(worker.run(), name=f"worker {queue}"))

    def _drop_ended(self) -> None:
        """A Worker that died is started again by the next look."""
        for queue, (_, task) in list(self._running.items()):
            if task.done():
                error = None if task.cancelled() else task.exception()
                logger.error("a Worker ended", extra={"queue": queue, "error": type(error).__name__})
                del self._running[queue]

    async def _stop(self, queues: frozenset[str]) -> None:
        limit = asyncio.Semaphore(_STOP_AT_ONCE)

        async def stop(worker: Worker, task: asyncio.Task[None]) -> None:
            async with limit:
                await worker.shutdown()
                await asyncio.wait([task])

        stopping = [self._running.pop(queue) for queue in queues]
        await asyncio.gather(*(stop(worker, task) for worker, task in stopping))
