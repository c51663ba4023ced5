"""Claims and records of a run's calls: never after a pause, never twice, in no deadlock; and its throttle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from tests.relay.ledger import Ledger, arrivals, event
from tests.relay.runs import outcomes, recipients, run_row
from tests.store.campaign_steps import ACCEPTED, UNKNOWN, VOID, asks_for, claim, due, record, sending, settle
from waypost.messaging.values import EventKind
from waypost.store.campaign_pages import (
    Judged,
    Recipient,
    record_many,
)
from waypost.store.campaign_throttle import take_throttle
from waypost.store.database import Database
from waypost.store.events import apply_events, store_events
from waypost.store.reconcile import assume_sent, lose_in_flight
from waypost.store.sweeps import end_expired


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
        months = [await ledger.month()]
        assert await record_many(connection, tenant=ledger.tenant, months=months, endings=endings) == 3
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
    helpers = [
        asyncio.create_task(each)
        for each in (_events(loops, ledger, people, over), _events(loops, ledger, people, over), _sweeps(loops, over))
    ]
    await asyncio.gather(*(_pages(app, ledger, run, people, random.Random(number)) for number in range(4)))
    over.set()
    await asyncio.gather(*helpers)
    doubles = await ledger.execute(
        "SELECT message_id FROM attempts WHERE tenant_id = %s GROUP BY message_id HAVING count(*) > 1", (ledger.tenant,)
    )
    assert doubles == []
    rows = await recipients(ledger, run)
    assert {row["phase"] for row in rows} <= {"closed", "held", "ready"}


async def _pages(app: Database, ledger: Ledger, run: UUID, people: Sequence[Recipient], chance: random.Random) -> None:
    for _ in range(12):
        asks = asks_for(chance.sample(people, 30))
        won = await claim(app, ledger, run, asks)
        claimed = [ask for ask in asks if ask.message in won]
        if claimed:
            await record(app, ledger, claimed, chance.choice((ACCEPTED, ACCEPTED, UNKNOWN)))
        judged = [
            Judged(message=one.id, attempts=0, reason="late", outcome="skipped") for one in chance.sample(people, 3)
        ]
        await settle(app, ledger, judged)


async def _events(loops: Database, ledger: Ledger, people: Sequence[Recipient], over: asyncio.Event) -> None:
    chance = random.Random(99)
    while not over.is_set():
        told = [event(one.id, EventKind.SEND) for one in chance.sample(people, 20)]
        async with loops.transaction() as connection:
            await store_events(connection, arrivals(ledger.account, told))
        async with loops.transaction() as connection:
            await apply_events(connection, limit=50, signal="x")


async def _sweeps(loops: Database, over: asyncio.Event) -> None:
    while not over.is_set():
        async with loops.transaction() as connection:
            await end_expired(connection, limit=50)
            await lose_in_flight(connection, age=timedelta(seconds=0.02), limit=50)
