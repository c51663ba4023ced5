"""Storing and applying provider events, on PostgreSQL."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from tests.relay.ledger import NOW, Attempt, Ledger, arrivals, event, until
from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import AttemptState, EventKind
from waypost.relay.intake import Intake, IntakeMetrics
from waypost.store import events as events_module
from waypost.store.database import Database
from waypost.store.event_effects import Change
from waypost.store.events import (
    Taken,
    apply_events,
    set_aside,
    store_and_apply,
    store_events,
    store_unparsable,
)

SIGNAL = "delivery-changed"


@pytest.fixture(autouse=True)
async def nothing_waits(ledger: Ledger) -> None:
    """What another test left unapplied in the module's database is no part of this one's batches."""
    await ledger.execute("UPDATE provider_events SET applied_at = waypost_now() WHERE applied_at IS NULL RETURNING id")


async def feed(store: Database, account: UUID, *events: ProviderEvent) -> None:
    """Store, then apply until nothing waits."""
    async with store.transaction() as connection:
        await store_events(connection, arrivals(account, events))
    applied = 1
    while applied:
        async with store.transaction() as connection:
            applied = (await apply_events(connection, limit=500, signal=SIGNAL)).events


async def test_an_event_is_stored_once_with_its_tenant_and_message(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt())
    sent = event(message, EventKind.SEND)
    async with store.transaction() as connection:
        first = await store_events(connection, arrivals(ledger.account, [sent, sent]))
        second = await store_events(connection, arrivals(ledger.account, [sent]))
    assert (len(first), second) == (1, [])
    row = (await ledger.execute("SELECT * FROM provider_events WHERE id = %s", (first[0],)))[0]
    assert (row["tenant_id"], row["message_id"], row["applied_at"]) == (ledger.tenant, message, None)


async def test_an_event_of_another_account_finds_no_attempt(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held")
    stranger = await ledger.add_account()
    await feed(store, stranger, event(message, EventKind.DELIVERY))
    assert (await ledger.message(message))["outcome"] is None


async def test_events_climb_the_status_and_date_the_send(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(), phase="closed", outcome="sent", outcome_reason="accepted")
    await feed(
        store,
        ledger.account,
        event(message, EventKind.DELIVERY, at=NOW + timedelta(seconds=2)),
        event(message, EventKind.SEND),
    )
    assert (await ledger.message(message))["delivery"] == "delivered"
    assert (await ledger.attempts(message))[0]["send_event_at"] == NOW


async def test_a_proxys_open_is_told_apart_from_a_readers(store: Database, ledger: Ledger) -> None:
    ended = {"phase": "closed", "outcome": "sent", "outcome_reason": "accepted"}
    scanned, read = await ledger.add_message(Attempt(), **ended), await ledger.add_message(Attempt(), **ended)
    await feed(store, ledger.account, event(scanned, EventKind.DELIVERY), event(read, EventKind.OPEN))
    await feed(store, ledger.account, event(scanned, EventKind.OPEN, machine=True))
    rows = [await ledger.message(message) for message in (scanned, read)]
    assert [(row["delivery"], row["machine_opened"]) for row in rows] == [("delivered", True), ("opened", False)]


@pytest.mark.parametrize("state", [AttemptState.IN_FLIGHT, AttemptState.UNKNOWN, AttemptState.ABANDONED])
async def test_evidence_makes_an_attempt_accepted_and_its_message_sent(
    store: Database, ledger: Ledger, state: AttemptState
) -> None:
    message = await ledger.add_message(Attempt(state), hold_reason="attempt_unknown", phase="held")
    await feed(store, ledger.account, event(message, EventKind.SEND))
    row, (attempt,) = await ledger.message(message), await ledger.attempts(message)
    assert (attempt["state"], attempt["resolution"], attempt["provider_message_id"]) == (
        "accepted",
        "evidence",
        "ses-1",
    )
    assert (row["phase"], row["outcome"], row["outcome_reason"], row["hold_reason"]) == (
        "closed",
        "sent",
        "accepted",
        None,
    )
    assert row["outcome_at"] is not None


async def test_evidence_corrects_maybe_sent(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(
        Attempt(AttemptState.ASSUMED_SENT), phase="closed", outcome="maybe_sent", outcome_reason="horizon"
    )
    await feed(store, ledger.account, event(message, EventKind.SEND))
    row = await ledger.message(message)
    assert (row["outcome"], row["outcome_reason"]) == ("sent", "evidence")
    assert (await ledger.attempts(message))[0]["state"] == "accepted"


async def test_no_other_outcome_is_corrected(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(
        Attempt(AttemptState.VOID), phase="closed", outcome="expired", outcome_reason="expired"
    )
    await feed(store, ledger.account, event(message, EventKind.SEND))
    assert (await ledger.message(message))["outcome"] == "expired"
    (attempt,) = await ledger.attempts(message)
    assert (attempt["state"], attempt["resolution"]) == ("accepted", "late_acceptance")


async def test_a_late_acceptance_of_a_void_attempt_ends_the_message(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.VOID), phase="ready")
    await feed(store, ledger.account, event(message, EventKind.SEND))
    (attempt,) = await ledger.attempts(message)
    assert (attempt["state"], attempt["resolution"], attempt["dup_accept"]) == ("accepted", "late_acceptance", False)
    assert (await ledger.message(message))["outcome"] == "sent"


@pytest.mark.parametrize("second", [AttemptState.IN_FLIGHT, AttemptState.UNKNOWN, AttemptState.ACCEPTED])
async def test_a_late_acceptance_beside_an_open_attempt_is_a_duplicate(
    store: Database, ledger: Ledger, second: AttemptState
) -> None:
    message = await ledger.add_message(Attempt(AttemptState.VOID), Attempt(second), phase="dispatched")
    await feed(store, ledger.account, event(message, EventKind.SEND, number=1))
    first, other = await ledger.attempts(message)
    assert (first["state"], first["resolution"], first["dup_accept"]) == ("void", "late_acceptance", True)
    assert (other["state"], other["dup_accept"]) == (second, False)


async def test_a_login_codes_second_acceptance_is_allowed(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(
        Attempt(AttemptState.ABANDONED, resolution="login_code_retry"),
        Attempt(AttemptState.IN_FLIGHT),
        **{"class": "login_code"},
    )
    await feed(store, ledger.account, event(message, EventKind.SEND, number=1))
    assert (await ledger.message(message))["outcome"] == "sent"
    await feed(store, ledger.account, event(message, EventKind.SEND, number=2))
    first, second = await ledger.attempts(message)
    assert (first["state"], first["resolution"], first["dup_accept"]) == ("abandoned", "allowed_duplicate", False)
    assert (second["state"], second["resolution"]) == ("accepted", "evidence")


async def test_bounces_and_complaints_suppress_and_the_stronger_reason_stays(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt())
    await feed(store, ledger.account, event(message, EventKind.COMPLAINT))
    await feed(store, ledger.account, event(message, EventKind.BOUNCE, permanent=True))
    rows = await ledger.execute("SELECT * FROM suppressions WHERE tenant_id = %s", (ledger.tenant,))
    assert [(row["address"], row["reason"], row["message_id"]) for row in rows] == [
        ("ann@example.com", "complaint", message)
    ]
    row = await ledger.message(message)
    assert (row["bounced"], row["complained"]) == (True, True)


async def test_soft_bounces_in_a_row_suppress_and_a_delivery_clears_them(store: Database, ledger: Ledger) -> None:
    await ledger.execute("UPDATE tenants SET soft_bounce_limit = 3 WHERE id = %s", (ledger.tenant,))
    messages = [await ledger.add_message(Attempt()) for _ in range(6)]
    for message in messages[:2]:
        await feed(store, ledger.account, event(message, EventKind.BOUNCE))
    await feed(store, ledger.account, event(messages[2], EventKind.DELIVERY, at=NOW + timedelta(minutes=1)))
    query = "SELECT count FROM soft_bounces WHERE tenant_id = %s"
    assert await ledger.execute(query, (ledger.tenant,)) == []
    later = NOW + timedelta(minutes=2)
    await feed(store, ledger.account, *(event(each, EventKind.BOUNCE, at=later) for each in messages[3:5]))
    assert not await ledger.execute("SELECT 1 AS one FROM suppressions WHERE tenant_id = %s", (ledger.tenant,))
    await feed(store, ledger.account, event(messages[5], EventKind.BOUNCE, at=later))
    rows = await ledger.execute("SELECT reason FROM suppressions WHERE tenant_id = %s", (ledger.tenant,))
    assert rows == [{"reason": "bounce"}]


async def fallback_pair(ledger: Ledger, *attempts: Attempt, **primary: Any) -> tuple[UUID, UUID]:
    """A primary with a fallback that waits for it."""
    source = uuid4()
    first = await ledger.add_message(*attempts, source_id=source, fallback_after=timedelta(minutes=10), **primary)
    second = await ledger.add_message(
        source_id=source, part="fallback", primary_id=first, phase="waiting", due_at=None, channel="sms", address="+431"
    )
    return first, second


async def test_a_waiting_fallback_is_told_and_its_clock_starts(store: Database, ledger: Ledger) -> None:
    primary, fallback = await fallback_pair(ledger, Attempt(AttemptState.IN_FLIGHT))
    await feed(store, ledger.account, event(primary, EventKind.SEND))
    row = await ledger.message(fallback)
    assert row["phase"] == "waiting"
    left = row["due_at"] - (await ledger.execute("SELECT waypost_now() AS now"))[0]["now"]
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)
    hints = await ledger.execute("SELECT signal FROM outbox WHERE workflow_id = %s", (f"message/{primary}",))
    assert hints == [{"signal": SIGNAL}]


@pytest.mark.parametrize("permanent", [True, False])
async def test_a_bounced_primary_makes_its_fallback_due(store: Database, ledger: Ledger, permanent: bool) -> None:
    primary, fallback = await fallback_pair(ledger, Attempt(AttemptState.IN_FLIGHT))
    await feed(store, ledger.account, event(primary, EventKind.SEND))
    await feed(store, ledger.account, event(primary, EventKind.BOUNCE, permanent=permanent))
    assert (await ledger.message(primary))["bounced"]
    assert await is_due(ledger, fallback)
    suppressed = await ledger.execute("SELECT reason FROM suppressions WHERE tenant_id = %s", (ledger.tenant,))
    assert suppressed == ([{"reason": "bounce"}] if permanent else [])


async def test_a_bounced_primary_makes_a_fallback_due_that_waits_without_an_execution(
    store: Database, ledger: Ledger
) -> None:
    primary, fallback = await fallback_pair(ledger, Attempt())
    await ledger.execute(
        "UPDATE messages SET phase = 'ready', due_at = waypost_now() + interval '1 hour' WHERE id = %s", (fallback,)
    )
    await feed(store, ledger.account, event(primary, EventKind.DELAY))
    assert not await is_due(ledger, fallback)
    await feed(store, ledger.account, event(primary, EventKind.BOUNCE))
    assert await is_due(ledger, fallback)


async def is_due(ledger: Ledger, message: UUID) -> bool:
    (row,) = await ledger.execute("SELECT due_at <= waypost_now() AS due FROM messages WHERE id = %s", (message,))
    return bool(row["due"])


async def test_a_probes_event_is_told_to_the_probe(store: Database, ledger: Ledger) -> None:
    probe = uuid4()
    await ledger.insert("probes", id=probe, account_id=ledger.account)
    sent = ProviderEvent(
        event_id="probe", kind=EventKind.SEND, occurred_at=NOW, attempt_id=probe, provider_message_id="ses"
    )
    await feed(store, ledger.account, sent)
    rows = await ledger.execute("SELECT state, send_event_at FROM probes WHERE id = %s", (probe,))
    assert rows == [{"state": "accepted", "send_event_at": NOW}]


async def test_what_cannot_be_read_is_kept_and_never_applied(store: Database, ledger: Ledger) -> None:
    async with store.transaction() as connection:
        await store_unparsable(connection, account=ledger.account, event_id="x", code="malformed", raw="\0?")
        await store_unparsable(connection, account=ledger.account, event_id="x", code="malformed", raw="\0?")
        assert (await apply_events(connection, limit=10, signal=SIGNAL)).events == 0
    rows = await ledger.execute("SELECT kind, code, raw FROM provider_events WHERE account_id = %s", (ledger.account,))
    assert rows == [{"kind": "unparsable", "code": "malformed", "raw": "\N{REPLACEMENT CHARACTER}?"}]


@pytest.mark.parametrize("order", ["held poison sound", "held sound poison"])
async def test_the_event_that_cannot_be_applied_is_set_aside_and_no_other(
    store: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Another process holds the oldest one meanwhile."""
    held, poison, sound = [await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held") for _ in range(3)]
    async with store.transaction() as connection:
        messages = {"held": held, "poison": poison, "sound": sound}
        # Events are numbered in the order of their provider's ids, not in that of this list.
        events = [event(messages[name], EventKind.SEND, event_id=f"{n}") for n, name in enumerate(order.split())]
        ids = await store_events(connection, arrivals(ledger.account, events))

    async def weigh_all(connection: Any, taken: Sequence[Taken]) -> list[Change]:
        if any(each.message_id == poison for each in taken):
            raise ValueError
        return await plain(connection, taken)

    plain = events_module._weigh_all
    monkeypatch.setattr(events_module, "_weigh_all", weigh_all)
    async with store.transaction() as other:
        await other.execute("SELECT FROM provider_events WHERE id = %s FOR UPDATE", (min(ids),))
        await _run_intake(store, ledger, until_done=[each for each in ids if each != min(ids)])
    await _run_intake(store, ledger, until_done=ids)
    rows = await ledger.execute("SELECT message_id, apply_error FROM provider_events WHERE id = ANY(%s)", (ids,))
    assert {row["message_id"]: row["apply_error"] for row in rows} == {held: None, poison: "ValueError", sound: None}


async def _run_intake(store: Database, ledger: Ledger, *, until_done: list[int]) -> None:
    intake = Intake(store, IntakeMetrics(CollectorRegistry()), batch=500, signal=SIGNAL)
    running = asyncio.create_task(intake.run())

    async def done() -> bool:
        return not await ledger.execute(
            "SELECT id FROM provider_events WHERE id = ANY(%s) AND applied_at IS NULL AND apply_error IS NULL",
            (until_done,),
        )

    try:
        await until(done)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_an_event_set_aside_is_never_applied(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt())
    async with store.transaction() as connection:
        (stored,) = await store_events(connection, arrivals(ledger.account, [event(message, EventKind.SEND)]))
        await set_aside(connection, stored, error="ValueError")
        assert (await apply_events(connection, limit=10, signal=SIGNAL)).events == 0


async def test_a_batch_takes_few_statements_however_many_events(
    store: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: Sequence[UUID] = [await ledger.add_message(Attempt()) for _ in range(20)]
    events = [event(each, kind) for each in messages for kind in (EventKind.SEND, EventKind.DELIVERY)]
    async with store.transaction() as connection:
        await store_events(connection, arrivals(ledger.account, events))
    async with store.transaction() as connection:
        executed: list[str] = []
        plain = connection.execute

        async def counted(*args: Any, **kwargs: Any) -> Any:
            executed.append(str(args[0]))
            return await plain(*args, **kwargs)

        monkeypatch.setattr(connection, "execute", counted)
        assert (await apply_events(connection, limit=500, signal=SIGNAL)).events == 40
    assert len(executed) + 2 <= 7, executed  # two go through binary cursors


async def test_new_events_are_stored_and_applied_in_one_and_copies_change_nothing(
    store: Database, ledger: Ledger
) -> None:
    message = await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held")
    events = [event(message, kind) for kind in (EventKind.DELIVERY, EventKind.SEND)]
    for new in (2, 0):
        async with store.transaction() as connection:
            applied = await store_and_apply(connection, arrivals(ledger.account, events), signal=SIGNAL)
        assert applied.events == new
    row = await ledger.message(message)
    assert (row["outcome"], row["delivery"]) == ("sent", "delivered")
    kept = await ledger.execute("SELECT applied_at FROM provider_events WHERE account_id = %s", (ledger.account,))
    assert len(kept) == 2
    assert all(each["applied_at"] is not None for each in kept)


async def test_shuffled_and_doubled_events_in_any_batches_end_the_same(store: Database, ledger: Ledger) -> None:
    kinds = (EventKind.SEND, EventKind.DELAY, EventKind.DELIVERY, EventKind.OPEN, EventKind.COMPLAINT)
    shuffle = random.Random(7)
    messages = [await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held") for _ in range(12)]
    events = [
        event(each, kind, event_id=f"{each}:{kind}:{copy}", at=NOW + timedelta(seconds=copy))
        for each in messages
        for kind in kinds
        for copy in range(3)
    ]
    shuffle.shuffle(events)
    for start in range(0, len(events), 37):
        await feed(store, ledger.account, *events[start : start + 37])
    ends = {
        (row["outcome"], row["delivery"], row["bounced"], row["complained"], row["phase"])
        for row in [await ledger.message(each) for each in messages]
    }
    assert ends == {("sent", "opened", False, True, "closed")}
    firsts = {row["send_event_at"] for each in messages for row in await ledger.attempts(each)}
    assert firsts == {NOW}


async def test_several_processes_apply_side_by_side(store: Database, ledger: Ledger) -> None:
    messages = [await ledger.add_message(Attempt(AttemptState.IN_FLIGHT)) for _ in range(30)]
    events = [event(each, kind) for kind in (EventKind.SEND, EventKind.DELIVERY) for each in messages]
    async with store.transaction() as connection:
        await store_events(connection, arrivals(ledger.account, events))

    async def apply_all() -> int:
        total = 0
        while True:
            async with store.transaction() as connection:
                applied = await apply_events(connection, limit=7, signal=SIGNAL)
            if not applied.events:
                return total
            total += applied.events

    assert sum(await asyncio.gather(*(apply_all() for _ in range(3)))) == 60
    rows = [await ledger.message(each) for each in messages]
    assert {(row["outcome"], row["delivery"]) for row in rows} == {("sent", "delivered")}
