"""The record: how an attempt ended, written once, never over evidence that came first."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.relay.ledger import Attempt, Ledger, arrivals, event
from waypost.messaging.ids import attempt_id
from waypost.messaging.values import AttemptState, EventKind, Outcome, Phase
from waypost.store.attempts import Ending, abandon, record, start_fallback, waiting_fallback
from waypost.store.database import Database
from waypost.store.events import apply_events, store_events

ACCEPTED = Ending(
    state=AttemptState.ACCEPTED,
    phase=Phase.CLOSED,
    provider_message_id="ses-1",
    outcome=Outcome.SENT,
    reason="accepted",
)
VOID = Ending(
    state=AttemptState.VOID,
    phase=Phase.READY,
    code="Throttling",
    reason="throttled",
    retry_after=timedelta(seconds=30),
)
REJECTED = Ending(state=AttemptState.REJECTED, phase=Phase.CLOSED, code="Bad", outcome=Outcome.FAILED, reason="Bad")
UNKNOWN = Ending(state=AttemptState.UNKNOWN, phase=Phase.HELD, code="timed_out", reason="attempt_unknown")
ASSUMED = Ending(
    state=AttemptState.ASSUMED_SENT,
    phase=Phase.CLOSED,
    code="timed_out",
    outcome=Outcome.MAYBE_SENT,
    reason="at_most_once",
)


async def recorded(
    app: Database, ledger: Ledger, message: UUID, ending: Ending, *, number: int = 1, **who: UUID
) -> bool:
    """One record in a transaction of its own, as the tenant (or as another)."""
    async with app.transaction(who.get("tenant", ledger.tenant)) as connection:
        attempt = attempt_id(message=message, number=number)
        return await record(
            connection, tenant=ledger.tenant, attempt=attempt, month=await ledger.month(), ending=ending
        )


async def story(ledger: Ledger, message: UUID) -> dict[str, Any]:
    """What matters of a message, and its attempts' states."""
    row = await ledger.message(message)
    return {name: row[name] for name in ("phase", "outcome", "outcome_reason", "hold_reason")} | {
        "attempts": [attempt["state"] for attempt in await ledger.attempts(message)]
    }


def _story(phase: str, outcome: str | None, reason: str | None, hold: str | None, *attempts: str) -> dict[str, Any]:
    return {
        "phase": phase,
        "outcome": outcome,
        "outcome_reason": reason,
        "hold_reason": hold,
        "attempts": list(attempts),
    }


@pytest.mark.parametrize("before", [AttemptState.IN_FLIGHT, AttemptState.UNKNOWN])
@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (ACCEPTED, _story("closed", "sent", "accepted", None, "accepted")),
        (VOID, _story("ready", None, None, "throttled", "void")),
        (REJECTED, _story("closed", "failed", "Bad", None, "rejected")),
        (UNKNOWN, _story("held", None, None, "attempt_unknown", "unknown")),
        (ASSUMED, _story("closed", "maybe_sent", "at_most_once", None, "assumed_sent")),
    ],
)
async def test_each_ending(
    app: Database, ledger: Ledger, before: AttemptState, ending: Ending, expected: dict[str, Any]
) -> None:
    message = await ledger.add_message(Attempt(before))
    assert await recorded(app, ledger, message, ending)
    assert await story(ledger, message) == expected
    (attempt,) = await ledger.attempts(message)
    assert attempt["recorded_at"] is not None
    assert (attempt["code"], attempt["provider_message_id"]) == (ending.code, ending.provider_message_id)


async def test_a_void_attempts_message_waits_as_long_as_the_provider_asks(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT))
    await recorded(app, ledger, message, VOID)
    row = await ledger.message(message)
    assert timedelta(seconds=25) < row["due_at"] - await _now(ledger) <= timedelta(seconds=30)
    assert row["dispatched_at"] is None


async def test_a_message_that_may_go_at_once_still_waits_for_its_execution_to_close(
    app: Database, ledger: Ledger
) -> None:
    message = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT))
    ending = Ending(state=AttemptState.VOID, phase=Phase.READY, reason="fence_passed", retry_after=timedelta())
    before = await _now(ledger)
    await recorded(app, ledger, message, ending)
    assert (await ledger.message(message))["due_at"] - before >= timedelta(milliseconds=200)


@pytest.mark.parametrize("ending", [VOID, REJECTED, UNKNOWN, ASSUMED, ACCEPTED])
async def test_evidence_that_came_first_stays(app: Database, loops: Database, ledger: Ledger, ending: Ending) -> None:
    message = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT))
    await _report(loops, ledger, message, EventKind.SEND)
    assert not await recorded(app, ledger, message, ending)
    assert await story(ledger, message) == _story("closed", "sent", "accepted", None, "accepted")
    (attempt,) = await ledger.attempts(message)
    assert attempt["recorded_at"] is not None


@pytest.mark.parametrize("ending", [VOID, REJECTED, UNKNOWN, ASSUMED])
@pytest.mark.parametrize("state", [AttemptState.VOID, AttemptState.REJECTED, AttemptState.ASSUMED_SENT])
async def test_what_was_resolved_is_not_recorded_over(
    app: Database, ledger: Ledger, ending: Ending, state: AttemptState
) -> None:
    message = await ledger.add_message(Attempt(state), phase="ready")
    assert not await recorded(app, ledger, message, ending)
    assert [attempt["state"] for attempt in await ledger.attempts(message)] == [state]
    assert (await ledger.message(message))["phase"] == "ready"


async def test_a_second_record_changes_nothing(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT))
    await recorded(app, ledger, message, ACCEPTED)
    before = await ledger.message(message)
    assert not await recorded(app, ledger, message, VOID)
    assert await ledger.message(message) == before


