"""One message, from its dispatch to its outcome, or back to its row when it has to wait."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts.sending import Sending, SendInput, SendResult, Step
    from workflows.names import DELIVERED_SIGNAL, MESSAGE_WORKFLOW, STATE_ATTRIBUTE

SEND_TIMEOUT = timedelta(seconds=45)
"""Longer than the waits for a slot (8 s) and for budget (8 s), the fence (2 s), the provider call's total deadline
(10 s unless set longer) and the record's commit (8 s) together. It only ends the patience with a worker that beats: if
it passes all the same, the next run finds the open attempt and sends nothing."""

HEARTBEAT_TIMEOUT = timedelta(seconds=5)
"""So long a worker may be silent before its send is tried elsewhere. It only asks again: the claim keeps it from
sending twice."""

WAITING = "waiting for fallback"
"""The search attribute's value while a primary is out of our hands and its fallback is not."""

_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=15)
)
"""Without a limit: a message ends by its own expiry, which the activity reads, never by a count of retries."""


@dataclass(frozen=True)
class MessageInput:
    """References only."""

    tenant_id: str
    message_id: str


@dataclass(frozen=True)
class MessageResult:
    """How the execution ended, in codes."""

    state: str
    fallback: str | None = None


@workflow.defn(name=MESSAGE_WORKFLOW)
class MessageWorkflow:
    """Asks for the send; waits for the two things that outlive a send: a login code's second try and a fallback."""

    def __init__(self) -> None:
        self._delivery_changed = False

    @workflow.run
    async def run(self, message: MessageInput) -> MessageResult:
        """Drive one message."""
        primary = await self._settle(message.tenant_id, message.message_id)
        if primary.step is Step.FALLBACK:
            workflow.upsert_search_attributes([STATE_ATTRIBUTE.value_set(WAITING)])
        while primary.step is Step.FALLBACK:
            workflow.set_current_details(f"Primary: {primary.state}. The fallback is due at {primary.at}.")
            hinted = await self._wait(primary.at)
            if not hinted or primary.outcome is not None:
                break
            # Its result was unknown when it was last seen. The hint may be a void: then it is tried again, here.
            primary = await self._settle(message.tenant_id, message.message_id)
        if primary.step is not Step.FALLBACK or primary.fallback_id is None:
            return self._end(MessageResult(primary.state))
        fallback = await self._settle(message.tenant_id, primary.fallback_id)
        return self._end(MessageResult(primary.state, fallback.state))

    @workflow.signal(name=DELIVERED_SIGNAL)
    def delivery_changed(self) -> None:
        """A hint that the primary's delivery changed; the row tells what it is."""
        self._delivery_changed = True

    async def _settle(self, tenant_id: str, message_id: str) -> SendResult:
        result = await self._send(tenant_id, message_id)
        while result.step is Step.AGAIN:
            workflow.set_current_details(f"{result.state}; asked again at {result.at}.")
            await self._wait(result.at)
            result = await self._send(tenant_id, message_id)
        return result

    async def _send(self, tenant_id: str, message_id: str) -> SendResult:
        return await workflow.execute_activity_method(
            Sending.send,
            SendInput(tenant_id, message_id),
            start_to_close_timeout=SEND_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRY,
            summary="load, gate, claim, call, record",
        )

    async def _wait(self, until: datetime | None) -> bool:
        """Until the time, or until a hint came since the last wait; whether it was a hint."""
        left = max(timedelta(), (until or workflow.now()) - workflow.now())
        try:
            await workflow.wait_condition(
                lambda: self._delivery_changed, timeout=left, timeout_summary="until the next look at the row"
            )
        except TimeoutError:
            return False
        self._delivery_changed = False
        return True

    def _end(self, result: MessageResult) -> MessageResult:
        workflow.upsert_search_attributes([STATE_ATTRIBUTE.value_set(result.state)])
        workflow.set_current_details(
            f"Ended: {result.state}" + (f"; fallback: {result.fallback}" if result.fallback else "")
        )
        return result
