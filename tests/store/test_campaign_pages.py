"""Pages of a run: who is due, with what forbids it, and whom the gate lets wait or ends."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from psycopg.types.json import Jsonb

from tests.relay.ledger import Ledger
from tests.relay.runs import add_contacts, add_run, freeze_all, recipients, run_row
from tests.store.campaign_steps import due, load, sending, settle
from waypost.messaging.ids import topic_id
from waypost.store.campaign_open import still_open
from waypost.store.campaign_pages import (
    Judged,
    Recipient,
)
from waypost.store.database import Database


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
