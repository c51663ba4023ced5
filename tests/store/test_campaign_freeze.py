"""The freeze: one statement makes each recipient's row once, with its time, variant and cohort."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from psycopg import sql

from tests.relay.ledger import Ledger
from tests.relay.runs import SMS, add_contacts, add_run, freeze_all, recipients, run_row
from waypost.messaging.values import Channel
from waypost.store.campaign_freeze import lock_run, not_reached, zones_of
from waypost.store.database import Database


def ids_of(contacts: list[UUID]) -> sql.Composed:
    return sql.SQL("SELECT unnest({}::uuid[])").format(sql.Literal(contacts))


async def test_everybody_with_an_address_is_a_recipient_once(loops: Database, ledger: Ledger) -> None:
    contacts = await add_contacts(ledger, 20)
    await add_contacts(ledger, 3, email=None)
    run = await add_run(ledger)
    assert await freeze_all(loops, ledger, run) == (20, 1)
    rows = await recipients(ledger, run)
    assert {row["contact_id"] for row in rows} == set(contacts)
    assert {(row["source"], row["source_id"], row["phase"], row["class"]) for row in rows} == {
        ("campaign", run, "ready", "marketing")
    }
    assert all(row["part"] == str(row["contact_id"]) and row["id"].version == 8 for row in rows)
    assert {(row["template_version"], row["variant"], row["cohort"]) for row in rows} == {(1, 0, 0)}
    assert (await run_row(ledger, run))["audience"] == 20


async def test_an_address_gets_one_message_the_oldest_contacts(loops: Database, ledger: Ledger) -> None:
    (oldest,) = await add_contacts(ledger, 1, email="Ann@Example.com")
    await add_contacts(ledger, 3, email="ann@example.COM")
    run = await add_run(ledger)
    assert await freeze_all(loops, ledger, run) == (1, 1)
    (row,) = await recipients(ledger, run)
    assert (row["contact_id"], row["address"]) == (oldest, "Ann@Example.com")


async def test_a_text_message_goes_to_numbers(loops: Database, ledger: Ledger) -> None:
    await add_contacts(ledger, 2, phone=None)
    (ann,) = await add_contacts(ledger, 1)
    run = await add_run(ledger, contents=[SMS])
    assert await freeze_all(loops, ledger, run, channel=Channel.SMS) == (1, 1)
    assert [(row["contact_id"], row["channel"]) for row in await recipients(ledger, run)] == [(ann, "sms")]


async def test_who_is_excluded_and_who_is_not_in_the_audience_gets_nothing(loops: Database, ledger: Ledger) -> None:
    contacts = await add_contacts(ledger, 10)
    run = await add_run(ledger)
    size, _ = await freeze_all(loops, ledger, run, audience=ids_of(contacts[:8]), exclude=ids_of(contacts[:3]))
    assert size == 5
    assert {row["contact_id"] for row in await recipients(ledger, run)} == set(contacts[3:8])


async def test_another_tenants_contacts_are_never_recipients(loops: Database, ledger: Ledger) -> None:
    other, _ = await ledger.add_tenant(ledger.account)
    stranger = uuid4()
    await ledger.insert("contacts", tenant_id=other, id=stranger, external_id="x", email="x@example.com")
    run = await add_run(ledger)
    assert await freeze_all(loops, ledger, run, audience=ids_of([stranger])) == (0, 1)


async def test_an_empty_audience_has_one_shard_without_rows(loops: Database, ledger: Ledger) -> None:
    run = await add_run(ledger)
    assert await freeze_all(loops, ledger, run) == (0, 1)
    assert await recipients(ledger, run) == []


async def test_variants_and_cohorts_are_drawn_by_their_shares_the_same_each_time(
    loops: Database, ledger: Ledger
) -> None:
    await _many(ledger, 4000)
    run = await add_run(ledger, contents=[{"channel": "email", "subject": s, "text": "x"} for s in "abc"])
    await freeze_all(loops, ledger, run, first_share=0.25, weights=(1, 1, 2))
    rows = await recipients(ledger, run)
    cohorts = Counter(row["cohort"] for row in rows)
    variants = Counter(row["variant"] for row in rows)
    assert 850 < cohorts[0] < 1150
    assert 850 < variants[0] < 1150
    assert 1850 < variants[2] < 2150
    assert all(Counter(row["variant"] for row in rows if row["cohort"] == 0)[v] > 150 for v in (0, 1, 2))
    templates = [UUID(one["template_id"]) for one in (await run_row(ledger, run))["definition"]["contents"]]
    assert all(row["template_id"] == templates[row["variant"]] for row in rows)


async def test_who_waits_for_the_winner_has_no_variant_and_no_template(loops: Database, ledger: Ledger) -> None:
    await _many(ledger, 200)
    run = await add_run(ledger, contents=[{"channel": "email", "subject": s, "text": "x"} for s in "ab"])
    await freeze_all(loops, ledger, run, first_share=0.5, rest_has_variant=False)
    rows = await recipients(ledger, run)
    assert {(row["cohort"], row["variant"] == -1, row["template_id"] is None) for row in rows} == {
        (0, False, False),
        (1, True, True),
    }


async def test_a_large_audience_is_spread_over_shards_evenly(
    loops: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _many(ledger, 2000)
    run = await add_run(ledger)
    monkeypatch.setattr("waypost.store.campaign_freeze.SHARD_SIZE", 100)
    assert await freeze_all(loops, ledger, run) == (2000, 4)
    shards = Counter(row["shard"] for row in await recipients(ledger, run))
    assert sorted(shards) == [0, 1, 2, 3]
    assert min(shards.values()) > 400


async def test_each_zone_has_its_own_time_and_a_spread_is_even(loops: Database, ledger: Ledger) -> None:
    await _many(ledger, 300, zone="Asia/Tokyo")
    (nowhere,) = await add_contacts(ledger, 1)
    run = await add_run(ledger)
    due = (await run_row(ledger, run))["scheduled_at"]
    tokyo = due - timedelta(hours=9)
    async with loops.transaction() as connection:
        assert await zones_of(connection, tenant=ledger.tenant) == ["Asia/Tokyo"]
    await freeze_all(
        loops, ledger, run, due_by_zone={"Asia/Tokyo": tokyo}, spread=timedelta(hours=1), expires_in=timedelta(days=1)
    )
    rows = await recipients(ledger, run)
    late = [row["due_at"] - tokyo for row in rows if row["contact_id"] != nowhere]
    assert timedelta() <= min(late) < timedelta(minutes=2)
    assert timedelta(minutes=58) < max(late) <= timedelta(hours=1)
    (other,) = (row for row in rows if row["contact_id"] == nowhere)
    assert due <= other["due_at"] <= due + timedelta(hours=1)
    assert all(row["expires_at"] == row["due_at"] + timedelta(days=1) for row in rows)
    assert all(row["send_at"] == row["due_at"] for row in rows)


async def test_frozen_a_second_time_there_is_nobody_twice(loops: Database, ledger: Ledger) -> None:
    await add_contacts(ledger, 30)
    run = await add_run(ledger)
    await freeze_all(loops, ledger, run)
    before = await recipients(ledger, run)
    assert (await freeze_all(loops, ledger, run))[0] == 0
    assert await recipients(ledger, run) == before


async def test_a_run_that_is_being_prepared_is_waited_for(loops: Database, ledger: Ledger) -> None:
    run = await add_run(ledger)
    async with loops.transaction() as connection:
        assert await lock_run(connection, tenant=ledger.tenant, run=run) is not None
        second = asyncio.create_task(_shards(loops, ledger, run))
        await asyncio.sleep(0.1)
        assert not second.done()
        await connection.execute("UPDATE campaign_runs SET shards = 3 WHERE id = %s", (run,))
    assert await second == 3


async def test_a_resend_is_for_who_was_not_reached(loops: Database, ledger: Ledger) -> None:
    await add_contacts(ledger, 7)
    run = await add_run(ledger)
    await freeze_all(loops, ledger, run)
    endings = ("sent", "maybe_sent", "failed", "suppressed", "skipped", "expired", "cancelled")
    rows = await recipients(ledger, run)
    for row, outcome in zip(rows, endings, strict=True):
        await ledger.execute(
            "UPDATE messages SET phase = 'closed', outcome = %s, outcome_reason = 'x' WHERE id = %s",
            (outcome, row["id"]),
        )
    again = await add_run(ledger, kind="resend", based_on=run)
    await freeze_all(loops, ledger, again, audience=not_reached(tenant=ledger.tenant, run=run))
    assert {row["contact_id"] for row in await recipients(ledger, again)} == {
        rows[endings.index("failed")]["contact_id"],
        rows[endings.index("expired")]["contact_id"],
    }


async def _shards(loops: Database, ledger: Ledger, run: UUID) -> int | None:
    async with loops.transaction() as connection:
        found = await lock_run(connection, tenant=ledger.tenant, run=run)
    assert found is not None
    return found.shards


async def _many(ledger: Ledger, count: int, zone: str | None = None) -> None:
    await ledger.execute(
        "INSERT INTO contacts (tenant_id, id, external_id, email, time_zone) "
        "SELECT %s, gen_random_uuid(), n::text, n || '@example.com', %s FROM generate_series(1, %s) AS n",
        (ledger.tenant, zone, count),
    )
