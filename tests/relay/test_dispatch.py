"""The dispatcher: due rows become executions, once each, whatever Temporal does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.contracts.sending import SEND_ACTIVITY, Sending, SendInput, SendResult, Step
from tests.relay.ledger import Ledger
from waypost.messaging.values import Lane
from waypost.relay import dispatch
from waypost.relay.dispatch import Breaker, Dispatcher
from waypost.settings import TemporalSettings
from waypost.stack.ports import free_port
from waypost.stack.temporal import TemporalServer
from waypost.store.database import Database
from waypost.temporal.client import connect
from workflows.message import MessageWorkflow
from workflows.names import message_workflow_id


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(temporal_server: TemporalServer) -> Client:
    """A client of the session's Temporal."""
    return await connect(TemporalSettings(address=temporal_server.address))


@pytest.fixture(autouse=True)
async def nothing_left(ledger: Ledger) -> AsyncIterator[None]:
    """Dispatching looks at all tenants: no test leaves rows for the next."""
    yield
    await ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = 'cancelled', outcome_reason = 'test' WHERE phase <> 'closed'"
    )


class Through:
    """A client whose start_workflow is in a test's hands."""

    def __init__(self, client: Client, start: Callable[..., Awaitable[Any]]) -> None:
        self._client = client
        self.start_workflow = start


def dispatcher(store: Database, client: object) -> Dispatcher:
    return Dispatcher(store, lambda: client, Lane.FAST)  # type: ignore[arg-type,return-value]  # a client in part


async def status(client: Client, message: UUID) -> WorkflowExecutionStatus | None:
    try:
        return (await client.get_workflow_handle(message_workflow_id(message)).describe()).status
    except RPCError:
        return None


async def due_now(ledger: Ledger, message: UUID) -> None:
    await ledger.execute("UPDATE messages SET phase = 'ready', due_at = waypost_now() WHERE id = %s", (message,))


async def test_an_execution_explains_itself_and_holds_references_only(
    store: Database, ledger: Ledger, client: Client
) -> None:
    message = await ledger.add_message(phase="ready")
    assert await dispatcher(store, client).run_once() == 1
    description = await client.get_workflow_handle(message_workflow_id(message)).describe()
    assert description.workflow_type == "message"
    assert description.task_queue == f"tenant-{ledger.tenant}/fast"
    assert await description.static_summary() == "transactional email, transactional"
    details = await description.static_details()
    assert details == f"Tenant `{ledger.tenant}`, lane fast. The whole story: `GET /v1/messages/{message}`."
    assert {pair.key.name: pair.value for pair in description.typed_search_attributes} == {
        "WaypostTenant": str(ledger.tenant),
        "WaypostKind": "message",
        "WaypostSource": "transactional",
        "WaypostState": "sending",
    }
    info = description.raw_description.workflow_execution_info
    assert (info.priority.priority_key, info.priority.fairness_key) == (1, str(ledger.tenant))
    history = await client.get_workflow_handle(message_workflow_id(message)).fetch_history()
    written = b"".join(event.SerializeToString() for event in history.events)
    assert b"example.com" not in written.lower()
    assert str(message).encode() in written


async def test_a_pools_executions_go_to_its_queue(store: Database, ledger: Ledger, client: Client) -> None:
    await ledger.execute("UPDATE tenants SET placement = 'pool-03' WHERE id = %s", (ledger.tenant,))
    message = await ledger.add_message(phase="ready")
    await dispatcher(store, client).run_once()
    description = await client.get_workflow_handle(message_workflow_id(message)).describe()
    assert description.task_queue == "pool-03/fast"


async def test_while_temporal_is_away_rows_wait_and_are_started_when_it_is_back(
    store: Database, ledger: Ledger, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "START_TIMEOUT", timedelta(seconds=0.1))
    monkeypatch.setattr(dispatch, "RETURN_WAIT", timedelta(seconds=0.1))
    messages = [await ledger.add_message(phase="ready") for _ in range(40)]
    clients: list[Client] = [await connect(TemporalSettings(address=f"127.0.0.1:{free_port()}"), lazy=True)]
    loop = Dispatcher(store, lambda: clients[0], Lane.FAST)
    async with asyncio.timeout(3):
        assert await loop.run_once() == 40
    rows = [await ledger.message(message) for message in messages]
    assert {row["phase"] for row in rows} == {"ready"}
    assert await loop.run_once() == 0, "the breaker is open: nothing is picked"
    clients[0] = client
    await _until_started(loop, client, messages)


async def _until_started(loop: Dispatcher, client: Client, messages: list[UUID]) -> None:
    async with asyncio.timeout(10):
        while {await status(client, message) for message in messages} != {WorkflowExecutionStatus.RUNNING}:
            await loop.run_once()
            await asyncio.sleep(0.1)


