"""Rows whose time has come without anybody noticing."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.relay.ledger import Attempt, Ledger
from waypost.messaging.values import AttemptState
from waypost.store.database import Database
from waypost.store.sweeps import (
    cancel_of_closed_tenants,
    date_fallbacks,
    end_expired,
    forget_alerts,
    forget_requests,
    free_held,
    return_orphans,
    suspected_orphans,
    take_over_fallbacks,
)

LONG_AGO = "2020-01-01"
AGE = timedelta(seconds=30)


@pytest.mark.parametrize("phase", ["ready", "waiting"])
async def test_a_row_past_its_expiry_gets_that_outcome_and_verdict(store: Database, ledger: Ledger, phase: str) -> None:
    message = await ledger.add_message(phase=phase, expires_at=LONG_AGO)
    async with store.transaction() as connection:
        assert await end_expired(connection, limit=100) == 1
    row = await ledger.message(message)
    assert (row["phase"], row["outcome"], row["outcome_reason"]) == ("closed", "expired", "expired")
    verdicts = await ledger.execute("SELECT verdict, outcome FROM verdicts WHERE message_id = %s", (message,))
    assert verdicts == [{"verdict": "refuse", "outcome": "expired"}]


@pytest.mark.parametrize("phase", ["dispatched", "held"])
async def test_what_somebody_drives_is_not_expired_here(store: Database, ledger: Ledger, phase: str) -> None:
    message = await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase=phase, expires_at=LONG_AGO)
    async with store.transaction() as connection:
        await end_expired(connection, limit=100)
    assert (await ledger.message(message))["outcome"] is None


async def test_an_expired_primary_makes_its_fallback_due(store: Database, ledger: Ledger) -> None:
    source = uuid4()
    primary = await ledger.add_message(phase="ready", expires_at=LONG_AGO, source_id=source)
    fallback = await ledger.add_message(
        phase="waiting", due_at=None, source_id=source, part="fallback", primary_id=primary
    )
    async with store.transaction() as connection:
        await end_expired(connection, limit=100)
    assert (await ledger.message(fallback))["due_at"] is not None


@pytest.mark.parametrize("state", ["closing", "closed"])
async def test_every_row_of_a_closed_tenant_is_cancelled_in_batches(
    store: Database, ledger: Ledger, state: str
) -> None:
    messages = [await ledger.add_message(phase="ready", lane=lane) for lane in ("fast", "bulk", "fast")]
    messages.append(await ledger.add_message(phase="waiting", due_at=None))
    held = await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held")
    await ledger.execute("UPDATE tenants SET state = %s WHERE id = %s", (state, ledger.tenant))
    moved = []
    for _ in range(3):
        async with store.transaction() as connection:
            moved.append(await cancel_of_closed_tenants(connection, limit=3))
    assert moved == [3, 1, 0]
    rows = [await ledger.message(message) for message in messages]
    assert {(row["outcome"], row["outcome_reason"]) for row in rows} == {("cancelled", "tenant_closed")}
    assert (await ledger.message(held))["outcome"] is None


async def test_a_fallback_that_nobody_sent_is_taken_over(store: Database, ledger: Ledger) -> None:
    lost = await ledger.add_message(phase="waiting", due_at=LONG_AGO)
    async with store.transaction() as connection:
        assert await take_over_fallbacks(connection, grace=timedelta(seconds=60), limit=100) == 1
    assert (await ledger.message(lost))["phase"] == "ready"


@pytest.mark.parametrize(("outcome", "due"), [("failed", True), ("sent", False)])
async def test_a_fallback_without_a_date_gets_one_once_its_primary_has_ended(
    store: Database, ledger: Ledger, outcome: str, due: bool
) -> None:
    now = (await ledger.execute("SELECT waypost_now() AS now"))[0]["now"]
    ended = {"phase": "closed", "outcome": outcome, "outcome_reason": "x", "outcome_at": now}
    source = uuid4()
    primary = await ledger.add_message(source_id=source, fallback_after=timedelta(minutes=10), **ended)
    fallback = await ledger.add_message(
        phase="waiting", due_at=None, source_id=source, part="fallback", primary_id=primary
    )
    async with store.transaction() as connection:
        assert await date_fallbacks(connection, limit=100) == 1
    rows = await ledger.execute("SELECT due_at <= waypost_now() AS due FROM messages WHERE id = %s", (fallback,))
    assert rows == [{"due": due}]


async def test_old_requests_are_forgotten(store: Database, ledger: Ledger) -> None:
    for expires_at in (LONG_AGO, "2999-01-01"):
        await ledger.insert(
            "requests",
            tenant_id=ledger.tenant,
            id=uuid4(),
            idempotency_key=expires_at,
            body_hash=b"",
            message_id=uuid4(),
            expires_at=expires_at,
        )
    async with store.transaction() as connection:
        assert await forget_requests(connection, limit=100) == 1


async def test_only_rows_without_a_call_under_way_are_suspects(store: Database, ledger: Ledger) -> None:
    lost = await ledger.add_message(dispatched_at=LONG_AGO)
    calling = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT), dispatched_at=LONG_AGO)
    fresh = await ledger.add_message(dispatched_at=(await ledger.execute("SELECT waypost_now() AS n"))[0]["n"])
    async with store.transaction() as connection:
        suspects = await suspected_orphans(connection, lane="fast", age=AGE, after=None, limit=100)
        later = await suspected_orphans(connection, lane="fast", age=AGE, after=suspects[-1], limit=100)
    found = {suspect.key[1] for suspect in suspects}
    assert lost in found
    assert not {calling, fresh} & found
    assert later == []


async def test_an_orphan_waits_again_but_not_if_it_was_claimed_meanwhile(store: Database, ledger: Ledger) -> None:
    lost = await ledger.add_message(dispatched_at=LONG_AGO)
    calling = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT), dispatched_at=LONG_AGO)
    keys = [(ledger.tenant, lost), (ledger.tenant, calling)]
    async with store.transaction() as connection:
        assert await return_orphans(connection, keys, age=AGE) == 1
    assert (await ledger.message(lost))["phase"] == "ready"
    assert (await ledger.message(calling))["phase"] == "dispatched"


async def test_a_held_row_without_an_open_attempt_waits_for_nothing(store: Database, ledger: Ledger) -> None:
    stuck = await ledger.add_message(Attempt(AttemptState.VOID), phase="held", hold_reason="attempt_unknown")
    waiting = await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held", hold_reason="attempt_unknown")
    async with store.transaction() as connection:
        assert await free_held(connection, limit=100) == 1
    assert [(await ledger.message(each))["phase"] for each in (stuck, waiting)] == ["ready", "held"]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (AttemptState.VOID, "expired"),
        (AttemptState.REJECTED, "expired"),
        (AttemptState.ABANDONED, "maybe_sent"),
        (AttemptState.UNKNOWN, "maybe_sent"),
        (AttemptState.IN_FLIGHT, "maybe_sent"),
    ],
)
async def test_a_row_of_which_an_attempt_may_have_arrived_is_not_called_unsent(
    store: Database, ledger: Ledger, state: AttemptState, outcome: str
) -> None:
    """A first try that was given up, or an orphan's attempt: evidence corrects maybe_sent, but never expired."""
    message = await ledger.add_message(Attempt(state), phase="ready", expires_at=LONG_AGO)
    async with store.transaction() as connection:
        await end_expired(connection, limit=100)
    row = await ledger.message(message)
    assert (row["outcome"], row["outcome_reason"]) == (outcome, "expired")


async def test_alerts_that_ended_long_ago_are_forgotten(store: Database, ledger: Ledger) -> None:
    subjects = {name: f"{name}-{uuid4()}" for name in ("holds", "ended", "forgotten")}
    for subject in subjects.values():
        await ledger.insert("alerts", rule="account_paused", subject=subject, advice="wait")
    end = "UPDATE alerts SET ended_at = waypost_now() - %s WHERE subject = %s"
    await ledger.execute(end, (timedelta(days=89), subjects["ended"]))
    await ledger.execute(end, (timedelta(days=91), subjects["forgotten"]))
    async with store.transaction() as connection:
        assert await forget_alerts(connection, limit=100) == 1
    kept = await ledger.execute("SELECT subject FROM alerts WHERE subject = ANY(%s)", (list(subjects.values()),))
    assert {row["subject"] for row in kept} == {subjects["holds"], subjects["ended"]}
