"""Unknown attempts: held until proof, voided only by proof, given up at the end."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.relay.ledger import Attempt, Ledger, arrivals, event
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import AttemptState, EventKind
from waypost.store.database import Database
from waypost.store.events import apply_events, store_events
from waypost.store.reconcile import assume_sent, lose_in_flight, void_absent

MARGIN = timedelta(seconds=60)
AGO = timedelta(minutes=10)
SIGNAL = "delivery-changed"


async def void(store: Database) -> int:
    async with store.transaction() as connection:
        return await void_absent(connection, margin=MARGIN, call=timedelta(seconds=10), limit=100, signal=SIGNAL)


async def assume(store: Database, horizon: timedelta = timedelta(days=1)) -> int:
    async with store.transaction() as connection:
        return await assume_sent(connection, horizon=horizon, limit=100)


async def absent_account(ledger: Ledger, *, empty_age: timedelta = timedelta(seconds=1), **account: Any) -> UUID:
    """A durable account whose queue was read empty."""
    columns = {"queue_url": "http://127.0.0.1:1/q", "feed": "durable"} | account
    identity = await ledger.add_account(**columns)
    await ledger.execute(
        "INSERT INTO feeds (account_id, last_empty_at) VALUES (%s, waypost_now() - %s)", (identity, empty_age)
    )
    return identity


async def unknown(ledger: Ledger, account: UUID, *, age: timedelta = AGO, **columns: Any) -> UUID:
    attempt = Attempt(AttemptState.UNKNOWN, age=age, account=account)
    held = {"phase": "held", "hold_reason": "attempt_unknown", "account_id": account}
    return await ledger.add_message(attempt, **(held | columns))


async def accepted(ledger: Ledger, account: UUID, *, age: timedelta, event_age: timedelta | None) -> UUID:
    """An accepted attempt whose Send event came `event_age` ago, or not at all."""
    attempt = Attempt(AttemptState.ACCEPTED, age=age, account=account, evented=event_age is not None)
    message = await ledger.add_message(
        attempt, account_id=account, phase="closed", outcome="sent", outcome_reason="accepted"
    )
    if event_age is not None:
        await ledger.execute(
            "INSERT INTO provider_events (account_id, event_id, kind, attempt_id, occurred_at, received_at, "
            "applied_at, raw, month) VALUES (%s, %s, 'send', %s, waypost_now(), waypost_now() - %s, waypost_now(), '', "
            "waypost_month(waypost_now()))",
            (account, str(uuid4()), attempt_id(message=message, number=1), event_age),
        )
    return message


async def later(ledger: Ledger, account: UUID, count: int = 3) -> None:
    """Attempts that were claimed after the unknown one and whose events came long before the queue was empty."""
    for number in range(count):
        age = timedelta(minutes=5, seconds=-number)
        await accepted(ledger, account, age=age, event_age=timedelta(minutes=4))


async def test_an_attempt_in_flight_for_too_long_is_unknown_and_its_message_held(
    store: Database, ledger: Ledger
) -> None:
    old = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT, age=timedelta(seconds=30)))
    new = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT, age=timedelta(seconds=1)))
    async with store.transaction() as connection:
        assert await lose_in_flight(connection, age=timedelta(seconds=20), limit=100) == 1
    assert (await ledger.message(old))["phase"] == "held"
    assert [row["state"] for row in await ledger.attempts(old)] == ["unknown"]
    assert [row["state"] for row in await ledger.attempts(new)] == ["in_flight"]


async def test_a_login_codes_lost_first_attempt_stays_with_its_execution(store: Database, ledger: Ledger) -> None:
    attempt = Attempt(AttemptState.IN_FLIGHT, age=timedelta(seconds=30))
    message = await ledger.add_message(attempt, **{"class": "login_code"})
    async with store.transaction() as connection:
        await lose_in_flight(connection, age=timedelta(seconds=20), limit=100)
    assert (await ledger.message(message))["phase"] == "dispatched"


async def test_absence_is_proven_by_later_events_an_empty_queue_and_the_margin(store: Database, ledger: Ledger) -> None:
    account = await absent_account(ledger)
    await accepted(ledger, account, age=timedelta(minutes=12), event_age=timedelta(minutes=11))
    message = await unknown(ledger, account)
    await later(ledger, account)
    assert await void(store) == 1
    (attempt,) = await ledger.attempts(message)
    assert (attempt["state"], attempt["resolution"]) == ("void", "absence")
    row = await ledger.message(message)
    assert (row["phase"], row["outcome"], row["hold_reason"]) == ("ready", None, None)


async def too_few_later_events(ledger: Ledger) -> UUID:
    account = await absent_account(ledger)
    message = await unknown(ledger, account)
    await later(ledger, account, 2)
    return message


async def an_earlier_event_is_missing(ledger: Ledger) -> UUID:
    account = await absent_account(ledger)
    await accepted(ledger, account, age=timedelta(minutes=30), event_age=None)
    message = await unknown(ledger, account)
    await later(ledger, account)
    return message


async def an_event_between_is_missing(ledger: Ledger) -> UUID:
    account = await absent_account(ledger)
    message = await unknown(ledger, account)
    await accepted(ledger, account, age=timedelta(minutes=9), event_age=None)
    await later(ledger, account)
    return message


async def the_queue_was_not_read_empty_since(ledger: Ledger) -> UUID:
    account = await absent_account(ledger, empty_age=timedelta(minutes=4, seconds=10))
    message = await unknown(ledger, account)
    await later(ledger, account)
    return message


async def the_later_events_have_only_just_come(ledger: Ledger) -> UUID:
    account = await absent_account(ledger)
    message = await unknown(ledger, account)
    for _ in range(3):
        await accepted(ledger, account, age=timedelta(minutes=5), event_age=timedelta(seconds=30))
    return message


async def the_feed_is_lossy(ledger: Ledger) -> UUID:
    account = await absent_account(ledger, feed="lossy")
    message = await unknown(ledger, account)
    await later(ledger, account)
    return message


async def its_own_event_waits_to_be_applied(ledger: Ledger) -> UUID:
    account = await absent_account(ledger)
    message = await unknown(ledger, account)
    await later(ledger, account)
    await ledger.execute(
        "INSERT INTO provider_events (account_id, event_id, kind, attempt_id, occurred_at, apply_error, raw, month) "
        "VALUES (%s, %s, 'delivery', %s, waypost_now(), 'set aside for this test', '', waypost_month(waypost_now()))",
        (account, str(uuid4()), attempt_id(message=message, number=1)),
    )
    return message


async def something_unreadable_came(ledger: Ledger) -> UUID:
    account = await absent_account(ledger)
    message = await unknown(ledger, account)
    await later(ledger, account)
    await ledger.execute(
        "INSERT INTO provider_events (account_id, event_id, kind, occurred_at, applied_at, raw, month) "
        "VALUES (%s, 'x', 'unparsable', waypost_now(), waypost_now(), '', waypost_month(waypost_now()))",
        (account,),
    )
    return message


@pytest.mark.parametrize(
    "case",
    [
        too_few_later_events,
        an_earlier_event_is_missing,
        an_event_between_is_missing,
        the_queue_was_not_read_empty_since,
        the_later_events_have_only_just_come,
        the_feed_is_lossy,
        its_own_event_waits_to_be_applied,
        something_unreadable_came,
    ],
)
async def test_nothing_is_voided_while(store: Database, ledger: Ledger, case: Any) -> None:
    message = await case(ledger)
    assert await void(store) == 0
    assert [row["state"] for row in await ledger.attempts(message)] == ["unknown"]
    assert (await ledger.message(message))["phase"] == "held"


async def test_probes_count_as_later_traffic(store: Database, ledger: Ledger) -> None:
    account = await absent_account(ledger)
    message = await unknown(ledger, account)
    for number in range(3):
        probe = uuid4()
        claimed = timedelta(minutes=5)
        await ledger.execute(
            "INSERT INTO probes (id, account_id, state, claimed_at) VALUES (%s, %s, 'accepted', waypost_now() - %s)",
            (probe, account, claimed),
        )
        await _bring_back(store, account, probe, event_id=f"{probe}:{number}")
    await ledger.execute(
        "UPDATE provider_events SET received_at = waypost_now() - interval '4 min' WHERE account_id = %s", (account,)
    )
    assert await void(store) == 1
    assert (await ledger.message(message))["phase"] == "ready"


async def _bring_back(store: Database, account: UUID, probe: UUID, *, event_id: str) -> None:
    sent = event(uuid4(), EventKind.SEND)
    mine = ProviderEvent(
        event_id=event_id,
        kind=sent.kind,
        occurred_at=sent.occurred_at,
        attempt_id=probe,
        provider_message_id=None,
    )
    async with store.transaction() as connection:
        await store_events(connection, arrivals(account, [mine]))
        await apply_events(connection, limit=10, signal=SIGNAL)


@pytest.mark.parametrize(
    ("columns", "outcome", "reason"),
    [
        ({"expires_at": "2020-01-01"}, "expired", "expired"),
        ({"cancel_requested_at": "2020-01-01"}, "cancelled", "cancelled_by_caller"),
    ],
)
async def test_a_voided_message_that_must_not_go_on_ends(
    store: Database, ledger: Ledger, columns: dict[str, Any], outcome: str, reason: str
) -> None:
    account = await absent_account(ledger)
    message = await unknown(ledger, account, **columns)
    await later(ledger, account)
    assert await void(store) == 1
    row = await ledger.message(message)
    assert (row["phase"], row["outcome"], row["outcome_reason"]) == ("closed", outcome, reason)


async def test_a_voided_primary_whose_fallback_waits_is_told_to_its_execution(store: Database, ledger: Ledger) -> None:
    account = await absent_account(ledger)
    source = uuid4()
    message = await unknown(ledger, account, source_id=source, fallback_after=timedelta(hours=1))
    await ledger.add_message(source_id=source, part="fallback", primary_id=message, phase="waiting", due_at=None)
    await later(ledger, account)
    assert await void(store) == 1
    assert (await ledger.message(message))["phase"] == "dispatched"
    hints = await ledger.execute("SELECT signal FROM outbox WHERE workflow_id = %s", (f"message/{message}",))
    assert hints == [{"signal": SIGNAL}]


@pytest.mark.parametrize(
    ("columns", "tenant", "horizon", "reason"),
    [
        ({}, "active", timedelta(minutes=5), "horizon"),
        ({"expires_at": "2020-01-01"}, "active", timedelta(days=1), "expiry"),
        ({"unknown_policy": "at_most_once"}, "active", timedelta(days=1), "at_most_once"),
        ({}, "closing", timedelta(days=1), "tenant_closed"),
    ],
)
async def test_the_end_of_waiting_is_maybe_sent(
    store: Database, ledger: Ledger, columns: dict[str, Any], tenant: str, horizon: timedelta, reason: str
) -> None:
    await ledger.execute("UPDATE tenants SET state = %s WHERE id = %s", (tenant, ledger.tenant))
    message = await unknown(ledger, ledger.account, **columns)
    assert await assume(store, horizon) >= 1
    row, (attempt,) = await ledger.message(message), await ledger.attempts(message)
    assert (row["phase"], row["outcome"], row["outcome_reason"]) == ("closed", "maybe_sent", reason)
    assert (attempt["state"], attempt["resolution"]) == ("assumed_sent", reason)


async def test_waiting_goes_on_before_the_horizon(store: Database, ledger: Ledger) -> None:
    message = await unknown(ledger, ledger.account)
    await assume(store)
    assert (await ledger.message(message))["phase"] == "held"
