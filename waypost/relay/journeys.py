"""Starts what drives enrollments, and starts it again where Temporal says that it is gone; wakes whom a pause held.

It moves no enrollment but its own note of having asked: what becomes of somebody is decided by their execution alone.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from prometheus_client import Counter
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.common import WorkflowIDConflictPolicy as Conflict
from temporalio.common import WorkflowIDReusePolicy as Reuse

from waypost.messaging.values import Lane
from waypost.relay.dispatch import queue_for
from waypost.relay.executions import Liveness, attributes_of
from waypost.relay.loops import Loop
from waypost.relay.reconcile import Sweeper
from waypost.store.database import Database
from waypost.store.journey_driving import (
    ToStart,
    ask_again,
    end_of_closed_tenants,
    enrollments_to_start,
    overdue_enrollments,
    wake,
    wake_resumed,
)
from workflows.journey import JourneyInput
from workflows.names import (
    JOURNEY_WORKFLOW,
    journey_workflow_id,
)

logger = logging.getLogger(__name__)

JOURNEYS_LOOP = "journeys"
OVERDUE = timedelta(seconds=60)
BATCH = 100
STARTS_AT_ONCE = 16
_START_TIMEOUT_S = 2.0
_PRIORITY = 2
"""Within the bulk lane journeys come before campaigns."""

_STARTED = Counter("waypost_journey_executions_started_total", "Executions that were started for enrollments")
_LOST = Counter("waypost_journey_executions_lost_total", "Enrollments whose execution was gone")


class JourneyStarter:
    """One look starts the executions of a batch of enrollments."""

    def __init__(self, database: Database, client: Callable[[], Client | None]) -> None:
        self._database = database
        self._client = client
        self._width = asyncio.Semaphore(STARTS_AT_ONCE)

    async def look(self) -> bool:
        """Start what nobody has asked for; whether more may wait."""
        client = self._client()
        if client is None:
            return False
        async with self._database.transaction() as connection:
            waiting = await enrollments_to_start(connection, limit=BATCH)
        started = await asyncio.gather(*(self._start(client, one) for one in waiting))
        failed = [(one.tenant_id, one.id) for one, ok in zip(waiting, started, strict=True) if not ok]
        if failed:
            async with self._database.transaction() as connection:
                await ask_again(connection, failed)
        return len(waiting) == BATCH and not failed

    async def _start(self, client: Client, enrollment: ToStart) -> bool:
        async with self._width:
            try:
                await asyncio.wait_for(start_journey(client, enrollment), _START_TIMEOUT_S)
            except Exception as error:  # whatever it was: it is asked for again
                logger.warning("journey not started", extra={"error": type(error).__name__})
                return False
        _STARTED.inc()
        return True


async def start_journey(client: Client, enrollment: ToStart) -> None:
    """Start `journey/<enrollment id>`, or find it running. A closed one may be followed: the row is open."""
    await client.start_workflow(
        JOURNEY_WORKFLOW,
        JourneyInput(str(enrollment.tenant_id), str(enrollment.id), str(enrollment.version_id), enrollment.plan),
        id=journey_workflow_id(enrollment.id),
        task_queue=queue_for(enrollment.tenant_id, enrollment.placement, Lane.BULK),
        id_reuse_policy=Reuse.ALLOW_DUPLICATE,
        id_conflict_policy=Conflict.USE_EXISTING,
        task_timeout=timedelta(seconds=10),
        static_summary=f"journey, version {enrollment.number}, entered by {enrollment.source}",
        static_details=f"Tenant `{enrollment.tenant_id}`. Why: `GET /v1/enrollments/{enrollment.id}/explain`.",
        search_attributes=attributes_of(
            enrollment.tenant_id, kind=JOURNEY_WORKFLOW, source=enrollment.source, state="open"
        ),
        priority=Priority(priority_key=_PRIORITY, fairness_key=str(enrollment.tenant_id)),
    )


class JourneyWatchdog:
    """Asks Temporal about enrollments that should have decided something by now."""

    def __init__(self, database: Database, client: Callable[[], Client | None], *, overdue: timedelta) -> None:
        self._database = database
        self._client = client
        self._overdue = overdue
        self._liveness = Liveness()

    async def look(self) -> bool:
        """Have those started again whose execution is gone, and hint at the others."""
        client = self._client()
        if client is None:
            return False
        async with self._database.transaction() as connection:
            suspects = await overdue_enrollments(connection, age=self._overdue, limit=BATCH)
        gone = await self._liveness.gone(client, [journey_workflow_id(one) for _, one in suspects])
        lost = [key for key, is_gone in zip(suspects, gone, strict=True) if is_gone]
        there = [key[1] for key, is_gone in zip(suspects, gone, strict=True) if is_gone is False]
        async with self._database.transaction() as connection:
            if lost:
                await ask_again(connection, lost)
            if there:
                await wake(connection, there)
        _LOST.inc(len(lost))
        if lost:
            logger.warning("journeys asked for again", extra={"count": len(lost)})
        return False


def journey_loops(
    database: Database, client: Callable[[], Client | None], *, overdue: timedelta = OVERDUE
) -> list[Loop]:
    """The journeys' loops of one process of the bulk lane (role waypost_relay)."""
    sweep = Sweeper(database)
    return [
        Loop(name=JOURNEYS_LOOP, interval_s=1, work=JourneyStarter(database, client).look),
        Loop(name="journeys-overdue", interval_s=10, work=JourneyWatchdog(database, client, overdue=overdue).look),
        Loop(name="journeys-resumed", interval_s=1, work=sweep.once("enrollment_woken", wake_resumed)),
        Loop(name="journeys-of-closed", interval_s=5, work=sweep.once("enrollment_closed", end_of_closed_tenants)),
    ]
