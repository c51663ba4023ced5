"""What is forgotten after its time, and what never is."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from tests.relay.ledger import Attempt, Ledger
from tests.store.journey_rows import add_contact, add_journey, document
from waypost.messaging import ids
from waypost.messaging.values import AttemptState
from waypost.settings import WorkerSettings
from waypost.store.database import Database
from waypost.store.retention import (
    forget_enrollments,
    forget_events,
    forget_inbound,
    forget_journey_audit,
    forget_messages,
    forget_verdicts,
)

DAYS = 90
OLD = timedelta(days=DAYS, seconds=60)
YOUNG = timedelta(days=DAYS, seconds=-60)

Forget = Callable[..., Awaitable[int]]


async def forget(store: Database, step: Forget, *, days: int = DAYS, limit: int = 100) -> int:
    async with store.transaction() as connection:
        return await step(connection, days=days, limit=limit)


async def add_event(ledger: Ledger, age: timedelta, **columns: Any) -> str:
    event_id = str(uuid4())
    base = {"account_id": ledger.account, "event_id": event_id, "kind": "delivery", "raw": "{}"}
    await ledger.insert("provider_events", occurred_at="2020-01-01", month="2020-01-01", **(base | columns))
    await ledger.execute(
        "UPDATE provider_events SET received_at = waypost_now() - %s WHERE event_id = %s", (age, event_id)
    )
    return event_id


async def add_ended(ledger: Ledger, *attempts: Attempt, age: timedelta = OLD, **columns: Any) -> UUID:
    ended: dict[str, Any] = {"phase": "closed", "outcome": "sent", "outcome_reason": "accepted"}
    then = (await ledger.execute("SELECT waypost_now() - %s AS at", (age,)))[0]["at"]
    ended |= {"created_at": then, "outcome_at": None if columns.get("outcome", "sent") is None else then}
    return await ledger.add_message(*attempts, **(ended | columns))


async def exists(ledger: Ledger, message: UUID) -> bool:
    return bool(await ledger.execute("SELECT id FROM messages WHERE id = %s", (message,)))


@pytest.fixture(autouse=True)
async def no_events(ledger: Ledger) -> None:
    """What other tests left, young before old, is no order that events come in."""
    await ledger.execute("DELETE FROM provider_events")


async def test_old_events_go_in_batches_and_young_ones_stay(store: Database, ledger: Ledger) -> None:
    for _ in range(3):
        await add_event(ledger, OLD)
    young = await add_event(ledger, YOUNG)
    assert [await forget(store, forget_events, limit=2) for _ in range(3)] == [2, 1, 0]
    kept = await ledger.execute("SELECT event_id FROM provider_events WHERE account_id = %s", (ledger.account,))
    assert kept == [{"event_id": young}]


async def test_an_account_with_an_old_attempt_of_unknown_fate_keeps_its_events(store: Database, ledger: Ledger) -> None:
    await add_event(ledger, OLD, kind="unparsable", apply_error="x")
    message = await ledger.add_message(Attempt(AttemptState.UNKNOWN, age=OLD), phase="held")
    assert await forget(store, forget_events) == 0
    await ledger.execute("UPDATE attempts SET state = 'assumed_sent' WHERE message_id = %s", (message,))
    assert await forget(store, forget_events) == 1


async def test_old_inbound_texts_and_verdicts_go(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    for age in (OLD, YOUNG):
        at = (await ledger.execute("SELECT waypost_now() - %s AS at", (age,)))[0]["at"]
        await ledger.insert(
            "inbound_messages",
            account_id=ledger.account,
            provider_message_id=str(uuid4()),
            channel="sms",
            from_address="+436641234567",
            to_address="+436641234568",
            body="hi",
            received_at=at,
        )
        await ledger.insert(
            "verdicts", tenant_id=ledger.tenant, message_id=message, at=at, verdict="defer", reason="not_due"
        )
    for step in (forget_inbound, forget_verdicts):
        assert [await forget(store, step, days=0), await forget(store, step), await forget(store, step)] == [0, 1, 0]


async def test_a_message_that_ended_long_ago_goes_with_all_it_has(store: Database, ledger: Ledger) -> None:
    old = await add_ended(ledger, Attempt(AttemptState.VOID), Attempt(AttemptState.ACCEPTED))
    young = await add_ended(ledger, Attempt(), age=YOUNG)
    attempt = (await ledger.attempts(old))[0]["id"]
    event = await add_event(ledger, YOUNG, attempt_id=attempt)
    await ledger.insert("verdicts", tenant_id=ledger.tenant, message_id=old, verdict="defer", reason="not_due")
    assert await forget(store, forget_messages, days=0) == 0
    assert [await forget(store, forget_messages) for _ in range(2)] == [1, 0]
    assert not await exists(ledger, old)
    assert await exists(ledger, young)
    assert await ledger.attempts(old) == []
    assert await ledger.execute("SELECT id FROM provider_events WHERE event_id = %s", (event,)) == []


async def test_many_old_messages_go_in_batches(store: Database, ledger: Ledger) -> None:
    for _ in range(3):
        await add_ended(ledger, Attempt())
    assert [await forget(store, forget_messages, limit=2) for _ in range(3)] == [2, 1, 0]


@pytest.mark.parametrize("state", [AttemptState.IN_FLIGHT, AttemptState.UNKNOWN, AttemptState.ABANDONED])
async def test_an_attempt_of_unknown_fate_is_never_forgotten(
    store: Database, ledger: Ledger, state: AttemptState
) -> None:
    message = await add_ended(ledger, Attempt(state))
    assert await forget(store, forget_messages) == 0
    assert await exists(ledger, message)


async def test_a_message_without_an_outcome_is_never_forgotten(store: Database, ledger: Ledger) -> None:
    message = await add_ended(ledger, phase="ready", outcome=None, outcome_reason=None)
    assert await forget(store, forget_messages) == 0
    assert await exists(ledger, message)


async def test_a_primary_stays_as_long_as_its_fallback_waits(store: Database, ledger: Ledger) -> None:
    primary = await add_ended(ledger, Attempt())
    fallback = await ledger.add_message(phase="waiting", due_at=None, part="fallback", primary_id=primary)
    assert await forget(store, forget_messages) == 0
    await ledger.execute("DELETE FROM messages WHERE id = %s", (fallback,))
    assert await forget(store, forget_messages) == 1


async def test_a_message_stays_as_long_as_its_key_is_kept(store: Database, ledger: Ledger) -> None:
    request = uuid4()
    message = await add_ended(ledger, Attempt(), source_id=request)
    await ledger.insert(
        "requests",
        tenant_id=ledger.tenant,
        id=request,
        idempotency_key="receipt-1",
        body_hash=b"",
        message_id=message,
        expires_at="2999-01-01",
    )
    assert await forget(store, forget_messages) == 0
    await ledger.execute("DELETE FROM requests WHERE id = %s", (request,))
    assert await forget(store, forget_messages) == 1


async def keep(ledger: Ledger, *, tenant: UUID | None = None, **days: int | None) -> None:
    """A tenant's own retention, in days: messages=, events=."""
    for what, count in days.items():
        column = {"messages": "message_retention_days", "events": "event_retention_days"}[what]
        await ledger.execute(f"UPDATE tenants SET {column} = %s WHERE id = %s", (count, tenant or ledger.tenant))  # noqa: S608 - a name of the two above


