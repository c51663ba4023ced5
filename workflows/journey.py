"""One contact's enrollment: asks for a decision, does what a provider is needed for, rests, and asks again."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts.journeys import DecideInput, Decision, Journeying, Next, WebhookInput
    from activities.contracts.sending import Sending, SendInput, SendResult, Step
    from waypost.journeys.plan import Plan, read_plan
    from workflows.message import HEARTBEAT_TIMEOUT, SEND_TIMEOUT
    from workflows.names import JOURNEY_WORKFLOW, STATE_ATTRIBUTE, WAKE_SIGNAL

DECIDE_TIMEOUT = timedelta(seconds=30)
WEBHOOK_TIMEOUT = timedelta(seconds=30)
SEND_AGAIN = timedelta(seconds=1)
LONGEST_REST = timedelta(days=30)
"""A rest without a known end, or with one farther away, looks at its row so often: a hint may have been lost."""

_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=60)
)
"""Without a limit: what an enrollment comes to is decided by rows, never by a count of retries."""

_SHOWN = 12
"""So many of the last steps do the details show."""


@dataclass(frozen=True)
class JourneyInput:
    """References, the plan of the version as `write_plan` writes it, and what an earlier execution showed."""

    tenant_id: str
    enrollment_id: str
    version_id: str
    plan: str
    taken: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class JourneyResult:
    """How the enrollment ended, in codes."""

    how: str
    visits: int


@workflow.defn(name=JOURNEY_WORKFLOW)
class JourneyWorkflow:
    """Holds no contact and no condition: where the enrollment is, and what moves it, are rows."""

    def __init__(self) -> None:
        self._woken = False
        self._taken: list[tuple[str, str]] = []

    @workflow.run
    async def run(self, journey: JourneyInput) -> JourneyResult:
        """Walk until the end."""
        plan, version = read_plan(journey.plan), journey.version_id
        self._taken = list(journey.taken)
        while True:
            self._woken = False
            now = await self._decide(journey, version)
            version = now.version_id or version
            if now.plan is not None:
                journey = JourneyInput(journey.tenant_id, journey.enrollment_id, version, now.plan)
                plan = read_plan(now.plan)
            self._show(plan, now)
            match now.next:
                case Next.ENDED:
                    workflow.upsert_search_attributes([STATE_ATTRIBUTE.value_set(now.step)])
                    return JourneyResult(now.step, now.visit)
                case Next.SEND:
                    await self._send(journey, now)
                case Next.WEBHOOK:
                    await self._webhook(journey, now)
                case Next.REST:
                    await self._rest(now.rest_s, plan, now.step)
                case Next.AGAIN:
                    pass
            self._continue_as_new_where_due(journey, now.queue)

    @workflow.signal(name=WAKE_SIGNAL)
    def wake(self) -> None:
        """A hint that there is something to decide; the rows tell what."""
        self._woken = True

    async def _decide(self, journey: JourneyInput, version: str) -> Decision:
        return await workflow.execute_activity_method(
            Journeying.decide,
            DecideInput(journey.tenant_id, journey.enrollment_id, version),
            start_to_close_timeout=DECIDE_TIMEOUT,
            retry_policy=_RETRY,
            summary="what it was told, and the next steps",
        )

    async def _send(self, journey: JourneyInput, now: Decision) -> None:
        """The one send path takes the message as far as it goes; the next decision reads how far that was."""
        assert now.message_id is not None
        result: SendResult = await workflow.execute_activity_method(
            Sending.send,
            SendInput(journey.tenant_id, now.message_id),
            start_to_close_timeout=SEND_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRY,
            summary=f"{now.step}: load, gate, claim, call, record",
        )
        if result.step is Step.AGAIN:  # until when, the next decision says; somebody else may have it in hand
            await self._wait(SEND_AGAIN, f"{now.step}: {result.state}")

    async def _webhook(self, journey: JourneyInput, now: Decision) -> None:
        await workflow.execute_activity_method(
            Journeying.webhook,
            WebhookInput(journey.tenant_id, journey.enrollment_id, now.visit),
            start_to_close_timeout=WEBHOOK_TIMEOUT,
            retry_policy=_RETRY,
            summary=f"{now.step}: post",
        )

    async def _rest(self, seconds: float | None, plan: Plan, step: str) -> None:
        left = LONGEST_REST if seconds is None else min(LONGEST_REST, timedelta(seconds=seconds))
        kind = plan.steps[step].kind if step in plan.steps else "start"
        await self._wait(left, f"{step} ({kind})")

    async def _wait(self, left: timedelta, summary: str) -> None:
        try:
            await workflow.wait_condition(lambda: self._woken, timeout=left, timeout_summary=summary)
        except TimeoutError:
            return

    def _show(self, plan: Plan, now: Decision) -> None:
        self._taken = [*self._taken, *((step, edge) for step, edge in now.taken)][-_SHOWN:]
        way = " → ".join(f"{step} ({edge})" if edge and edge != "next" else step for step, edge in self._taken)
        kind = plan.steps[now.step].kind if now.step in plan.steps else now.next.value
        until = f", until {now.at:%Y-%m-%d %H:%M:%S} UTC" if now.at is not None else ""
        workflow.set_current_details(f"{way + ' → ' if way else ''}**{now.step}** ({kind}{until})")

    def _continue_as_new_where_due(self, journey: JourneyInput, queue: str | None) -> None:
        """A hint that comes in between makes the server refuse it and is looked at first; the next run decides anew."""
        if queue is None and not workflow.info().is_continue_as_new_suggested():
            return
        again = JourneyInput(
            journey.tenant_id, journey.enrollment_id, journey.version_id, journey.plan, tuple(self._taken)
        )
        workflow.continue_as_new(again, task_queue=queue)