async def test_another_tenant_can_record_nothing(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT))
    other, _ = await ledger.add_tenant(ledger.account)
    assert not await recorded(app, ledger, message, ACCEPTED, tenant=other)
    assert await story(ledger, message) == _story("dispatched", None, None, None, "in_flight")


GIVEN_UP = Attempt(AttemptState.ABANDONED, resolution="login_code_retry")


@pytest.mark.parametrize("second", [AttemptState.IN_FLIGHT, AttemptState.UNKNOWN])
@pytest.mark.parametrize(
    ("ending", "first"), [(VOID, "void"), (REJECTED, "rejected"), (UNKNOWN, "abandoned"), (ASSUMED, "abandoned")]
)
async def test_a_given_up_attempt_that_comes_back_leaves_the_message_to_the_second(
    app: Database, ledger: Ledger, second: AttemptState, ending: Ending, first: str
) -> None:
    message = await ledger.add_message(GIVEN_UP, Attempt(second))
    assert not await recorded(app, ledger, message, ending)
    assert await story(ledger, message) == _story("dispatched", None, None, None, first, second)
    assert await recorded(app, ledger, message, ACCEPTED, number=2)
    assert (await story(ledger, message))["outcome"] == "sent"


@pytest.mark.parametrize(
    ("second", "resolution"), [(AttemptState.IN_FLIGHT, "evidence"), (AttemptState.ACCEPTED, "allowed_duplicate")]
)
async def test_a_given_up_attempt_that_was_accepted_is_told_beside_the_second(
    app: Database, ledger: Ledger, second: AttemptState, resolution: str
) -> None:
    message = await ledger.add_message(GIVEN_UP, Attempt(second))
    await recorded(app, ledger, message, ACCEPTED)
    assert await story(ledger, message) == _story("closed", "sent", "accepted", None, "abandoned", second)
    assert (await ledger.attempts(message))[0]["resolution"] == resolution


async def test_a_given_up_attempt_that_was_accepted_ends_a_message_whose_second_was_not_made(
    app: Database, ledger: Ledger
) -> None:
    message = await ledger.add_message(GIVEN_UP)
    assert await recorded(app, ledger, message, ACCEPTED)
    assert await story(ledger, message) == _story("closed", "sent", "accepted", None, "accepted")


@pytest.mark.parametrize(
    ("state", "given_up"), [("in_flight", True), ("unknown", True), ("accepted", False), ("void", False)]
)
async def test_only_an_attempt_without_an_answer_is_given_up(
    app: Database, ledger: Ledger, state: str, *, given_up: bool
) -> None:
    message = await ledger.add_message(Attempt(AttemptState(state)), phase="held")
    async with app.transaction(ledger.tenant) as connection:
        attempt = attempt_id(message=message, number=1)
        assert await abandon(connection, tenant=ledger.tenant, attempt=attempt, month=await ledger.month()) == given_up
    row = await ledger.message(message)
    assert row["phase"] == ("dispatched" if given_up else "held")


async def _pair(ledger: Ledger, **primary: Any) -> tuple[UUID, UUID]:
    first = await ledger.add_message(fallback_after=timedelta(minutes=10), **primary)
    row = await ledger.message(first)
    second = await ledger.add_message(
        source_id=row["source_id"], part="fallback", primary_id=first, phase="waiting", due_at=None
    )
    return first, second


async def _started(app: Database, ledger: Ledger, primary: UUID) -> tuple[UUID, datetime] | None:
    async with app.transaction(ledger.tenant) as connection:
        await start_fallback(connection, tenant=ledger.tenant, message=primary)
        return await waiting_fallback(connection, tenant=ledger.tenant, message=primary)


async def test_a_fallbacks_clock_starts_once(app: Database, ledger: Ledger) -> None:
    primary, fallback = await _pair(ledger)
    first = await _started(app, ledger, primary)
    assert first is not None
    assert first[0] == fallback
    assert timedelta(minutes=9) < first[1] - await _now(ledger) <= timedelta(minutes=10)
    assert await _started(app, ledger, primary) == first


async def test_the_fallback_of_a_failed_primary_is_due_at_once(app: Database, ledger: Ledger) -> None:
    primary, _ = await _pair(ledger, phase="closed", outcome="failed", outcome_reason="Bad")
    started = await _started(app, ledger, primary)
    assert started is not None
    assert started[1] <= await _now(ledger)


async def test_beyond_a_bound_a_fallback_waits_as_a_row(app: Database, ledger: Ledger) -> None:
    await ledger.execute(
        "INSERT INTO messages (tenant_id, id, source, source_id, lane, class, mode, channel, address, sender_id,"
        " account_id, phase, due_at, expires_at)"
        " SELECT %(tenant)s, gen_random_uuid(), 'transactional', gen_random_uuid(), 'fast', 'transactional', 'test',"
        " 'email', 'a@example.com', %(sender)s, %(account)s, 'waiting', waypost_now(), waypost_now() + interval '1 day'"
        " FROM generate_series(1, 1000)",
        {"tenant": ledger.tenant, "sender": ledger.sender, "account": ledger.account},
    )
    primary, fallback = await _pair(ledger)
    assert await _started(app, ledger, primary) is None
    row = await ledger.message(fallback)
    assert row["phase"] == "ready"
    assert row["due_at"] > await _now(ledger)


async def _report(loops: Database, ledger: Ledger, message: UUID, kind: EventKind) -> None:
    async with loops.transaction() as connection:
        await store_events(connection, arrivals(ledger.account, [event(message, kind)]))
        await apply_events(connection, limit=10, signal="delivery-changed")


async def _now(ledger: Ledger) -> datetime:
    now: datetime = (await ledger.execute("SELECT waypost_now() AS now"))[0]["now"]
    return now
