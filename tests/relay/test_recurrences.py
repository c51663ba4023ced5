"""Recurring campaigns: one run a time, whoever schedules, and none that is made up for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.relay.ledger import Ledger
from tests.relay.runs import EMAIL, add_run
from waypost.relay.recurrences import recur
from waypost.store.database import Database

FIRST = datetime(2026, 11, 2, 8, tzinfo=UTC)
SCHEDULE = {"schedule": {"at": FIRST.isoformat(), "every": "P7D"}}


async def _campaign(ledger: Ledger, *, due_in: timedelta = timedelta(), state: str = "completed") -> UUID:
    run = await add_run(ledger, definition=SCHEDULE, contents=(EMAIL,), state=state)
    found = await ledger.execute("SELECT campaign_id FROM campaign_runs WHERE id = %s", (run,))
    campaign: UUID = found[0]["campaign_id"]
    await ledger.execute(
        "UPDATE campaigns SET state = %s, next_at = waypost_now() + %s WHERE id = %s", (state, due_in, campaign)
    )
    return campaign


async def _runs(ledger: Ledger, campaign: UUID) -> list[dict[str, Any]]:
    return await ledger.execute("SELECT * FROM campaign_runs WHERE campaign_id = %s ORDER BY number", (campaign,))


async def _campaign_row(ledger: Ledger, campaign: UUID) -> dict[str, Any]:
    return (await ledger.execute("SELECT * FROM campaigns WHERE id = %s", (campaign,)))[0]


async def _look(store: Database) -> int:
    async with store.transaction() as connection:
        return await recur(connection, limit=50)


async def test_at_its_time_one_more_run_is_made_with_what_the_template_says_by_then(
    ledger: Ledger, store: Database
) -> None:
    campaign = await _campaign(ledger)
    (first,) = await _runs(ledger, campaign)
    template = first["definition"]["contents"][0]["template_id"]
    await ledger.execute("UPDATE templates SET current_version = 7 WHERE id = %s", (template,))
    due = (await _campaign_row(ledger, campaign))["next_at"]
    assert await _look(store) >= 1
    _, second = await _runs(ledger, campaign)
    assert (second["number"], second["kind"], second["state"]) == (2, "recurrence", "scheduled")
    assert (second["based_on"], second["scheduled_at"]) == (first["id"], due)
    assert second["definition"]["contents"][0]["template_version"] == 7
    row = await _campaign_row(ledger, campaign)
    assert (row["last_run"], row["state"]) == (2, "scheduled")
    assert row["next_at"] > due
    assert (row["next_at"] - FIRST) % timedelta(days=7) == timedelta()
    assert await _look(store) == 0


async def test_two_schedulers_make_one_run(ledger: Ledger, store: Database) -> None:
    campaigns = [await _campaign(ledger) for _ in range(5)]
    await asyncio.gather(*(_look(store) for _ in range(4)))
    for campaign in campaigns:
        assert [run["number"] for run in await _runs(ledger, campaign)] == [1, 2]


async def test_a_time_that_was_missed_is_left_out_and_not_made_up_for(ledger: Ledger, store: Database) -> None:
    campaign = await _campaign(ledger, due_in=timedelta(days=-15))
    await _look(store)
    assert len(await _runs(ledger, campaign)) == 1
    row = await _campaign_row(ledger, campaign)
    assert row["next_at"] > datetime.now(UTC)
    assert row["state"] == "completed"


async def test_while_a_person_has_stopped_it_no_run_begins(ledger: Ledger, store: Database) -> None:
    for state in ("paused", "halted"):
        campaign = await _campaign(ledger, state=state)
        await _look(store)
        assert len(await _runs(ledger, campaign)) == 1
        assert (await _campaign_row(ledger, campaign))["next_at"] > datetime.now(UTC)


async def test_a_run_that_is_not_over_does_not_keep_the_next_one_from_its_time(ledger: Ledger, store: Database) -> None:
    campaign = await _campaign(ledger, state="sending")
    await _look(store)
    assert [run["state"] for run in await _runs(ledger, campaign)] == ["sending", "scheduled"]


async def test_before_its_time_and_for_a_suspended_tenant_nothing_begins(ledger: Ledger, store: Database) -> None:
    early = await _campaign(ledger, due_in=timedelta(minutes=1))
    await _look(store)
    assert len(await _runs(ledger, early)) == 1
    due = await _campaign(ledger)
    await ledger.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (ledger.tenant,))
    await _look(store)
    assert len(await _runs(ledger, due)) == 1