async def test_a_tenant_keeps_its_messages_as_long_as_it_wants(store: Database, ledger: Ledger) -> None:
    message = await add_ended(ledger, Attempt())
    await keep(ledger, messages=DAYS + 1)
    assert await forget(store, forget_messages) == 0
    await keep(ledger, messages=DAYS)
    assert [await forget(store, forget_messages, days=0), await exists(ledger, message)] == [1, False]


@pytest.mark.parametrize("installation", [0, 365])
async def test_a_tenant_may_keep_its_events_shorter(store: Database, ledger: Ledger, installation: int) -> None:
    other, _ = await ledger.add_tenant(ledger.account)
    kept = [await add_event(ledger, OLD, tenant_id=other), await add_event(ledger, OLD)]
    await add_event(ledger, OLD, tenant_id=ledger.tenant)
    kept.append(await add_event(ledger, YOUNG, tenant_id=ledger.tenant))
    await keep(ledger, events=DAYS)
    assert [await forget(store, forget_events, days=installation) for _ in range(2)] == [1, 0]
    assert await events_left(ledger) == kept
    await keep(ledger, events=None)


async def test_a_tenant_that_keeps_its_events_longer_holds_up_nobody_elses(store: Database, ledger: Ledger) -> None:
    await keep(ledger, events=DAYS + 1)
    kept = [await add_event(ledger, OLD, tenant_id=ledger.tenant) for _ in range(3)]
    for _ in range(2):
        await add_event(ledger, OLD)
    assert [await forget(store, forget_events, limit=2) for _ in range(2)] == [2, 0]
    assert await events_left(ledger) == kept
    await keep(ledger, events=None)


