"""A simulation that runs: the workflow, the decisions, the gate and the loops, on the simulated clock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from temporalio import activity
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.budgets import Budgets
from activities.composing import Composer
from activities.contracts.journeys import JOURNEY_DECIDE_ACTIVITY, DecideInput, Decision, Next
from activities.contracts.sending import SEND_ACTIVITY, SendInput, SendResult
from activities.doors import Doors
from activities.journey_webhooks import Webhooks
from activities.journeys import JourneyActivities
from activities.sending import SendActivities
from waypost.messaging.link_tokens import LinkSigner
from waypost.messaging.values import Lane, TenantState
from waypost.messaging.webhooks import Poster
from waypost.relay.dispatch import Dispatcher
from waypost.relay.entries import entry_loops
from waypost.relay.journeys import JourneyStarter
from waypost.relay.loops import Loop
from waypost.relay.outbox import Outbox as Hints
from waypost.settings import DatabaseSettings
from waypost.simulation.clock import Clock
from waypost.simulation.doors import Outbox, simulated_account
from waypost.store.clocked import ClockedDatabase
from waypost.store.database import Role
from waypost.store.journey_driving import wake_resumed
from waypost.store.journey_due import Due, due
from waypost.store.tenants import move_tenant
from workflows.journey import JourneyWorkflow
from workflows.message import MessageWorkflow
from workflows.names import OWN_PLACEMENT, journey_workflow_id, task_queue

_KEY = "a-simulation-signs-links-with-this-key"
_BATCH = 500
_STRIDE = timedelta(days=30)
"""So far ahead at most the clock is moved at once: what wakes meanwhile is seen."""

_QUIET = 3
_NUDGE = timedelta(seconds=1)
"""A workflow waits so long before it looks again at a message that it could not send (workflows/journey.py)."""


class NotSettledError(Exception):
    """Something is under way and does not come to an end."""


class _Under:
    """How many activities run, and what each enrollment's last decision was."""

    def __init__(self) -> None:
        self.running = 0
        self.last: dict[str, Next] = {}

    @property
    def still(self) -> bool:
        return self.running == 0 and all(each in (Next.REST, Next.ENDED) for each in self.last.values())


class _Deciding(JourneyActivities):
    def __init__(self, under: _Under, **given: object) -> None:
        super().__init__(**given)  # type: ignore[arg-type]  # handed on as they are
        self._under = under

    @activity.defn(name=JOURNEY_DECIDE_ACTIVITY)
    async def decide(self, task: DecideInput) -> Decision:
        self._under.running += 1
        try:
            decision = await super().decide(task)
            self._under.last[task.enrollment_id] = decision.next
            return decision
        finally:
            self._under.running -= 1


class _Sending(SendActivities):
    def __init__(self, under: _Under, **given: object) -> None:
        super().__init__(**given)  # type: ignore[arg-type]  # handed on as they are
        self._under = under

    @activity.defn(name=SEND_ACTIVITY)
    async def send(self, task: SendInput) -> SendResult:
        self._under.running += 1
        try:
            return await super().send(task)
        finally:
            self._under.running -= 1


class Simulation:
    """One tenant's journeys. Its rows are laid down by whoever opens it; nothing is sent."""

    def __init__(
        self, settings: DatabaseSettings, environment: WorkflowEnvironment, tenant: UUID, poster: Poster
    ) -> None:
        self.clock = Clock(environment)
        self.tenant = tenant
        self.provider = Outbox()
        self.app = ClockedDatabase(settings, Role.APP, self.clock.now)
        self.relay = ClockedDatabase(settings, Role.RELAY, self.clock.now)
        self._environment = environment
        self._under = _Under()
        self._doors = Doors(simulated_account, lambda _: self.provider, width=4)
        self._budgets = Budgets(self.relay, Lane.BULK)
        self._poster = poster
        self._loops = self._make_loops()
        self._dispatcher = Dispatcher(self.relay, lambda: environment.client, Lane.BULK)

    @asynccontextmanager
    async def running(self, start: datetime) -> AsyncIterator["Simulation"]:
        """It is `start`, and what is due is done."""
        await self.app.open()
        await self.relay.open()
        self.clock.begin_at(start)
        try:
            async with self._worker():
                yield self
        finally:
            self._doors.close()
            await self._budgets.close()
            await self.app.close()
            await self.relay.close()

    def _worker(self) -> Worker:
        decisions = _Deciding(
            self._under,
            app=self.app,
            webhooks=Webhooks(app=self.app, poster=self._poster, secret_key=_KEY),
            tell=lambda _: None,
            queue_for=lambda _, __: self._queue,
        )
        sends = _Sending(
            self._under,
            app=self.app,
            relay=self.relay,
            composer=Composer(self.app, LinkSigner(_KEY), "https://simulated.invalid"),
            doors=self._doors,
            budgets=self._budgets,
            process="simulation",
        )
        return Worker(
            self._environment.client,
            task_queue=self._queue,
            workflows=[JourneyWorkflow, MessageWorkflow],
            activities=[decisions.decide, decisions.webhook, sends.send],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=500,
        )

    @property
    def _queue(self) -> str:
        return task_queue(placement=OWN_PLACEMENT, tenant=self.tenant, lane=Lane.BULK)

    def _make_loops(self) -> Sequence[Loop]:
        hints = Hints(self.relay, lambda: self._environment.client)
        starter = JourneyStarter(self.relay, lambda: self._environment.client)
        return [
            Loop(name="entering", interval_s=0, work=starter.look),
            Loop(name="hints", interval_s=0, work=hints.deliver),
            *entry_loops(self.relay),
        ]

    async def advance(self, to: datetime, *, stride: timedelta = _STRIDE) -> None:
        """Let the time pass until then, each thing done when it is due."""
        while True:
            found = await self.settle()
            now = self.clock.now()
            if now >= to:
                return
            upcoming = found.next_at if found.next_at is not None and found.next_at > now else to
            await self.clock.move_to(min(upcoming, to, now + stride))

    async def settle(self, *, patience_s: float = 20) -> Due:
        """Do what is due now, until nothing is. Raises `NotSettledError` after so much real time."""
        deadline = asyncio.get_running_loop().time() + patience_s
        quiet = 0
        while True:
            await self._look()
            found = await self._due()
            if self._under.still and found.under_way == 0:
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise NotSettledError(f"{found.under_way} things are under way, {self._under.running} activities run")
            quiet = 0 if self._under.running else quiet + 1
            if quiet > _QUIET:
                await self.clock.nudge(_NUDGE)
            await asyncio.sleep(0.005)

    async def close_tenant(self, enrollments: Sequence[UUID]) -> None:
        """Nothing of the tenant is looked at any more, and none of these enrollments goes on."""
        async with self.relay.session() as session:
            await move_tenant(session, self.tenant, TenantState.SUSPENDED)
        await self.terminate(enrollments)

    async def terminate(self, enrollments: Sequence[UUID]) -> None:
        """End the executions of enrollments. Time passes over no timer of an execution that nobody works for."""
        for enrollment in enrollments:
            with contextlib.suppress(RPCError):  # it was never started, or has ended
                await self._environment.client.get_workflow_handle(journey_workflow_id(enrollment)).terminate()

    async def _look(self) -> None:
        for loop in self._loops:
            while await loop.work():
                pass
        async with self.relay.transaction() as connection:
            await wake_resumed(connection, limit=_BATCH)
        await self._dispatcher.run_once()

    async def _due(self) -> Due:
        async with self.relay.transaction() as connection:
            return await due(connection, tenant=self.tenant)
