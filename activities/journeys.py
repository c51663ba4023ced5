"""The decisions of journeys, each one transaction, and their webhooks."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Counter, Histogram
from temporalio import activity

from activities.contracts.journeys import (
    JOURNEY_DECIDE_ACTIVITY,
    JOURNEY_WEBHOOK_ACTIVITY,
    DecideInput,
    Decision,
    Journeying,
    Next,
    WebhookInput,
)
from activities.journey_walk import Walk
from activities.journey_webhooks import Webhooks
from waypost.journeys.document import Journey, read_journey
from waypost.store.database import Connection, Database
from waypost.store.journey_walks import (
    LoadedEnrollment,
    load_enrollment,
    load_version,
    save_enrollment,
    take_inbox,
    write_visits,
)
from waypost.store.notifications import JOURNEYS_CHANNEL, OUTBOX_CHANNEL

_VERSIONS_KEPT = 500
_SOON = timedelta(minutes=5)
"""By then a send or webhook that is asked for has been tried, and the next decision made."""

_DECISIONS = Counter("waypost_journey_decisions_total", "Decisions about enrollments, by what comes next", ["next"])
_STEPS = Counter("waypost_journey_steps_total", "Steps that enrollments have left", ["kind"])
_ENDED = Counter("waypost_journey_enrollments_ended_total", "Enrollments that ended", ["how"])
_TIME = Histogram("waypost_journey_decision_seconds", "Time of one decision")


class JourneyActivities(Journeying):
    """Implements the contract with PostgreSQL.

    `tell` tells other processes of rows, after the commit; `queue_for` knows the task queue of a tenant and placement.
    """

    def __init__(
        self,
        *,
        app: Database,
        webhooks: Webhooks,
        tell: Callable[[str], None],
        queue_for: Callable[[UUID, str], str],
    ) -> None:
        self._queue_for = queue_for
        self._app = app
        self._webhooks = webhooks
        self._tell = tell
        self._versions: OrderedDict[UUID, tuple[Journey, str]] = OrderedDict()

    @activity.defn(name=JOURNEY_DECIDE_ACTIVITY)
    async def decide(self, task: DecideInput) -> Decision:
        """Take what waits in the inbox, then steps, until one rests, sends or calls, or it is over."""
        with _TIME.time():
            decision = await self._decide(task)
        _DECISIONS.labels(decision.next).inc()
        return decision

    async def _decide(self, task: DecideInput) -> Decision:
        tenant, identity = UUID(task.tenant_id), UUID(task.enrollment_id)
        async with self._app.transaction(tenant) as connection:
            enrollment = await load_enrollment(connection, tenant=tenant, enrollment=identity)
            if enrollment is None:
                return Decision(Next.ENDED, "gone", 0)
            if enrollment.state == "ended":
                return Decision(Next.ENDED, enrollment.how or "", enrollment.visits)
            journey, plan = await self._version(connection, enrollment)
            walk = Walk(connection, enrollment, journey)
            what = await walk.go()
            state = walk.state
            at = state.look_again_at if walk.suspended else _earlier(walk.steps.wakes_at(), state.look_again_at)
            if what is not Next.REST:
                at = enrollment.now + _SOON
            standing = state.standing(journey, at)
            await write_visits(connection, tenant=tenant, enrollment=identity, visits=list(state.drafts))
            await save_enrollment(connection, tenant=tenant, enrollment=identity, standing=standing)
            await take_inbox(
                connection,
                tenant=tenant,
                enrollment=identity,
                done=state.done,
                held=state.held,
                ended=state.how is not None,
            )
        self._count(journey, walk)
        moved = str(enrollment.version_id) != task.version_id
        return Decision(
            next=what,
            step=state.how or state.step or "",
            visit=state.visits,
            taken=tuple(state.taken),
            at=at if what is Next.REST else None,
            rest_s=max(0.0, (at - enrollment.now).total_seconds()) if what is Next.REST and at is not None else None,
            message_id=str(walk.message.id) if what is Next.SEND and walk.message is not None else None,
            version_id=str(enrollment.version_id) if moved else None,
            plan=plan if moved else None,
            queue=self._elsewhere(enrollment),
        )

    @activity.defn(name=JOURNEY_WEBHOOK_ACTIVITY)
    async def webhook(self, task: WebhookInput) -> str:
        """Post a webhook step's data once, and write down whether it was taken; a code for people."""
        tenant, identity = UUID(task.tenant_id), UUID(task.enrollment_id)
        async with self._app.transaction(tenant) as connection:
            enrollment = await load_enrollment(connection, tenant=tenant, enrollment=identity)
            journey = None if enrollment is None else (await self._version(connection, enrollment))[0]
        if enrollment is None or journey is None:
            return "gone"
        return await self._webhooks.post(enrollment, journey, visit=task.visit)

    async def _version(self, connection: Connection, enrollment: LoadedEnrollment) -> tuple[Journey, str]:
        """The version's document and plan; they never change."""
        key = enrollment.version_id
        if key not in self._versions:
            definition, plan = await load_version(connection, tenant=enrollment.tenant_id, version=key)
            self._versions[key] = (read_journey(definition), plan)
            if len(self._versions) > _VERSIONS_KEPT:
                self._versions.popitem(last=False)
        self._versions.move_to_end(key)
        return self._versions[key]

    def _elsewhere(self, enrollment: LoadedEnrollment) -> str | None:
        """The queue that the execution is to go on at, where it is not the one that it is at."""
        wanted = self._queue_for(enrollment.tenant_id, enrollment.placement)
        return None if wanted == activity.info().task_queue else wanted

    def _count(self, journey: Journey, walk: Walk) -> None:
        state = walk.state
        for step, _ in state.taken:
            _STEPS.labels(journey.steps[step].kind if step in journey.steps else "gone").inc()
        if state.how is not None:
            _ENDED.labels(state.how).inc()
        if walk.steps.leads_on:
            self._tell(OUTBOX_CHANNEL)
            self._tell(JOURNEYS_CHANNEL)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)