async def test_without_a_client_nothing_is_picked(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(phase="ready")
    assert await dispatcher(store, None).run_once() == 0
    assert (await ledger.message(message))["phase"] == "ready"


async def test_one_start_that_fails_oddly_does_not_keep_the_others(
    store: Database, ledger: Ledger, client: Client
) -> None:
    messages = [await ledger.add_message(phase="ready") for _ in range(3)]

    async def start(*arguments: Any, **options: Any) -> object:
        if options["id"] == message_workflow_id(messages[1]):
            raise ValueError("a bug")
        return await client.start_workflow(*arguments, **options)

    assert await dispatcher(store, Through(client, start)).run_once() == 3
    phases = [(await ledger.message(message))["phase"] for message in messages]
    assert phases == ["dispatched", "ready", "dispatched"]
    assert await status(client, messages[1]) is None


async def test_a_start_that_timed_out_and_succeeded_is_not_doubled(
    store: Database, ledger: Ledger, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "START_TIMEOUT", timedelta(seconds=0.3))
    message = await ledger.add_message(phase="ready")

    async def start(*arguments: Any, **options: Any) -> None:
        await client.start_workflow(*arguments, **options)
        await asyncio.sleep(10)

    await dispatcher(store, Through(client, start)).run_once()
    assert (await ledger.message(message))["phase"] == "ready"
    first = await client.get_workflow_handle(message_workflow_id(message)).describe()
    await due_now(ledger, message)
    await dispatcher(store, client).run_once()
    assert (await ledger.message(message))["phase"] == "ready", "its execution is open: the row comes again"
    again = await client.get_workflow_handle(message_workflow_id(message)).describe()
    assert again.run_id == first.run_id


class PutsBack(Sending):
    """Always gives the row back, as the send activity does when a message has to wait."""

    @activity.defn(name=SEND_ACTIVITY)
    async def send(self, task: SendInput) -> SendResult:
        return SendResult(Step.PUT_BACK, "put back: not_due")


async def test_a_row_that_was_put_back_is_started_again_though_its_execution_completed(
    store: Database, ledger: Ledger, client: Client
) -> None:
    message = await ledger.add_message(phase="ready")
    handle = client.get_workflow_handle(message_workflow_id(message))
    runs = set()
    queue = f"tenant-{ledger.tenant}/fast"
    async with Worker(client, task_queue=queue, workflows=[MessageWorkflow], activities=[PutsBack().send]):
        for dispatches in (1, 2, 3):
            await dispatcher(store, client).run_once()
            await handle.result()
            runs.add((await handle.describe()).run_id)
            assert (await ledger.message(message))["dispatches"] == dispatches
            await due_now(ledger, message)
    assert len(runs) == 3


async def test_a_row_whose_execution_was_terminated_by_hand_is_started_again(
    store: Database, ledger: Ledger, client: Client
) -> None:
    message = await ledger.add_message(phase="ready")
    loop = dispatcher(store, client)
    await loop.run_once()
    handle = client.get_workflow_handle(message_workflow_id(message))
    first = (await handle.describe()).run_id
    await handle.terminate()
    await due_now(ledger, message)
    await loop.run_once()
    second = await handle.describe()
    assert second.status is WorkflowExecutionStatus.RUNNING
    assert second.run_id != first


async def test_a_round_that_is_cancelled_leaves_no_row_without_its_execution(
    store: Database, ledger: Ledger, client: Client
) -> None:
    """A worker that is told to stop between picking and starting would otherwise strand the rows."""
    messages = [await ledger.add_message(phase="ready") for _ in range(5)]
    entered = asyncio.Event()

    async def start(*arguments: Any, **options: Any) -> object:
        entered.set()
        await asyncio.sleep(0.1)
        return await client.start_workflow(*arguments, **options)

    running = asyncio.create_task(dispatcher(store, Through(client, start)).run_once())
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [await status(client, message) for message in messages] == [WorkflowExecutionStatus.RUNNING] * 5


async def test_being_told_ends_a_wait_at_once(store: Database) -> None:
    loop = dispatcher(store, None)
    waiting = asyncio.create_task(loop.wait())
    await asyncio.sleep(0)
    loop.tell()
    async with asyncio.timeout(0.1):
        await waiting
    loop.tell()
    async with asyncio.timeout(0.1):
        await loop.wait()


async def test_a_breaker_opens_after_a_few_failures_and_then_tries_one() -> None:
    breaker = Breaker(limit=3, pause_s=0.05)
    for _ in range(2):
        breaker.failed()
    assert not breaker.is_open()
    assert breaker.width(100) == 100
    breaker.failed()
    assert breaker.is_open()
    await asyncio.sleep(0.06)
    assert not breaker.is_open()
    assert breaker.width(100) == 1
    breaker.failed()
    assert breaker.is_open()
    await asyncio.sleep(0.06)
    breaker.succeeded()
    assert not breaker.is_open()
    assert breaker.width(100) == 100
