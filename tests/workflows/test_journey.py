"""The journey workflow under the sandbox, in skipped time, with decisions that are told to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities.contracts.journeys import (
    JOURNEY_DECIDE_ACTIVITY,
    JOURNEY_WEBHOOK_ACTIVITY,
    DecideInput,
    Decision,
    Journeying,
    Next,
    WebhookInput,
)
from activities.contracts.sending import SEND_ACTIVITY, Sending, SendInput, SendResult, Step
from tests.replay.saved import save
from tests.workflows.events import events_of
from waypost.journeys.plan import Plan, PlanStep, write_plan
from waypost.messaging.values import Outcome
from workflows.journey import LONGEST_REST, JourneyInput, JourneyResult, JourneyWorkflow
from workflows.names import STATE_ATTRIBUTE, WAKE_SIGNAL

TENANT = "11111111-1111-4111-8111-111111111111"
ENROLLMENT = "22222222-2222-4222-8222-222222222222"
VERSION, NEXT_VERSION = "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444"
MESSAGE = "55555555-5555-4555-8555-555555555555"
PLAN = write_plan(
    Plan(
        start="hello",
        steps={
            "hello": PlanStep(kind="send", edges={"next": "pause"}),
            "pause": PlanStep(kind="wait", edges={"next": "tell"}),
            "tell": PlanStep(kind="webhook", edges={"next": "end"}),
        },
    )
).decode()
OTHER_PLAN = write_plan(Plan(start="only", steps={"only": PlanStep(kind="wait", edges={"next": "end"})})).decode()

SEND = Decision(Next.SEND, "hello", 1, message_id=MESSAGE)
REST = Decision(Next.REST, "pause", 2, taken=(("hello", "next"),), at=datetime(2027, 1, 1, tzinfo=UTC), rest_s=172_800)
UNTIL_WOKEN = Decision(Next.REST, "pause", 2)
WEBHOOK = Decision(Next.WEBHOOK, "tell", 3, taken=(("pause", "next"),))
ENDED = Decision(Next.ENDED, "completed", 3, taken=(("tell", "next"),))


@dataclass
class Scripted(Journeying, Sending):
    """Answers from `answers`, in turn, and notes when it was asked what."""

    environment: WorkflowEnvironment
    answers: list[Decision | Exception]
    sends: list[SendResult] = field(default_factory=list)
    asked: list[tuple[str, str, datetime]] = field(default_factory=list)

    async def _note(self, what: str, whom: str) -> None:
        self.asked.append((what, whom, await self.environment.get_current_time()))

    @activity.defn(name=JOURNEY_DECIDE_ACTIVITY)
    async def decide(self, task: DecideInput) -> Decision:
        assert (task.tenant_id, task.enrollment_id) == (TENANT, ENROLLMENT)
        await self._note("decide", task.version_id)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @activity.defn(name=JOURNEY_WEBHOOK_ACTIVITY)
    async def webhook(self, task: WebhookInput) -> str:
        await self._note("webhook", str(task.visit))
        return "200"

    @activity.defn(name=SEND_ACTIVITY)
    async def send(self, task: SendInput) -> SendResult:
        await self._note("send", task.message_id)
        return self.sends.pop(0) if self.sends else SendResult(Step.DONE, "sent", outcome=Outcome.SENT)

    @property
    def what(self) -> list[str]:
        return [what for what, _, _ in self.asked]

    @property
    def pauses(self) -> list[timedelta]:
        """How long the workflow waited between its questions."""
        return [later - earlier for (_, _, earlier), (_, _, later) in itertools.pairwise(self.asked)]


Handle = WorkflowHandle[JourneyWorkflow, JourneyResult]


class Run:
    """One execution, and what it asked."""

    def __init__(self, environment: WorkflowEnvironment, answers: Sequence[Any], *sends: SendResult) -> None:
        self.environment = environment
        self.scripted = Scripted(environment, list(answers), list(sends))
        self.queue = f"tenant/bulk/{uuid4()}"
        self.handle: Handle

    async def __aenter__(self) -> Run:
        self._worker = Worker(
            self.environment.client,
            task_queue=self.queue,
            workflows=[JourneyWorkflow],
            activities=[self.scripted.decide, self.scripted.webhook, self.scripted.send],
            workflow_runner=SandboxedWorkflowRunner(),
        )
        await self._worker.__aenter__()
        self.handle = await self.environment.client.start_workflow(
            JourneyWorkflow.run,
            JourneyInput(TENANT, ENROLLMENT, VERSION, PLAN),
            id=f"journey/{uuid4()}",
            task_queue=self.queue,
            task_timeout=timedelta(seconds=5),
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATE_ATTRIBUTE, "open")]),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._worker.__aexit__(None, None, None)

    async def history(self) -> WorkflowHistory:
        return await self.handle.fetch_history()


async def test_it_asks_does_rests_and_asks_again_until_the_end(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [SEND, REST, WEBHOOK, ENDED]) as run:
        result = await run.handle.result()
        history = await run.history()
    assert result == JourneyResult("completed", 3)
    assert run.scripted.what == ["decide", "send", "decide", "decide", "webhook", "decide"]
    assert timedelta(days=2) <= run.scripted.pauses[2] < timedelta(days=2, minutes=1)
    save("journey-plain", history)


async def test_a_hint_ends_a_rest_and_carries_nothing(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [UNTIL_WOKEN, ENDED]) as run:
        await environment.sleep(3600)
        await run.handle.signal(WAKE_SIGNAL)
        await run.handle.result()
        history = await run.history()
    assert timedelta(minutes=59) <= run.scripted.pauses[0] < timedelta(minutes=61)
    save("journey-woken", history)


async def test_a_rest_without_an_end_looks_at_its_row_now_and_then(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [UNTIL_WOKEN, ENDED]) as run:
        await run.handle.result()
    assert LONGEST_REST <= run.scripted.pauses[0] < LONGEST_REST + timedelta(minutes=1)


async def test_a_hint_in_the_middle_of_a_decision_is_not_lost(environment: WorkflowEnvironment) -> None:
    """What came after the decision had read its rows is seen by the next one, at once."""
    async with Run(environment, [UNTIL_WOKEN, ENDED]) as run:
        signal = run.handle.signal
        decide = run.scripted._note

        async def note(what: str, whom: str) -> None:
            await decide(what, whom)
            if len(run.scripted.asked) == 1:
                await signal(WAKE_SIGNAL)

        run.scripted._note = note  # type: ignore[method-assign]  # a hint while the activity runs
        await run.handle.result()
    assert run.scripted.pauses[0] < timedelta(minutes=1)


async def test_what_the_send_path_has_in_hand_is_asked_about_again(environment: WorkflowEnvironment) -> None:
    again = SendResult(Step.AGAIN, "changed meanwhile", datetime(2100, 1, 1, tzinfo=UTC))
    async with Run(environment, [SEND, SEND, ENDED], again) as run:
        await run.handle.result()
        history = await run.history()
    assert run.scripted.what == ["decide", "send", "decide", "send", "decide"]
    save("journey-send-again", history)


async def test_another_version_brings_its_plan(environment: WorkflowEnvironment) -> None:
    moved = Decision(Next.REST, "only", 3, rest_s=60, version_id=NEXT_VERSION, plan=OTHER_PLAN)
    async with Run(environment, [UNTIL_WOKEN, moved, ENDED]) as run:
        await run.handle.signal(WAKE_SIGNAL)
        await run.handle.result()
        history = await run.history()
    assert [version for _, version, _ in run.scripted.asked] == [VERSION, VERSION, NEXT_VERSION]
    save("journey-moved", history)


async def test_it_goes_on_as_a_new_execution_at_another_queue(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [UNTIL_WOKEN, ENDED]) as run:
        run.scripted.answers[0] = replace(REST, rest_s=1, queue=run.queue)
        result = await run.handle.result()
        first = await environment.client.get_workflow_handle(
            run.handle.id, run_id=run.handle.first_execution_run_id
        ).fetch_history()
    assert result == JourneyResult("completed", 3)
    assert events_of(first)[-1] == "WORKFLOW_EXECUTION_CONTINUED_AS_NEW"
    save("journey-continued", first)


async def test_a_decision_that_fails_is_tried_again_for_ever(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [ApplicationError("away"), ApplicationError("away"), ENDED]) as run:
        result = await run.handle.result()
    assert result.how == "completed"
    assert run.scripted.what == ["decide"] * 3


async def test_more_than_one_decision_takes_is_taken_at_once(environment: WorkflowEnvironment) -> None:
    again = Decision(Next.AGAIN, "pause", 200)
    async with Run(environment, [again, again, ENDED]) as run:
        await run.handle.result()
        history = await run.history()
    assert "TIMER_STARTED" not in events_of(history)
    save("journey-again", history)
