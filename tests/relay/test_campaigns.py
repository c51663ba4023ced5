"""The starter of campaigns: one execution a run, whoever asks and how often, and again when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from tests.relay.ledger import Ledger
from tests.relay.runs import add_run, run_row
from waypost.relay import campaigns
from waypost.relay.campaigns import CampaignStarter, campaign_loops
from waypost.settings import TemporalSettings
from waypost.stack.ports import free_port
from waypost.stack.temporal import TemporalServer
from waypost.store.database import Database
from waypost.temporal.client import connect
from workflows.names import campaign_workflow_id


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(temporal_server: TemporalServer) -> Client:
    """A client of the session's Temporal."""
    return await connect(TemporalSettings(address=temporal_server.address))


@pytest.fixture(autouse=True)
async def nothing_left(ledger: Ledger) -> AsyncIterator[None]:
    """The starter looks at all tenants: no test leaves runs for the next."""
    yield
    await ledger.execute("UPDATE campaign_runs SET state = 'completed'")


def starter(store: Database, client: Client | None) -> CampaignStarter:
    return CampaignStarter(store, lambda: client)


async def executions(client: Client, run: UUID) -> tuple[str, WorkflowExecutionStatus | None] | None:
    """The run's latest execution: (its id, its status)."""
    try:
        description = await client.get_workflow_handle(campaign_workflow_id(run)).describe()
    except RPCError:
        return None
    return description.run_id or "", description.status


async def driven_long_ago(ledger: Ledger, run: UUID) -> None:
    await ledger.execute("UPDATE campaign_runs SET driven_at = waypost_now() - interval '1 min' WHERE id = %s", (run,))


async def test_an_execution_explains_itself_and_holds_references_only(
    store: Database, ledger: Ledger, client: Client
) -> None:
    run = await add_run(ledger)
    await starter(store, client).look()
    description = await client.get_workflow_handle(campaign_workflow_id(run)).describe()
    assert description.workflow_type == "campaign"
    assert description.task_queue == f"tenant-{ledger.tenant}/bulk"
    assert await description.static_summary() == "campaign, email, run 1 (first)"
    assert {pair.key.name: pair.value for pair in description.typed_search_attributes} == {
        "WaypostTenant": str(ledger.tenant),
        "WaypostKind": "campaign",
        "WaypostSource": "campaign",
        "WaypostState": "preparing",
    }
    priority = description.raw_description.workflow_execution_info.priority
    assert priority.fairness_key == str(ledger.tenant)
    history = await client.get_workflow_handle(campaign_workflow_id(run)).fetch_history()
    written = b"".join(event.SerializeToString() for event in history.events)
    assert b"example.com" not in written.lower()
    assert b"News" not in written


async def test_asked_for_twice_at_once_and_again_later_there_is_one_execution(
    store: Database, ledger: Ledger, client: Client
) -> None:
    run = await add_run(ledger)
    await asyncio.gather(*(starter(store, client).look() for _ in range(4)))
    first = await executions(client, run)
    for _ in range(3):
        await driven_long_ago(ledger, run)
        await asyncio.gather(*(starter(store, client).look() for _ in range(2)))
    assert first is not None
    assert first[1] is WorkflowExecutionStatus.RUNNING
    assert await executions(client, run) == first


async def test_an_execution_that_was_terminated_is_followed_by_another_while_work_is_left(
    store: Database, ledger: Ledger, client: Client
) -> None:
    run = await add_run(ledger)
    await starter(store, client).look()
    before = await executions(client, run)
    await client.get_workflow_handle(campaign_workflow_id(run)).terminate("by hand")
    await starter(store, client).look()
    closed = await executions(client, run)
    assert closed is not None
    assert closed[1] is WorkflowExecutionStatus.TERMINATED, "not before its time"
    await driven_long_ago(ledger, run)
    await starter(store, client).look()
    after = await executions(client, run)
    assert before is not None
    assert after is not None
    assert after[0] != before[0]
    assert after[1] is WorkflowExecutionStatus.RUNNING


@pytest.mark.parametrize("state", ["completed", "cancelled", "halted", "paused"])
async def test_a_run_without_work_is_not_started_again(
    store: Database, ledger: Ledger, client: Client, state: str
) -> None:
    run = await add_run(ledger, state=state)
    await starter(store, client).look()
    assert await executions(client, run) is None


async def test_while_temporal_is_away_no_run_is_lost_or_keeps_the_others(
    store: Database, ledger: Ledger, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "_START_TIMEOUT_S", 0.3)
    runs = [await add_run(ledger) for _ in range(10)]
    away = await connect(TemporalSettings(address=f"127.0.0.1:{free_port()}"), lazy=True)
    async with asyncio.timeout(3):
        await starter(store, away).look()
    assert {(await run_row(ledger, run))["driven_at"] for run in runs} == {None}
    await starter(store, None).look()
    assert {(await run_row(ledger, run))["driven_at"] for run in runs} == {None}
    await starter(store, client).look()
    found = [await executions(client, run) for run in runs]
    assert {each[1] if each else None for each in found} == {WorkflowExecutionStatus.RUNNING}


async def test_one_start_that_fails_oddly_does_not_keep_the_others(
    store: Database, ledger: Ledger, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [await add_run(ledger) for _ in range(3)]
    real = campaigns.start_campaign

    async def start(given: Client, run: Any) -> None:
        if run.id == runs[1]:
            raise ValueError("a bug")
        await real(given, run)

    monkeypatch.setattr(campaigns, "start_campaign", start)
    await starter(store, client).look()
    assert [await executions(client, run) is not None for run in runs] == [True, False, True]
    assert (await run_row(ledger, runs[1]))["driven_at"] is None


async def test_the_loops_of_a_process_work(store: Database, ledger: Ledger, client: Client) -> None:
    run = await add_run(ledger)
    for loop in campaign_loops(store, lambda: client):
        assert await loop.work() is False
    assert await executions(client, run) is not None
