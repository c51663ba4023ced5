"""The dispatcher: turns due rows into executions, told at once and polling as a fallback.

It is safe in any number of processes. While Temporal is away the rows simply wait.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from prometheus_client import Counter, Histogram
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.common import WorkflowIDConflictPolicy as Conflict
from temporalio.common import WorkflowIDReusePolicy as Reuse
from temporalio.exceptions import WorkflowAlreadyStartedError

from waypost.messaging.values import Lane
from waypost.relay.executions import attributes_of
from waypost.store.database import Database
from waypost.store.dispatch import Due, pick, return_to_rows
from workflows.message import MessageInput
from workflows.names import (
    MESSAGE_WORKFLOW,
    message_workflow_id,
    task_queue,
)

logger = logging.getLogger(__name__)

POLL = timedelta(milliseconds=250)
AHEAD = timedelta(milliseconds=250)
"""Rows due before the next poll are started now; the send activity waits out what is left."""
BATCH = 100
STARTS_AT_ONCE = 16
START_TIMEOUT = timedelta(seconds=2)
RETURN_WAIT = timedelta(seconds=1)
_FAST_PRIORITY, _BULK_PRIORITY = 1, 3

_STARTED = Counter("waypost_dispatched_total", "Executions started for due rows", ["lane"])
_RETURNED = Counter(
    "waypost_dispatch_returned_total", "Rows given back because no execution could be started", ["lane"]
)
_START_TIME = Histogram("waypost_start_workflow_seconds", "Time of one start_workflow call")


class Dispatcher:
    """The dispatch loop of one lane in this process."""

    def __init__(self, database: Database, client: Callable[[], Client | None], lane: Lane) -> None:
        self._database = database
        self._client = client
        self._lane = lane
        self._told = asyncio.Event()
        self._starting = asyncio.Semaphore(STARTS_AT_ONCE)
        self._breaker = Breaker()

    def tell(self) -> None:
        """Rows may be due: look now."""
        self._told.set()

    async def run_once(self) -> int:
        """Start what is due; how many rows were picked.

        Whoever cancels it meanwhile, it runs to its end: a row that was picked gets its execution or goes back.
        """
        picking = asyncio.ensure_future(self._pick_and_start())
        try:
            return await asyncio.shield(picking)
        except asyncio.CancelledError:
            await asyncio.wait([picking])
            raise

    async def _pick_and_start(self) -> int:
        client = self._client()
        if client is None or self._breaker.is_open():
            return 0
        async with self._database.transaction() as connection:
            due = await pick(connection, lane=self._lane, ahead=AHEAD, batch=self._breaker.width(BATCH))
        if due:
            results = await asyncio.gather(*(self._start(client, message) for message in due))
            await self._give_back([message for message, started in zip(due, results, strict=True) if not started])
        return len(due)

    async def wait(self) -> None:
        """Until told, or until the next poll."""
        try:
            await asyncio.wait_for(self._told.wait(), POLL.total_seconds())
        except TimeoutError:
            return
        self._told.clear()

    async def _start(self, client: Client, message: Due) -> bool:
        async with self._starting:
            if self._breaker.is_open():
                return False
            try:
                with _START_TIME.time():
                    await asyncio.wait_for(start_message(client, message, self._lane), START_TIMEOUT.total_seconds())
            except WorkflowAlreadyStartedError:
                # Its last execution has not closed yet, or closed without an outcome: the row comes again.
                logger.info("execution still open", extra={"message_id": str(message.id)})
                self._breaker.succeeded()
                return False
            except Exception as error:  # whatever it was: this row goes back, and the others of its batch are started
                logger.warning("start_workflow failed", extra={"error": type(error).__name__})
                self._breaker.failed()
                return False
        self._breaker.succeeded()
        _STARTED.labels(self._lane).inc()
        return True

    async def _give_back(self, messages: list[Due]) -> None:
        if not messages:
            return
        _RETURNED.labels(self._lane).inc(len(messages))
        async with self._database.transaction() as connection:
            await return_to_rows(connection, messages=messages, wait=RETURN_WAIT)


class Breaker:
    """Opens after a few failed starts in a row and lets one try through when its pause is over."""

    def __init__(self, *, limit: int = 3, pause_s: float = 1.0) -> None:
        self._limit = limit
        self._pause_s = pause_s
        self._failures = 0
        self._closed_at = 0.0

    def is_open(self) -> bool:
        """Whether starts are pointless for now."""
        return self._failures >= self._limit and asyncio.get_running_loop().time() < self._closed_at

    def width(self, all_of_them: int) -> int:
        """How many starts to try: one, while it is not known that Temporal is back."""
        return 1 if self._failures >= self._limit else all_of_them

    def failed(self) -> None:
        """A start failed."""
        self._failures += 1
        self._closed_at = asyncio.get_running_loop().time() + self._pause_s

    def succeeded(self) -> None:
        """Temporal answers."""
        self._failures = 0


async def start_message(client: Client, message: Due, lane: Lane) -> None:
    """Start `message/<id>`.

    The first time, a closed execution of that id means that the row is (being) settled: only a failed one may be
    followed. A row that was put back has had an execution that completed: any may be followed, none joined.
    """
    again = message.dispatches > 1
    await client.start_workflow(
        MESSAGE_WORKFLOW,
        MessageInput(str(message.tenant_id), str(message.id)),
        id=message_workflow_id(message.id),
        task_queue=queue_for(message.tenant_id, message.placement, lane),
        id_reuse_policy=Reuse.ALLOW_DUPLICATE if again else Reuse.ALLOW_DUPLICATE_FAILED_ONLY,
        id_conflict_policy=Conflict.FAIL if again else Conflict.USE_EXISTING,
        task_timeout=timedelta(seconds=5),
        static_summary=f"{message.source} {message.channel}, {message.class_}",
        static_details=f"Tenant `{message.tenant_id}`, lane {lane}. The whole story: `GET /v1/messages/{message.id}`.",
        search_attributes=attributes_of(
            message.tenant_id, kind=MESSAGE_WORKFLOW, source=message.source, state="sending"
        ),
        priority=Priority(
            priority_key=_FAST_PRIORITY if lane is Lane.FAST else _BULK_PRIORITY, fairness_key=str(message.tenant_id)
        ),
    )


def queue_for(tenant: UUID, placement: str, lane: Lane) -> str:
    """The queue that a tenant's new executions go to."""
    return task_queue(placement=placement, tenant=tenant, lane=lane)
