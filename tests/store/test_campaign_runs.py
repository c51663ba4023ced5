"""Runs as loops and orchestrator move them: due, decided, cancelled, closed; no deadlock with who pauses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.relay.ledger import Attempt, Ledger, month_of
from tests.relay.runs import add_contacts, add_run, campaign_state, freeze_all, outcomes, recipients, run_row
from waypost.messaging.values import AttemptState, RunState
from waypost.store.campaign_runs import (
    DueRun,
    any_open,
    cancel_runs_of_closed_tenants,
    due_runs,
    end_rows_of_cancelled,
    first_share_waiting,
    lock_now,
    not_driven,
    put_off_decision,
    release_rest,
    set_state,
)
from waypost.store.campaigns import get_campaign, move_run
from waypost.store.database import Database

AGAIN = timedelta(seconds=10)


@pytest.fixture(autouse=True)
async def nothing_left(ledger: Ledger) -> AsyncIterator[None]:
    """The loops look at all tenants: no test leaves runs for the next."""
    yield
    await ledger.execute("UPDATE campaign_runs SET state = 'completed'")


async def due(loops: Database) -> list[DueRun]:
    async with loops.transaction() as connection:
        return await due_runs(connection, again=AGAIN, limit=50)


async def sending(loops: Database, ledger: Ledger, count: int, **how: Any) -> UUID:
    """A run that is sending to so many."""
    await add_contacts(ledger, count)
    run = await add_run(ledger)
    await freeze_all(loops, ledger, run, **how)
    return run


async def test_a_run_is_due_at_its_time_and_again_after_a_while(loops: Database, ledger: Ledger) -> None:
    run = await add_run(ledger)
    (found,) = await due(loops)
    assert (found.id, found.tenant_id, found.placement, found.kind) == (run, ledger.tenant, "own", "first")
    assert await due(loops) == [], "asked for a moment ago"
    await ledger.execute("UPDATE campaign_runs SET driven_at = waypost_now() - interval '11 s' WHERE id = %s", (run,))
    assert [each.id for each in await due(loops)] == [run]


async def test_a_run_that_could_not_be_asked_for_is_due_at_once(loops: Database, ledger: Ledger) -> None:
    run = await add_run(ledger)
    (found,) = await due(loops)
    async with loops.transaction() as connection:
        await not_driven(connection, found)
    assert [each.id for each in await due(loops)] == [run]


@pytest.mark.parametrize("state", ["paused", "halted", "completed", "cancelled"])
async def test_a_run_that_nobody_drives_is_not_due(loops: Database, ledger: Ledger, state: str) -> None:
    await add_run(ledger, state=state)
    assert await due(loops) == []


async def test_before_its_time_and_of_a_suspended_tenant_it_is_not_due(loops: Database, ledger: Ledger) -> None:
    run = await add_run(ledger)
    await ledger.execute(
        "UPDATE campaign_runs SET scheduled_at = scheduled_at + interval '1 min' WHERE id = %s", (run,)
    )
    assert await due(loops) == []
    await ledger.execute("UPDATE campaign_runs SET scheduled_at = waypost_now() WHERE id = %s", (run,))
    await ledger.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (ledger.tenant,))
    assert await due(loops) == []


async def test_loops_at_once_get_each_run_once(loops: Database, ledger: Ledger) -> None:
    runs = {await add_run(ledger) for _ in range(12)}
    found = [run.id for each in await asyncio.gather(*(due(loops) for _ in range(4))) for run in each]
    assert len(found) == len(runs)
    assert set(found) == runs


async def test_the_rest_is_let_go_once_with_the_winner_and_its_shards_are_told(loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 5, first_share=0.5)
    for winner in (1, 0):
        async with loops.transaction() as connection:
            await release_rest(connection, tenant=ledger.tenant, run=run, winner=winner)
    row = await run_row(ledger, run)
    assert (row["open_cohort"], row["winner"], row["decide_at"]) == (1, 1, None)
    assert row["released_at"] is not None
    hints = await ledger.execute("SELECT signal FROM outbox WHERE workflow_id = %s", (f"campaign/{run}/shard-0",))
    assert [hint["signal"] for hint in hints] == ["wake"]


async def test_who_of_the_first_share_waits_is_counted(loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 60, first_share=0.5)
    first = [row for row in await recipients(ledger, run) if row["cohort"] == 0]
    assert await _waiting(loops, run) == len(first)
    await ledger.execute("UPDATE messages SET phase = 'held' WHERE id = %s", (first[0]["id"],))
    await ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'x' WHERE id = %s", (first[1]["id"],)
    )
    assert await _waiting(loops, run) == len(first) - 2


async def test_a_decision_is_put_off(loops: Database, ledger: Ledger) -> None:
    run = await add_run(ledger)
    async with loops.transaction() as connection:
        await put_off_decision(connection, tenant=ledger.tenant, run=run, after=timedelta(hours=1))
        now = await lock_now(connection, tenant=ledger.tenant, run=run)
    assert now is not None
    assert now.decide_at is not None
    assert timedelta(minutes=59) < now.decide_at - now.now <= timedelta(hours=1)


async def test_a_run_is_open_while_one_row_is_held(loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 3)
    await ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'x' WHERE run_id = %s", (run,)
    )
    assert not await _open(loops, run)
    (row, *_) = await recipients(ledger, run)
    await ledger.execute(
        "UPDATE messages SET phase = 'held', outcome = NULL, outcome_reason = NULL WHERE id = %s", (row["id"],)
    )
    assert await _open(loops, run)


async def test_a_state_is_the_campaign_s_too(loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 0)
    async with loops.transaction() as connection:
        await set_state(connection, tenant=ledger.tenant, run=run, state=RunState.COMPLETED, reason=None)
    assert await campaign_state(ledger, run) == "completed"
    assert (await run_row(ledger, run))["ended_at"] is not None


async def test_who_was_not_sent_to_yet_is_cancelled_with_the_run_and_the_rest_ends_by_itself(
    loops: Database, ledger: Ledger
) -> None:
    run = await sending(loops, ledger, 8, first_share=0.5)
    rows = await recipients(ledger, run)
    await ledger.execute("UPDATE messages SET phase = 'held' WHERE id = %s", (rows[0]["id"],))
    await ledger.execute("UPDATE messages SET phase = 'dispatched' WHERE id = %s", (rows[1]["id"],))
    assert await _ended(loops) == 0, "nothing of a run that goes on"
    async with loops.transaction() as connection:
        await set_state(connection, tenant=ledger.tenant, run=run, state=RunState.CANCELLED, reason="x")
    assert await _ended(loops, limit=4) == 4
    assert await _ended(loops) == 2
    assert await outcomes(ledger, run) == {("cancelled", "campaign_cancelled"): 6, (None, None): 2}
    await ledger.execute("UPDATE messages SET phase = 'ready' WHERE id = %s", (rows[1]["id"],))
    assert await _ended(loops) == 1, "what was in a call that turned out void"


async def test_a_closing_tenant_s_runs_and_recipients_end(loops: Database, ledger: Ledger) -> None:
    runs = [await sending(loops, ledger, 2), await add_run(ledger)]
    await ledger.execute("UPDATE tenants SET state = 'closing' WHERE id = %s", (ledger.tenant,))
    async with loops.transaction() as connection:
        assert await cancel_runs_of_closed_tenants(connection, limit=50) == 2
    assert [(await run_row(ledger, run))["state_reason"] for run in runs] == ["tenant_closed"] * 2
    assert await campaign_state(ledger, runs[0]) == "cancelled"
    assert await _ended(loops) == 2
    assert await outcomes(ledger, runs[0]) == {("cancelled", "tenant_closed"): 2}


async def test_who_pauses_and_who_decides_lock_in_the_same_order(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    """The tenant's requests lock campaign and run; the orchestrator's decisions move both. Neither kills the other."""
    run = await sending(loops, ledger, 2)
    (campaign,) = await ledger.execute(
        "SELECT c.key FROM campaigns c JOIN campaign_runs r ON r.campaign_id = c.id WHERE r.id = %s", (run,)
    )

    async def caller() -> None:
        for state in (RunState.PAUSED, RunState.SENDING) * 10:
            async with app.session(ledger.tenant) as session:
                row, found = await get_campaign(session, ledger.tenant, campaign["key"], mode="test", lock=True)
                assert found is not None
                await move_run(session, row, found, state=state, reason=None)

    async def decider() -> None:
        for _ in range(20):
            async with loops.transaction() as connection:
                now = await lock_now(connection, tenant=ledger.tenant, run=run)
                assert now is not None
                await set_state(connection, tenant=ledger.tenant, run=run, state=now.state, reason=None)

    async def closer() -> None:
        for _ in range(20):
            async with loops.transaction() as connection:
                await cancel_runs_of_closed_tenants(connection, limit=10)

    async with asyncio.timeout(20):
        await asyncio.gather(caller(), decider(), decider(), closer())


async def test_a_recipient_that_may_be_out_there_is_not_cancelled(loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 1)
    (row,) = await recipients(ledger, run)
    await ledger.execute("UPDATE messages SET phase = 'held', attempts = 1 WHERE id = %s", (row["id"],))
    await ledger.insert(
        "attempts",
        tenant_id=ledger.tenant,
        id=row["id"],
        message_id=row["id"],
        number=1,
        account_id=ledger.account,
        state=Attempt(AttemptState.UNKNOWN).state.value,
        claimed_at=row["created_at"],
        month=month_of(row["created_at"]),
        process="test",
    )
    async with loops.transaction() as connection:
        await set_state(connection, tenant=ledger.tenant, run=run, state=RunState.CANCELLED, reason="x")
    assert await _ended(loops) == 0
    assert await outcomes(ledger, run) == {(None, None): 1}


async def _ended(loops: Database, limit: int = 500) -> int:
    async with loops.transaction() as connection:
        return await end_rows_of_cancelled(connection, limit=limit)


async def _open(loops: Database, run: UUID) -> bool:
    async with loops.transaction() as connection:
        return await any_open(connection, run=run)


async def _waiting(loops: Database, run: UUID) -> int:
    async with loops.transaction() as connection:
        return await first_share_waiting(connection, run=run, shards=4)
