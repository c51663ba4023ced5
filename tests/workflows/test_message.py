"""The message workflow under the sandbox, in skipped time, with a send activity that answers as it is told."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities.contracts.sending import SEND_ACTIVITY, Sending, SendInput, SendResult, Step
from tests.replay.saved import save
from tests.workflows.events import events_of
from waypost.messaging.values import Outcome
from workflows.message import MessageInput, MessageResult, MessageWorkflow
from workflows.names import DELIVERED_SIGNAL, STATE_ATTRIBUTE

TENANT = "11111111-1111-4111-8111-111111111111"
MESSAGE = "22222222-2222-4222-8222-222222222222"
FALLBACK = "33333333-3333-4333-8333-333333333333"
QUEUE = "tenant/fast"

SENT = SendResult(Step.DONE, "sent", outcome=Outcome.SENT)


@dataclass
class ScriptedSending(Sending):
    """Answers from `answers`, in turn; `at` is filled in as so long after the call."""

    environment: WorkflowEnvironment
    answers: list[tuple[SendResult, timedelta | None] | Exception]
    asked: list[tuple[str, datetime]] = field(default_factory=list)

    @activity.defn(name=SEND_ACTIVITY)
    async def send(self, task: SendInput) -> SendResult:
        assert task.tenant_id == TENANT
        now = await self.environment.get_current_time()
        self.asked.append((task.message_id, now))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        result, after = answer
        if after is None:
            return result
        return SendResult(result.step, result.state, now + after, result.outcome, result.fallback_id)

    @property
    def pauses(self) -> list[timedelta]:
        """How long the workflow waited between its questions."""
        times = [at for _, at in self.asked]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


Handle = WorkflowHandle[MessageWorkflow, MessageResult]


class Run:
    """One execution, and what the send activity was asked."""

    def __init__(self, environment: WorkflowEnvironment, answers: Sequence[Any]) -> None:
        self.environment = environment
        self.sending = ScriptedSending(environment, list(answers))
        self.queue = f"{QUEUE}/{uuid4()}"
        self.handle: Handle

    async def __aenter__(self) -> Run:
        self._worker = Worker(
            self.environment.client,
            task_queue=self.queue,
            workflows=[MessageWorkflow],
            activities=[self.sending.send],
            workflow_runner=SandboxedWorkflowRunner(),
        )
        await self._worker.__aenter__()
        self.handle = await self.environment.client.start_workflow(
            MessageWorkflow.run,
            MessageInput(TENANT, MESSAGE),
            id=f"message/{uuid4()}",
            task_queue=self.queue,
            task_timeout=timedelta(seconds=5),
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATE_ATTRIBUTE, "sending")]),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._worker.__aexit__(None, None, None)

    async def history(self) -> WorkflowHistory:
        return await self.handle.fetch_history()


def states_of(history: WorkflowHistory) -> list[str]:
    """The values that the workflow gave to the search attribute."""
    fields = [
        event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    ]
    return [field[STATE_ATTRIBUTE.name].data.decode().strip('"') for field in fields]


async def test_a_plain_message_is_one_activity_and_13_events_at_most(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [(SENT, None)]) as run:
        assert await run.handle.result() == MessageResult("sent")
        history = await run.history()
    assert len(history.events) <= 13, events_of(history)
    assert [message for message, _ in run.sending.asked] == [MESSAGE]
    assert states_of(history) == ["sent"]
    save("message-plain", history)


async def test_a_history_holds_nothing_but_references(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [(SENT, None)]) as run:
        await run.handle.result()
        history = await run.history()
    (started, scheduled) = (
        history.events[0].workflow_execution_started_event_attributes.input,
        next(
            event.activity_task_scheduled_event_attributes.input
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        ),
    )
    for sent in (started, scheduled):
        assert [json.loads(payload.data) for payload in sent.payloads] == [{"tenant_id": TENANT, "message_id": MESSAGE}]


async def test_a_row_that_was_put_back_ends_the_execution(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [(SendResult(Step.PUT_BACK, "put back: throttled"), timedelta(hours=1))]) as run:
        assert await run.handle.result() == MessageResult("put back: throttled")
        assert "TIMER_STARTED" not in events_of(await run.history())


async def test_a_login_code_is_asked_about_again_at_its_time(environment: WorkflowEnvironment) -> None:
    again = SendResult(Step.AGAIN, "attempt unknown")
    async with Run(environment, [(again, timedelta(seconds=20)), (SENT, None)]) as run:
        assert await run.handle.result() == MessageResult("sent")
        history = await run.history()
    (pause,) = run.sending.pauses
    assert timedelta(seconds=19) < pause < timedelta(seconds=25)
    save("message-again", history)


async def test_evidence_ends_the_wait_of_a_login_code(environment: WorkflowEnvironment) -> None:
    again = SendResult(Step.AGAIN, "attempt unknown")
    async with Run(environment, [(again, timedelta(days=1)), (SENT, None)]) as run:
        await _asked(run, 1)
        await run.handle.signal(DELIVERED_SIGNAL)
        assert await run.handle.result() == MessageResult("sent")
    assert run.sending.pauses[0] < timedelta(minutes=1)


def _fallback(outcome: Outcome = Outcome.SENT) -> SendResult:
    return SendResult(Step.FALLBACK, outcome.value, outcome=outcome, fallback_id=FALLBACK)


async def test_a_fallback_is_sent_when_its_time_comes(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [(_fallback(), timedelta(minutes=10)), (SENT, None)]) as run:
        assert await run.handle.result() == MessageResult("sent", "sent")
        history = await run.history()
    assert [message for message, _ in run.sending.asked] == [MESSAGE, FALLBACK]
    (pause,) = run.sending.pauses
    assert timedelta(minutes=9, seconds=59) < pause < timedelta(minutes=11)
    assert states_of(history) == ["waiting for fallback", "sent"]
    save("message-fallback-by-timer", history)


async def test_a_receipt_asks_about_the_fallback_at_once(environment: WorkflowEnvironment) -> None:
    skipped = SendResult(Step.DONE, "skipped", outcome=Outcome.SKIPPED)
    async with Run(environment, [(_fallback(), timedelta(days=1)), (skipped, None)]) as run:
        await _asked(run, 1)
        await run.handle.signal(DELIVERED_SIGNAL)
        assert await run.handle.result() == MessageResult("sent", "skipped")
        history = await run.history()
    assert run.sending.pauses[0] < timedelta(minutes=1)
    save("message-fallback-by-signal", history)


async def test_a_hint_that_told_nothing_new_goes_on_waiting(environment: WorkflowEnvironment) -> None:
    """The primary was only delayed: the fallback is asked about, is not due, and is waited for again."""
    waits = SendResult(Step.AGAIN, "fallback waits")
    async with Run(environment, [(_fallback(), timedelta(days=1)), (waits, timedelta(hours=2)), (SENT, None)]) as run:
        await _asked(run, 1)
        await run.handle.signal(DELIVERED_SIGNAL)
        assert await run.handle.result() == MessageResult("sent", "sent")
    assert [message for message, _ in run.sending.asked] == [MESSAGE, FALLBACK, FALLBACK]
    assert run.sending.pauses[1] > timedelta(minutes=119)


async def test_a_hint_that_came_before_the_wait_is_not_lost(environment: WorkflowEnvironment) -> None:
    skipped = SendResult(Step.DONE, "skipped", outcome=Outcome.SKIPPED)
    async with Run(environment, [(_fallback(), timedelta(days=1)), (skipped, None)]) as run:
        await run.handle.signal(DELIVERED_SIGNAL)
        assert await run.handle.result() == MessageResult("sent", "skipped")
    assert run.sending.pauses[0] < timedelta(minutes=1)


async def test_a_look_is_made_for_each_hint_and_no_more(environment: WorkflowEnvironment) -> None:
    waits = SendResult(Step.AGAIN, "fallback waits")
    answers: list[Any] = [(_fallback(), timedelta(days=1)), *[(waits, timedelta(days=1))] * 2, (SENT, None)]
    async with Run(environment, answers) as run:
        for hints in (1, 2, 3):
            await _asked(run, hints)
            await run.handle.signal(DELIVERED_SIGNAL)
        assert await run.handle.result() == MessageResult("sent", "sent")
    assert len(run.sending.asked) == 4


_HELD = SendResult(Step.FALLBACK, "held: attempt unknown", fallback_id=FALLBACK)


async def test_a_primary_that_turns_out_not_sent_is_tried_again_while_its_fallback_waits(
    environment: WorkflowEnvironment,
) -> None:
    answers = [(_HELD, timedelta(days=1)), (_fallback(), timedelta(hours=1)), (SENT, None)]
    async with Run(environment, answers) as run:
        await _asked(run, 1)
        await run.handle.signal(DELIVERED_SIGNAL)
        assert await run.handle.result() == MessageResult("sent", "sent")
        history = await run.history()
    assert [message for message, _ in run.sending.asked] == [MESSAGE, MESSAGE, FALLBACK]
    assert run.sending.pauses[1] > timedelta(minutes=59)
    save("message-primary-voided", history)


async def test_a_voided_primary_that_must_wait_ends_the_execution(environment: WorkflowEnvironment) -> None:
    back = SendResult(Step.PUT_BACK, "put back: throttled")
    async with Run(environment, [(_HELD, timedelta(days=1)), (back, None)]) as run:
        await _asked(run, 1)
        await run.handle.signal(DELIVERED_SIGNAL)
        assert await run.handle.result() == MessageResult("put back: throttled")


async def test_the_fallback_of_an_unknown_primary_goes_out_at_its_time(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [(_HELD, timedelta(minutes=10)), (SENT, None)]) as run:
        assert await run.handle.result() == MessageResult("held: attempt unknown", "sent")
    assert [message for message, _ in run.sending.asked] == [MESSAGE, FALLBACK]


async def test_the_fallback_of_a_failed_primary_does_not_wait(environment: WorkflowEnvironment) -> None:
    async with Run(environment, [(_fallback(Outcome.FAILED), timedelta()), (SENT, None)]) as run:
        assert await run.handle.result() == MessageResult("failed", "sent")
        assert states_of(await run.history()) == ["waiting for fallback", "failed"]
    assert run.sending.pauses[0] < timedelta(seconds=10)


async def test_a_send_that_fails_is_tried_until_it_succeeds(environment: WorkflowEnvironment) -> None:
    failing = [ApplicationError("no", type="OperationalError") for _ in range(7)]
    async with Run(environment, [*failing, (SENT, None)]) as run:
        assert await run.handle.result() == MessageResult("sent")
        assert len((await run.history()).events) <= 13
    assert max(run.sending.pauses) <= timedelta(seconds=20)


async def test_a_time_that_has_passed_is_now(environment: WorkflowEnvironment) -> None:
    again = SendResult(Step.AGAIN, "attempt resolved", at=datetime(2020, 1, 1, tzinfo=UTC))
    async with Run(environment, [(again, None), (SENT, None)]) as run:
        assert await run.handle.result() == MessageResult("sent")


async def _asked(run: Run, times: int) -> None:
    async with asyncio.timeout(10):
        while len(run.sending.asked) < times:  # noqa: ASYNC110 - it happens in a worker
            await asyncio.sleep(0.01)
