"""A journey's fallbacks, its pauses, and what its enrollments are told of their messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.contracts.sending import Step
from tests.activities.sending_bench import Bench, accepted, unknown
from tests.relay.ledger import arrivals, event
from tests.relay.walks import (
    add_enrollment,
    add_pair,
    add_topic,
    add_visit,
    inbox,
    say_of_topic,
    set_tenant,
    wakes,
)
from waypost.messaging.values import EventKind, Outcome
from waypost.store.database import Database
from waypost.store.events import apply_events, store_events
from waypost.store.reconcile import settle_voided
from waypost.store.sweeps import date_fallbacks, end_expired

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("how", ["sent", "unknown"])
async def test_a_fallback_waits_out_its_clock_as_a_row(bench: Bench, how: str) -> None:
    walked = await add_enrollment(bench.ledger)
    first, second = await add_pair(bench.ledger, walked)
    bench.sender.replies.append(accepted() if how == "sent" else unknown())
    assert (await bench.send(first)).step is Step.DONE
    row = await bench.row(second)
    assert (row["phase"], row["send_at"]) == ("ready", row["due_at"])
    assert timedelta(minutes=9) < row["due_at"] - datetime.now(UTC) <= timedelta(minutes=10)


async def test_a_fallback_is_due_at_once_where_its_primary_is_refused(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger)
    topic = await add_topic(bench.ledger)
    await say_of_topic(bench.ledger, walked, topic, "unsubscribed")
    first, second = await add_pair(bench.ledger, walked, topic_id=topic)
    assert (await bench.send(first)).step is Step.DONE
    row = await bench.row(second)
    assert (row["phase"], row["due_at"] <= datetime.now(UTC)) == ("ready", True)
    assert (await bench.send(second)).outcome is Outcome.SENT


async def test_a_fallback_that_nobody_dated_becomes_ready(bench: Bench, relay: Database) -> None:
    walked = await add_enrollment(bench.ledger)
    ended = {"phase": "closed", "outcome": "sent", "outcome_reason": "accepted", "outcome_at": datetime.now(UTC)}
    _, second = await add_pair(bench.ledger, walked, **ended)
    async with relay.transaction() as connection:
        assert await date_fallbacks(connection, limit=10) == 1
    row = await bench.row(second)
    assert (row["phase"], row["send_at"]) == ("ready", row["due_at"])


async def test_a_fallback_is_not_late_by_its_primarys_night(bench: Bench) -> None:
    """The primary was meant for yesterday evening and sent in the morning: the fallback's clock began then."""
    await set_tenant(bench.ledger, late_policy="skip", late_after=timedelta(minutes=30))
    walked = await add_enrollment(bench.ledger)
    first, second = await add_pair(bench.ledger, walked, send_at=datetime.now(UTC))
    await bench.send(first)
    await bench.ledger.execute(
        "UPDATE messages SET due_at = waypost_now(), send_at = waypost_now() WHERE id = %s", (second,)
    )
    assert (await bench.send(second)).outcome is Outcome.SENT


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_paused_journey_holds_its_fallbacks_and_knows_when_they_were_due(
    bench: Bench, *, noticed: bool
) -> None:
    await set_tenant(bench.ledger, late_policy="skip", late_after=timedelta(seconds=1))
    walked = await add_enrollment(bench.ledger)
    first, second = await add_pair(bench.ledger, walked)
    await bench.send(first)
    was_due = datetime.now(UTC) - HOUR
    await bench.ledger.execute(
        "UPDATE messages SET due_at = %s, send_at = %s WHERE id = %s", (was_due, was_due, second)
    )
    if noticed:
        await bench.ledger.execute("UPDATE journeys SET state = 'paused', pauses = 1 WHERE id = %s", (walked.journey,))
    else:  # resumed, and the enrollment has not decided since
        await bench.ledger.execute("UPDATE journeys SET pauses = 1 WHERE id = %s", (walked.journey,))
    assert (await bench.send(second)).step is Step.PUT_BACK
    row = await bench.row(second)
    assert (row["phase"], row["hold_reason"], row["send_at"]) == ("ready", "journey_paused", was_due)
    assert row["due_at"] > datetime.now(UTC) + timedelta(minutes=9)


async def told(bench: Bench, relay: Database, *events: Any) -> bool:
    async with relay.transaction() as connection:
        await store_events(connection, arrivals(bench.ledger.account, events))
        return (await apply_events(connection, limit=10, signal="s")).hints