async def test_a_tenants_verdicts_go_with_its_events(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    at = (await ledger.execute("SELECT waypost_now() - %s AS at", (OLD,)))[0]["at"]
    verdict = {"tenant_id": ledger.tenant, "message_id": message, "at": at, "verdict": "defer", "reason": "not_due"}
    await ledger.insert("verdicts", **verdict)
    await keep(ledger, events=DAYS + 1)
    assert await forget(store, forget_verdicts) == 0
    await keep(ledger, events=DAYS)
    assert await forget(store, forget_verdicts, days=0) == 1
    await keep(ledger, events=None)


async def test_without_events_there_is_nothing_to_forget(store: Database) -> None:
    assert await forget(store, forget_events) == 0


async def events_left(ledger: Ledger) -> list[str]:
    rows = await ledger.execute(
        "SELECT event_id FROM provider_events WHERE account_id = %s ORDER BY id", (ledger.account,)
    )
    return [row["event_id"] for row in rows]


def test_a_retention_under_what_queues_keep_is_refused() -> None:
    assert WorkerSettings(event_retention_days=0, message_retention_days=15).message_retention_days == 15
    with pytest.raises(ValidationError, match="at least 15 days"):
        WorkerSettings(event_retention_days=14)


async def add_walk(ledger: Ledger, journey: UUID, contact: UUID, *, number: int, age: timedelta | None) -> UUID:
    """An enrollment with one step; `age`: ended so long ago."""
    identity = uuid4()
    await ledger.insert(
        "enrollments",
        tenant_id=ledger.tenant,
        id=identity,
        journey_id=journey,
        version_id=ids.journey_version_id(journey=journey, number=1),
        contact_id=contact,
        number=number,
        mode="test",
        source="api",
        data='{"name": "Ann"}',
        visits=1,
    )
    await ledger.insert(
        "enrollment_visits",
        tenant_id=ledger.tenant,
        enrollment_id=identity,
        number=1,
        step="wait",
        kind="wait",
        entered_at="2020-01-01",
    )
    if age is not None:
        await ledger.execute(
            "UPDATE enrollments SET state = 'ended', how = 'completed', ended_at = waypost_now() - %s WHERE id = %s",
            (age, identity),
        )
    return identity


async def walks(ledger: Ledger) -> list[tuple[Any, ...]]:
    """Number, whether it is empty, and how many visits are left."""
    rows = await ledger.execute(
        "SELECT number, data = '{}' AS empty, (SELECT count(*) FROM enrollment_visits v WHERE v.enrollment_id = e.id)"
        " AS visits FROM enrollments e WHERE tenant_id = %s ORDER BY number",
        (ledger.tenant,),
    )
    return [tuple(row.values()) for row in rows]


async def test_old_enrollments_go_but_for_the_last_as_long_as_there_is_a_contact(
    store: Database, ledger: Ledger
) -> None:
    journey = await add_journey(ledger, document("old"))
    contact = await add_contact(ledger, "ann")
    for number in (1, 2):
        await add_walk(ledger, journey, contact, number=number, age=OLD)
    assert await forget(store, forget_enrollments, days=0) == 0
    assert [await forget(store, forget_enrollments, limit=1) for _ in range(3)] == [1, 1, 0]
    assert await walks(ledger) == [(2, True, 0)]
    gone = await add_contact(ledger, "bob")
    await add_walk(ledger, journey, gone, number=3, age=OLD)
    await ledger.execute("DELETE FROM contacts WHERE id = %s", (gone,))
    assert await forget(store, forget_enrollments) == 1
    assert await walks(ledger) == [(2, True, 0)]


async def test_enrollments_that_are_young_open_or_still_send_stay(store: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("young"))
    contacts = [await add_contact(ledger, name) for name in ("a", "b", "c")]
    for number, (contact, age) in enumerate(zip(contacts, (YOUNG, None, OLD), strict=True), 1):
        last = await add_walk(ledger, journey, contact, number=number, age=age)
    message = await ledger.add_message(source="journey", enrollment_id=last, phase="ready")
    assert await forget(store, forget_enrollments) == 0
    assert await walks(ledger) == [(1, False, 1), (2, False, 1), (3, False, 1)]
    await ledger.execute("DELETE FROM messages WHERE id = %s", (message,))
    assert await forget(store, forget_enrollments) == 1


async def test_old_deeds_of_journeys_go_in_batches(store: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("audited"))
    for age in (OLD, OLD, YOUNG):
        await ledger.execute(
            "INSERT INTO journey_audit (tenant_id, journey_id, at, action, actor)"
            " VALUES (%s, %s, waypost_now() - %s, 'paused', 'key')",
            (ledger.tenant, journey, age),
        )
    assert [await forget(store, forget_journey_audit, limit=1) for _ in range(3)] == [1, 1, 0]
    await ledger.execute("UPDATE tenants SET message_retention_days = 15 WHERE id = %s", (ledger.tenant,))
    assert await forget(store, forget_journey_audit, days=0) == 1
