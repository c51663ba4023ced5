"""One small Temporal Worker a queue in one process, sharing client, runtime and executors."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, UnsandboxedWorkflowRunner, Worker, WorkflowRunner

logger = logging.getLogger(__name__)

_CACHED_WORKFLOWS = 2000
"""A process's budget of cached executions, divided among its queues."""

_STOP_AT_ONCE = 50

_WORKFLOW_POLLERS = PollerBehaviorSimpleMaximum(3)
_ACTIVITY_POLLERS = PollerBehaviorSimpleMaximum(2)
"""Few and fixed: a long poll costs nothing while it waits, but the autoscaling ones of 300 idle Workers alone took
4 to 5 % of a core, seven times as much (docs/performance.md)."""


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
        self._draining: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Semaphore(_STOP_AT_ONCE)
        # The sandbox imports the workflow's module anew for each execution: a third of a worker's CPU. Lint bans what
        # it guards against, and the tests run every workflow inside it (docs/decisions/0003-no-sandbox.md).
        self._runner = runner or UnsandboxedWorkflowRunner()

    @property
    def queues(self) -> frozenset[str]:
        """What is polled now."""
        return frozenset(self._running)

    async def set_queues(self, wanted: frozenset[str]) -> None:
        """Poll exactly these queues: start what is new, let what is gone drain. Returns without waiting for calls.

        A queue that still drains is not started, for the SDK allows one Worker a queue: ask again in a moment.
        """
        self._drop_ended()
        for queue in sorted(wanted - self.queues - self._draining.keys()):
            self._start(queue, cached=max(10, _CACHED_WORKFLOWS // max(1, len(wanted))))
            await asyncio.sleep(0)
        self._drain(self.queues - wanted)

    async def close(self) -> None:
        """Stop polling, let activities in mid-call finish, and end."""
        self._drain(self.queues)
        if self._draining:
            await asyncio.wait(list(self._draining.values()))
        self._threads.shutdown(wait=False)

    def _start(self, queue: str, *, cached: int) -> None:
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
            workflow_task_poller_behavior=_WORKFLOW_POLLERS,
            activity_task_poller_behavior=_ACTIVITY_POLLERS,
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

    def _drain(self, queues: frozenset[str]) -> None:
        for queue in queues:
            worker, running = self._running.pop(queue)
            self._draining[queue] = asyncio.create_task(self._stop(queue, worker, running), name=f"drain {queue}")

    async def _stop(self, queue: str, worker: Worker, running: asyncio.Task[None]) -> None:
        try:
            async with self._stopping:
                await worker.shutdown()
                await asyncio.wait([running])
        finally:
            del self._draining[queue]
