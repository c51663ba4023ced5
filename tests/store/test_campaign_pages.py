"""Pages of a run: who is due, the claim of one call, its record, and whom the gate lets wait or ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.relay.ledger import Ledger, arrivals, event
from tests.relay.runs import add_contacts, add_run, freeze_all, outcomes, recipients, run_row
from waypost.messaging.ids import topic_id
from waypost.messaging.values import AttemptState, EventKind, Outcome, Phase
from waypost.store.attempts import Ending
from waypost.store.campaign_open import still_open
from waypost.store.campaign_pages import (
    Ask,
    Judged,
    LoadedRun,
    Recipient,
    claim_many,
    due_recipients,
    load_run,
    record_many,
    settle_many,
)
from waypost.store.campaign_throttle import take_throttle
from waypost.store.database import Database
from waypost.store.events import apply_events, store_events
from waypost.store.reconcile import assume_sent, lose_in_flight
from waypost.store.sweeps import end_expired

ACCEPTED = Ending(
    state=AttemptState.ACCEPTED, phase=Phase.CLOSED, provider_message_id="p", outcome=Outcome.SENT, reason="accepted"
)
UNKNOWN = Ending(state=AttemptState.UNKNOWN, phase=Phase.HELD, code="timed_out", reason="attempt_unknown")
VOID = Ending(
    state=AttemptState.VOID, phase=Phase.READY, code="Throttling", reason="throttled", retry_after=timedelta(seconds=2)
)


async def sending(loops: Database, ledger: Ledger, count: int, **how: Any) -> UUID:
    """A run that is sending to so many."""
    await add_contacts(ledger, count)
    run = await add_run(ledger)
    await freeze_all(loops, ledger, run, **how)
    return run


async def load(app: Database, ledger: Ledger, run: UUID) -> LoadedRun:
    async with app.transaction(ledger.tenant) as connection:
        found = await load_run(connection, tenant=ledger.tenant, run=run)
    assert found is not None
    return found


async def due(app: Database, ledger: Ledger, run: UUID, *, limit: int = 1000, **more: Any) -> list[Recipient]:
    loaded = await load(app, ledger, run)
    async with app.transaction(ledger.tenant) as connection:
        return await due_recipients(connection, run=loaded, **({"shard": 0, "after": None, "limit": limit} | more))


def asks_for(people: Sequence[Recipient]) -> list[Ask]:
    return [
        Ask(
            message=one.id,
            number=one.attempts + 1,
            content_hash=b"x",
            variant=max(one.variant, 0),
            template_id=uuid4(),
            template_version=1,
        )
        for one in sorted(people, key=lambda one: one.id)
    ]


async def claim(app: Database, ledger: Ledger, run: UUID, asks: Sequence[Ask]) -> dict[UUID, datetime]:
    async with app.transaction(ledger.tenant) as connection:
        return await claim_many(connection, tenant=ledger.tenant, run=run, asks=asks, process="test")


async def record(app: Database, ledger: Ledger, asks: Sequence[Ask], ending: Ending) -> int:
    async with app.transaction(ledger.tenant) as connection:
        return await record_many(connection, tenant=ledger.tenant, endings=[(ask.attempt, ending) for ask in asks])


async def settle(app: Database, ledger: Ledger, judged: Sequence[Judged]) -> int:
    async with app.transaction(ledger.tenant) as connection:
        return await settle_many(connection, tenant=ledger.tenant, judged=judged)


async def test_pages_go_through_a_shard_in_its_order(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 25, spread=timedelta(seconds=-60))
    seen: list[Recipient] = []
    while page := await due(app, ledger, run, limit=10, after=(seen[-1].due_at, seen[-1].id) if seen else None):
        seen += page
    assert len(seen) == len({one.id for one in seen}) == 25
    assert seen == sorted(seen, key=lambda one: (one.due_at, one.id))


async def test_who_is_not_due_waits_and_the_next_time_is_told(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 3)
    soon = (await run_row(ledger, run))["scheduled_at"] + timedelta(hours=1)
    await ledger.execute("UPDATE messages SET due_at = %s WHERE run_id = %s", (soon, run))
    assert await due(app, ledger, run) == []
    loaded = await load(app, ledger, run)
    async with app.transaction(ledger.tenant) as connection:
        left = await still_open(connection, run=loaded, shard=0)
    assert (left.any, left.next_due) == (True, soon)


async def test_the_second_cohort_waits_until_it_is_let_go(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 200, first_share=0.5, rest_has_variant=False)
    first = await due(app, ledger, run)
    assert {one.variant for one in first} == {0}
    assert 60 < len(first) < 140
    await ledger.execute(
        "UPDATE campaign_runs SET open_cohort = 1, winner = 0, released_at = waypost_now() WHERE id = %s", (run,)
    )
    both = await due(app, ledger, run)
    assert len(both) == 200
    assert {(one.cohort, one.variant) for one in both} == {(0, 0), (1, -1)}
    page = await due(app, ledger, run, limit=50)
    assert page == both[:50], "both cohorts are one order"


async def test_while_the_rest_waits_for_a_decision_the_shard_is_open_without_a_time(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    run = await sending(loops, ledger, 30, first_share=0.000001)
    loaded = await load(app, ledger, run)
    async with app.transaction(ledger.tenant) as connection:
        left = await still_open(connection, run=loaded, shard=0)
    assert (left.any, left.next_due) == (True, None)


async def test_a_recipient_comes_with_what_forbids_it(app: Database, loops: Database, ledger: Ledger) -> None:
    topic = topic_id(tenant=ledger.tenant, key="news")
    await ledger.insert("topics", tenant_id=ledger.tenant, id=topic, key="news", name="News", opt_in=True)
    (ann,) = await add_contacts(
        ledger, 1, email="Ann@example.com", consent=Jsonb({"email": False}), time_zone="Asia/Tokyo"
    )
    await ledger.insert(
        "suppressions", tenant_id=ledger.tenant, id=uuid4(), channel="email", address="ann@example.com", reason="bounce"
    )
    await ledger.insert(
        "topic_subscriptions", tenant_id=ledger.tenant, topic_id=topic, contact_id=ann, state="unsubscribed"
    )
    await ledger.execute(
        "UPDATE tenants SET frequency_caps = %s WHERE id = %s",
        (Jsonb([{"channel": None, "limit": 1, "period": "P1D"}]), ledger.tenant),
    )
    await ledger.execute(
        "INSERT INTO cap_usage VALUES (%s, %s, ARRAY[waypost_now(), waypost_now()], ARRAY['sms', 'email'])",
        (ledger.tenant, ann),
    )
    run = await add_run(ledger, topic_id=topic)
    await freeze_all(loops, ledger, run)
    (one,) = await due(app, ledger, run)
    assert (one.suppression, one.subscription, one.consent, one.time_zone) == (
        "bounce",
        "unsubscribed",
        False,
        "Asia/Tokyo",
    )
    assert [len(one.sent_at or ()), len(one.cap_sent_at or ())] == [1, 2]
    assert (await load(app, ledger, run)).topic_opt_in is True


async def test_a_contact_that_was_deleted_is_known_to_be(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 1)
    await ledger.execute("DELETE FROM contacts WHERE tenant_id = %s", (ledger.tenant,))
    (one,) = await due(app, ledger, run)
    assert one.contact_deleted


async def test_a_claim_opens_one_attempt_each_and_pins_the_content(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    run = await sending(loops, ledger, 5)
    asks = asks_for(await due(app, ledger, run))
    assert set(await claim(app, ledger, run, asks)) == {ask.message for ask in asks}
    for ask, row in zip(asks, await recipients(ledger, run), strict=True):
        assert (row["phase"], row["attempts"], row["template_id"]) == ("dispatched", 1, ask.template_id)
        (attempt,) = await ledger.attempts(row["id"])
        assert (attempt["id"], attempt["state"]) == (ask.attempt, "in_flight")
    assert await claim(app, ledger, run, asks) == {}, "a second page finds them taken"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE campaign_runs SET state = 'paused'",
        "UPDATE campaign_runs SET state = 'halted'",
        "UPDATE campaign_runs SET state = 'cancelled'",
        "UPDATE tenants SET state = 'suspended'",
        "UPDATE tenants SET state = 'closing'",
        "UPDATE provider_accounts SET state = 'paused'",
        "UPDATE messages SET cancel_requested_at = waypost_now()",
        "UPDATE messages SET expires_at = waypost_now()",
        "UPDATE messages SET phase = 'held'",
        "UPDATE messages SET attempts = 1",
    ],
)
async def test_nothing_is_claimed_where_it_must_not_go_out(
    app: Database, loops: Database, ledger: Ledger, change: str
) -> None:
    run = await sending(loops, ledger, 3)
    asks = asks_for(await due(app, ledger, run))
    key = {"tenants": "id = %(tenant)s", "provider_accounts": "id = %(account)s"}.get(
        change.split()[1], "tenant_id = %(tenant)s"
    )
    await ledger.execute(f"{change} WHERE {key}", {"tenant": ledger.tenant, "account": ledger.account})
    assert await claim(app, ledger, run, asks) == {}
    assert await ledger.execute("SELECT FROM attempts WHERE tenant_id = %s", (ledger.tenant,)) == []


async def test_no_claim_commits_after_a_pause(app: Database, loops: Database, ledger: Ledger) -> None:
    """Twenty claims and a pause at once: what is claimed was claimed before, and the pause is not kept waiting."""
    run = await sending(loops, ledger, 400)
    asks = asks_for(await due(app, ledger, run))

    async def claims(number: int) -> None:
        for start in range(number * 20, number * 20 + 20, 5):
            await claim(app, ledger, run, asks[start : start + 5])

    at_work = [asyncio.create_task(claims(number)) for number in range(20)]
    await asyncio.sleep(0.03)
    async with asyncio.timeout(5):
        (paused,) = await ledger.execute(
            "UPDATE campaign_runs SET state = 'paused' WHERE id IN (SELECT id FROM campaign_runs WHERE id = %s "
            "FOR UPDATE) RETURNING clock_timestamp() AS at",
            (run,),
        )
    (after,) = await ledger.execute("SELECT count(*) FROM attempts WHERE tenant_id = %s", (ledger.tenant,))
    await asyncio.gather(*at_work)
    rows = await ledger.execute("SELECT claimed_at FROM attempts WHERE tenant_id = %s", (ledger.tenant,))
    assert len(rows) == after["count"] < 400
    assert all(row["claimed_at"] <= paused["at"] for row in rows)


async def test_two_pages_of_one_shard_never_claim_the_same(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 100)
    people = await due(app, ledger, run)

    async def page(number: int) -> list[UUID]:
        mine = random.Random(number).sample(people, len(people))
        won: list[UUID] = []
        for start in range(0, len(mine), 20):
            won += await claim(app, ledger, run, asks_for(mine[start : start + 20]))
        return won

    won = [each for one in await asyncio.gather(*(page(number) for number in range(4))) for each in one]
    assert len(won) == len(set(won)) == 100


async def test_a_call_s_record_ends_each_as_its_own_reply_says(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 3)
    asks = asks_for(await due(app, ledger, run))
    await claim(app, ledger, run, asks)
    async with app.transaction(ledger.tenant) as connection:
        endings = list(zip([ask.attempt for ask in asks], [ACCEPTED, UNKNOWN, VOID], strict=True))
        assert await record_many(connection, tenant=ledger.tenant, endings=endings) == 3
    rows = await recipients(ledger, run)
    assert [(row["phase"], row["outcome"], row["outcome_reason"], row["hold_reason"]) for row in rows] == [
        ("closed", "sent", "accepted", None),
        ("held", None, None, "attempt_unknown"),
        ("ready", None, None, "throttled"),
    ]
    assert [(await ledger.attempts(row["id"]))[0]["state"] for row in rows] == ["accepted", "unknown", "void"]
    assert await due(app, ledger, run) == [], "the throttled one waits for two seconds"
    await ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (rows[2]["id"],))
    again = asks_for(await due(app, ledger, run))
    assert [(ask.message, ask.number) for ask in again] == [(rows[2]["id"], 2)]
    assert len(await claim(app, ledger, run, again)) == 1


async def test_evidence_before_the_record_stays(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 2)
    asks = asks_for(await due(app, ledger, run))
    await claim(app, ledger, run, asks)
    first = asks[0].message
    async with loops.transaction() as connection:
        await store_events(connection, arrivals(ledger.account, [event(first, EventKind.SEND)]))
        await apply_events(connection, limit=10, signal="x")
    assert await record(app, ledger, asks, UNKNOWN) == 1
    assert await outcomes(ledger, run) == {("sent", "accepted"): 1, (None, "attempt_unknown"): 1}
    (attempt,) = await ledger.attempts(first)
    assert attempt["state"] == "accepted"
    assert attempt["recorded_at"] is not None


async def test_a_record_that_comes_after_the_worker_was_given_up_still_counts(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    run = await sending(loops, ledger, 1)
    asks = asks_for(await due(app, ledger, run))
    await claim(app, ledger, run, asks)
    async with loops.transaction() as connection:
        await lose_in_flight(connection, age=timedelta(), limit=10_000)
    assert await outcomes(ledger, run) == {(None, "attempt_unknown"): 1}
    assert await claim(app, ledger, run, asks) == {}, "what may be out there is not sent again"
    await record(app, ledger, asks, ACCEPTED)
    assert await outcomes(ledger, run) == {("sent", "accepted"): 1}


@pytest.mark.parametrize(
    ("feed", "expected"), [("lossy", ("maybe_sent", "at_most_once")), ("durable", (None, "attempt_unknown"))]
)
async def test_a_killed_worker_s_recipients_wait_for_evidence_where_there_can_be_some(
    app: Database, loops: Database, ledger: Ledger, feed: str, expected: tuple[str | None, str]
) -> None:
    await ledger.execute("UPDATE provider_accounts SET feed = %s WHERE id = %s", (feed, ledger.account))
    run = await sending(loops, ledger, 2)
    asks = asks_for(await due(app, ledger, run))
    await claim(app, ledger, run, asks)
    async with loops.transaction() as connection:
        await lose_in_flight(connection, age=timedelta(), limit=10_000)
        await assume_sent(connection, horizon=timedelta(days=1), limit=10_000)
    assert await outcomes(ledger, run) == {expected: 2}


async def test_who_waits_and_who_ends_is_written_down(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 3)
    people = await due(app, ledger, run)
    later = people[0].due_at + timedelta(hours=2)
    judged = [
        Judged(message=people[0].id, attempts=0, reason="quiet_hours", until=later),
        Judged(message=people[1].id, attempts=0, reason="bounce", outcome="suppressed"),
    ]
    assert await settle(app, ledger, judged) == 1
    rows = {row["id"]: row for row in await recipients(ledger, run)}
    first, second = rows[people[0].id], rows[people[1].id]
    assert (first["phase"], first["hold_reason"], first["due_at"]) == ("ready", "quiet_hours", later)
    assert (second["phase"], second["outcome"], second["outcome_reason"]) == ("closed", "suppressed", "bounce")
    verdicts = await ledger.execute(
        "SELECT verdict, reason FROM verdicts WHERE tenant_id = %s ORDER BY reason", (ledger.tenant,)
    )
    assert [(each["verdict"], each["reason"]) for each in verdicts] == [("refuse", "bounce"), ("defer", "quiet_hours")]


async def test_what_was_claimed_since_is_not_settled(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 1)
    (one,) = await due(app, ledger, run)
    asks = asks_for([one])
    await claim(app, ledger, run, asks)
    judged = [Judged(message=one.id, attempts=0, reason="late", outcome="skipped")]
    assert await settle(app, ledger, judged) == 0
    await record(app, ledger, asks, VOID)
    assert await settle(app, ledger, judged) == 0, "judged by facts from before its attempt"


async def test_a_throttled_run_gets_its_rate_and_no_more(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 1)
    await ledger.execute("UPDATE campaign_runs SET throttle_per_minute = 600 WHERE id = %s", (run,))
    start = (await run_row(ledger, run))["scheduled_at"]
    granted = [await _throttle(app, ledger, run, start + timedelta(seconds=each / 10)) for each in range(100)]
    assert 95 <= sum(granted) <= 105, "ten a second for ten seconds"
    idle = await _throttle(app, ledger, run, start + timedelta(hours=1))
    assert idle <= 11, "an hour of silence is a second's burst"


async def test_a_throttle_holds_over_all_pages(app: Database, loops: Database, ledger: Ledger) -> None:
    run = await sending(loops, ledger, 1)
    await ledger.execute("UPDATE campaign_runs SET throttle_per_minute = 600 WHERE id = %s", (run,))
    at = (await run_row(ledger, run))["scheduled_at"] + timedelta(seconds=1)
    await _throttle(app, ledger, run, at - timedelta(seconds=1))
    granted = await asyncio.gather(*(_throttle(app, ledger, run, at) for _ in range(6)))
    assert sum(granted) <= 10


async def _throttle(app: Database, ledger: Ledger, run: UUID, now: datetime) -> int:
    async with app.transaction(ledger.tenant) as connection:
        await connection.execute("SELECT set_config('app.now', %s, true)", (now.isoformat(),))
        granted, wait = await take_throttle(connection, tenant=ledger.tenant, run=run, wanted=50)
    assert granted > 0 or timedelta() < wait <= timedelta(seconds=0.11)
    return granted


async def test_claims_records_verdicts_events_and_sweeps_at_once_end_in_no_deadlock(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    """Everybody who writes recipients, in orders of their own; afterwards each row has one end and one open attempt."""
    run = await sending(loops, ledger, 240)
    people = await due(app, ledger, run)
    over = asyncio.Event()

    async def page(number: int) -> None:
        chance = random.Random(number)
        for _ in range(12):
            mine = chance.sample(people, 30)
            asks = asks_for(mine)
            won = await claim(app, ledger, run, asks)
            claimed = [ask for ask in asks if ask.message in won]
            ending = chance.choice((ACCEPTED, ACCEPTED, UNKNOWN))
            if claimed:
                await record(app, ledger, claimed, ending)
            judged = [
                Judged(message=one.id, attempts=0, reason="late", outcome="skipped") for one in chance.sample(people, 3)
            ]
            await settle(app, ledger, judged)

    async def events() -> None:
        chance = random.Random(99)
        while not over.is_set():
            told = [event(one.id, EventKind.SEND) for one in chance.sample(people, 20)]
            async with loops.transaction() as connection:
                await store_events(connection, arrivals(ledger.account, told))
            async with loops.transaction() as connection:
                await apply_events(connection, limit=50, signal="x")

    async def sweeps() -> None:
        while not over.is_set():
            async with loops.transaction() as connection:
                await end_expired(connection, limit=50)
                await lose_in_flight(connection, age=timedelta(seconds=0.02), limit=50)

    helpers = [asyncio.create_task(each) for each in (events(), events(), sweeps())]
    await asyncio.gather(*(page(number) for number in range(4)))
    over.set()
    await asyncio.gather(*helpers)
    doubles = await ledger.execute(
        "SELECT message_id FROM attempts WHERE tenant_id = %s GROUP BY message_id HAVING count(*) > 1", (ledger.tenant,)
    )
    assert doubles == []
    rows = await recipients(ledger, run)
    assert {(row["phase"], row["outcome"] is None) for row in rows} <= {
        ("closed", False),
        ("held", True),
        ("ready", True),
    }