@pytest.mark.parametrize(
    ("kind", "receipt"),
    [
        (EventKind.DELIVERY, "delivered"),
        (EventKind.OPEN, "delivered"),
        (EventKind.BOUNCE, "bounced"),
        (EventKind.REJECT, "failed"),
        (EventKind.SEND, None),
    ],
)
async def test_the_enrollment_is_told_what_became_of_its_message(
    bench: Bench, relay: Database, kind: EventKind, receipt: str | None
) -> None:
    walked = await add_enrollment(bench.ledger)
    message = await add_visit(bench.ledger, walked, visit=3)
    await bench.send(message)
    await told(bench, relay, event(message, kind))
    await told(bench, relay, event(message, kind, event_id="again"))
    expected = [("receipt", {"visit": 3, "kind": receipt})] if receipt else []
    assert await inbox(bench.ledger, walked) == expected
    assert await wakes(bench.ledger, walked) == 0


async def test_only_who_awaits_any_change_is_woken_and_only_who_is_still_in_it_is_told(
    bench: Bench, relay: Database
) -> None:
    awaits = await add_enrollment(bench.ledger, awaits_any=True)
    over = await add_enrollment(
        bench.ledger, state="ended", how="completed", ended_at=datetime.now(UTC), awaits_any=True
    )
    messages = [await add_visit(bench.ledger, one) for one in (awaits, over)]
    for message in messages:
        await bench.send(message)
    events = [event(messages[0], EventKind.DELIVERY), event(messages[0], EventKind.BOUNCE)]
    assert await told(bench, relay, *events, event(messages[1], EventKind.DELIVERY))
    assert [detail["kind"] for _, detail in await inbox(bench.ledger, awaits)] == ["delivered", "bounced"]
    assert await wakes(bench.ledger, awaits) == 1
    assert (await inbox(bench.ledger, over), await wakes(bench.ledger, over)) == ([], 0)


async def test_a_fallbacks_receipt_is_nobodys_business(bench: Bench, relay: Database) -> None:
    walked = await add_enrollment(bench.ledger, awaits_any=True)
    first, second = await add_pair(bench.ledger, walked)
    await bench.send(first)
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (second,))
    await bench.send(second)
    await told(bench, relay, event(second, EventKind.DELIVERY))
    assert await inbox(bench.ledger, walked) == []


async def test_a_bounce_makes_the_fallback_due_at_once(bench: Bench, relay: Database) -> None:
    walked = await add_enrollment(bench.ledger)
    first, second = await add_pair(bench.ledger, walked)
    await bench.send(first)
    await told(bench, relay, event(first, EventKind.BOUNCE))
    row = await bench.row(second)
    assert (row["phase"], row["due_at"] <= datetime.now(UTC), row["send_at"]) == ("ready", True, row["due_at"])
    assert await bench.ledger.execute("SELECT id FROM outbox WHERE workflow_id = %s", (f"message/{first}",)) == []


async def test_evidence_dates_the_fallback_of_a_primary_whose_worker_died(bench: Bench, relay: Database) -> None:
    """It was killed before it could say how the call ended; the send event tells."""
    walked = await add_enrollment(bench.ledger)
    first, second = await add_pair(bench.ledger, walked)
    await bench.send(first)
    await bench.ledger.execute(
        "UPDATE messages SET outcome = NULL, outcome_reason = NULL, phase = 'dispatched' WHERE id = %s", (first,)
    )
    await bench.ledger.execute("UPDATE messages SET phase = 'waiting', due_at = NULL WHERE id = %s", (second,))
    await told(bench, relay, event(first, EventKind.SEND))
    row = await bench.row(second)
    assert (row["phase"], row["send_at"]) == ("ready", row["due_at"])


async def test_what_is_voided_goes_the_way_of_every_message(bench: Bench, relay: Database) -> None:
    """A call that came to nothing for sure: no execution waits with the fallback, so the row is the dispatcher's."""
    walked = await add_enrollment(bench.ledger, {"frequency_caps": [{"limit": 1, "period": "P1D"}]})
    first, _ = await add_pair(bench.ledger, walked)
    bench.sender.replies.append(unknown())
    await bench.send(first)
    await bench.ledger.execute("UPDATE messages SET phase = 'waiting' WHERE primary_id = %s", (first,))
    await bench.ledger.execute("UPDATE attempts SET state = 'void' WHERE message_id = %s", (first,))
    async with relay.transaction() as connection:
        await settle_voided(connection, [(bench.ledger.tenant, first)], signal="s")
    assert (await bench.row(first))["phase"] == "ready"
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (first,))
    assert (await bench.send(first)).outcome is Outcome.SENT  # its use was given back


async def test_a_fallback_of_what_expired_in_its_row_is_ready(bench: Bench, relay: Database) -> None:
    walked = await add_enrollment(bench.ledger)
    first, second = await add_pair(bench.ledger, walked, expires_at=datetime.now(UTC) - HOUR)
    async with relay.transaction() as connection:
        await end_expired(connection, limit=10)
    assert [(await bench.row(one))["phase"] for one in (first, second)] == ["closed", "ready"]
    assert await wakes(bench.ledger, walked) == 1
