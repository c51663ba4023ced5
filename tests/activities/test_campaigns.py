"""Prepare, decide, complete: each once, whoever asks and how often, and only where it is time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from activities.campaign_composing import _hash
from activities.composing import content_hash, hash_of
from tests.activities.campaign_bench import CampaignBench, sending, to_the_end
from tests.relay.ledger import Ledger, until
from tests.relay.runs import EMAIL, add_contacts, add_run, campaign_state, outcomes, recipients, run_row
from waypost.messaging.provider import RenderedMessage
from waypost.messaging.values import Channel, RunState
from waypost.store.campaign_freeze import freeze_alone
from waypost.store.campaigns import get_campaign, move_run

CANARY = {"share": 0.5, "after": "PT1S", "max_bounce_rate": 0.1}


async def test_prepared_by_two_at_once_everybody_is_a_recipient_once(campaigns: CampaignBench) -> None:
    await add_contacts(campaigns.ledger, 25)
    run = await add_run(campaigns.ledger)
    first, second = await asyncio.gather(campaigns.ask("prepare", run), campaigns.ask("prepare", run))
    assert (first.state, first.audience, first.shards) == (second.state, second.audience, second.shards)
    assert (first.state, first.audience, first.shards) == ("sending", 25, 1)
    assert len(await recipients(campaigns.ledger, run)) == 25
    assert await campaign_state(campaigns.ledger, run) == "sending"


async def test_before_its_time_or_of_a_suspended_tenant_it_is_not_prepared(campaigns: CampaignBench) -> None:
    await add_contacts(campaigns.ledger, 3)
    run = await add_run(campaigns.ledger)
    due = (await run_row(campaigns.ledger, run))["scheduled_at"] + timedelta(hours=1)
    await campaigns.ledger.execute("UPDATE campaign_runs SET scheduled_at = %s WHERE id = %s", (due, run))
    progress = await campaigns.ask("prepare", run)
    assert (progress.state, progress.shards, progress.again_at) == ("scheduled", 0, due)
    await campaigns.ledger.execute("UPDATE campaign_runs SET scheduled_at = waypost_now() WHERE id = %s", (run,))
    await campaigns.ledger.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (campaigns.ledger.tenant,))
    assert (await campaigns.ask("prepare", run)).shards == 0


@pytest.mark.parametrize("state", ["paused", "halted", "cancelled"])
async def test_a_run_that_was_stopped_before_it_began_is_not_prepared(campaigns: CampaignBench, state: str) -> None:
    await add_contacts(campaigns.ledger, 3)
    run = await add_run(campaigns.ledger, state=state)
    assert (await campaigns.ask("prepare", run)).state == state
    assert await recipients(campaigns.ledger, run) == []


async def test_a_large_run_waits_for_a_second_word(campaigns: CampaignBench) -> None:
    await campaigns.ledger.execute("UPDATE tenants SET approval_over = 5 WHERE id = %s", (campaigns.ledger.tenant,))
    await add_contacts(campaigns.ledger, 6)
    run = await add_run(campaigns.ledger)
    assert (await campaigns.ask("prepare", run)).state == "paused"
    assert (await run_row(campaigns.ledger, run))["state_reason"] == "needs_approval"
    assert (await campaigns.page(run)).reason == "the run is paused"
    approved = await add_run(campaigns.ledger, approved_at=(await run_row(campaigns.ledger, run))["created_at"])
    assert (await campaigns.ask("prepare", approved)).state == "sending"


async def test_a_list_that_is_gone_by_then_halts_the_run_for_a_person(campaigns: CampaignBench) -> None:
    run = await add_run(campaigns.ledger, definition={"audience": {"list": "gone"}})
    assert (await campaigns.ask("prepare", run)).state == "halted"
    assert (await run_row(campaigns.ledger, run))["state_reason"] == "unknown_list"


async def test_a_run_is_complete_when_nobody_is_open_and_not_before(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 10)
    assert (await campaigns.ask("complete", run)).state == "sending"
    await campaigns.page(run)
    assert (await campaigns.ask("complete", run)).state == "completed"
    assert (await campaigns.ask("complete", run)).state == "completed"
    assert await campaign_state(campaigns.ledger, run) == "completed"
    row = await run_row(campaigns.ledger, run)
    assert row["audience"] == sum((await outcomes(campaigns.ledger, run)).values())


async def test_an_empty_run_is_complete_at_once(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 0)
    await campaigns.page(run)
    assert (await campaigns.ask("complete", run)).state == "completed"


async def test_a_canary_that_went_well_lets_the_rest_follow(campaigns: CampaignBench) -> None:
    run = await _tested(campaigns, {"canary": CANARY}, count=60)
    assert (await campaigns.ask("decide", run)).decide_at is not None, "not before its time"
    await _now_decide(campaigns, run)
    assert (await campaigns.ask("decide", run)).decide_at is None
    await to_the_end(campaigns, run)
    assert await outcomes(campaigns.ledger, run) == {("sent", "accepted"): 60}


async def test_a_canary_that_bounced_halts_the_run_and_the_rest_stays(campaigns: CampaignBench) -> None:
    run = await _tested(campaigns, {"canary": CANARY}, count=60)
    await campaigns.ledger.execute("UPDATE messages SET bounced = true WHERE run_id = %s AND outcome = 'sent'", (run,))
    await _now_decide(campaigns, run)
    assert (await campaigns.ask("decide", run)).state == "halted"
    assert (await run_row(campaigns.ledger, run))["state_reason"] == "canary_bounces"
    assert (await campaigns.page(run)).reason == "the run is halted"
    assert campaigns.got().total() < 60


async def test_nothing_is_decided_before_the_first_share_is_out(campaigns: CampaignBench) -> None:
    """An approval, a pause or local times held it: no bounce yet says nothing."""
    run = await _prepared(campaigns, {"canary": CANARY}, count=60)
    await _now_decide(campaigns, run)
    progress = await campaigns.ask("decide", run)
    row = await run_row(campaigns.ledger, run)
    assert (row["open_cohort"], row["state"]) == (0, "sending")
    assert progress.decide_at is not None, "put off"


async def test_the_variant_that_was_opened_most_wins_and_the_rest_gets_it(campaigns: CampaignBench) -> None:
    contents = [EMAIL | {"subject": subject} for subject in ("First", "Second")]
    winner = {"winner": {"test_share": 0.5, "by": "opens", "after": "PT1S"}}
    run = await _tested(campaigns, winner, count=80, contents=contents)
    await campaigns.ledger.execute(
        "UPDATE messages SET delivery = 'opened' WHERE run_id = %s AND variant = 1 AND outcome = 'sent'", (run,)
    )
    await _now_decide(campaigns, run)
    await campaigns.ask("decide", run)
    assert (await run_row(campaigns.ledger, run))["winner"] == 1
    await to_the_end(campaigns, run)
    rows = await recipients(campaigns.ledger, run)
    assert {(row["variant"], row["outcome"]) for row in rows if row["cohort"] == 1} == {(1, "sent")}


async def test_a_paused_run_decides_nothing(campaigns: CampaignBench) -> None:
    run = await _tested(campaigns, {"canary": CANARY}, count=30)
    await _now_decide(campaigns, run)
    await campaigns.ledger.execute("UPDATE campaign_runs SET state = 'paused' WHERE id = %s", (run,))
    assert (await campaigns.ask("decide", run)).state == "paused"
    assert (await run_row(campaigns.ledger, run))["open_cohort"] == 0


async def test_who_waits_for_a_winner_that_nobody_chose_expires_and_the_run_completes(
    campaigns: CampaignBench,
) -> None:
    contents = [EMAIL | {"subject": subject} for subject in ("First", "Second")]
    run = await _tested(campaigns, {"winner": {"test_share": 0.5, "by": "manual"}}, count=40, contents=contents)
    await campaigns.ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = 'expired', outcome_reason = 'expired' "
        "WHERE run_id = %s AND cohort = 1",
        (run,),
    )
    await campaigns.page(run)
    assert (await campaigns.ask("complete", run)).state == "completed"


async def _prepared(bench: CampaignBench, definition: dict[str, Any], *, count: int, **more: Any) -> UUID:
    await add_contacts(bench.ledger, count)
    run = await add_run(bench.ledger, definition=definition, **more)
    await bench.ask("prepare", run)
    await bench.ledger.execute(
        "UPDATE campaign_runs SET decide_at = waypost_now() + interval '1 h' WHERE id = %s AND decide_at IS NOT NULL",
        (run,),
    )
    return run


async def _tested(bench: CampaignBench, definition: dict[str, Any], *, count: int, **more: Any) -> UUID:
    """A run whose first share is out."""
    run = await _prepared(bench, definition, count=count, **more)
    await to_the_end(bench, run)
    assert 0 < bench.got().total() < count
    return run


async def _now_decide(bench: CampaignBench, run: UUID) -> None:
    await bench.ledger.execute("UPDATE campaign_runs SET decide_at = waypost_now() WHERE id = %s", (run,))


@asynccontextmanager
async def held_up(campaigns: CampaignBench, run: UUID) -> AsyncIterator[None]:
    """Keeps a freeze from its end, holding what a freeze holds of the run's row: it has made rows that name it."""
    async with campaigns.relay.transaction() as connection:
        await freeze_alone(connection, run=run)
        await connection.execute("SELECT FROM campaign_runs WHERE id = %s FOR KEY SHARE", (run,))
        yield


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLED])
async def test_while_it_is_prepared_a_run_says_so_and_can_be_moved_at_once(
    campaigns: CampaignBench, state: RunState
) -> None:
    ledger = campaigns.ledger
    await add_contacts(ledger, 5)
    run = await add_run(ledger)
    key = str((await run_row(ledger, run))["campaign_id"])
    async with held_up(campaigns, run):
        preparing = asyncio.create_task(campaigns.ask("prepare", run))
        await until(lambda: says(ledger, run, RunState.PREPARING))
        assert await campaign_state(ledger, run) == RunState.PREPARING
        async with asyncio.timeout(1), campaigns.app.session(ledger.tenant) as session:
            found = await get_campaign(session, ledger.tenant, key, mode="test", lock=True)
            assert found[1] is not None
            await move_run(session, found[0], found[1], state=state, reason="test")
    assert (await preparing).state == state
    assert await recipients(ledger, run) == []
    if state is RunState.PAUSED:
        await ledger.execute("UPDATE campaign_runs SET state = 'scheduled' WHERE id = %s", (run,))
        assert (await campaigns.ask("prepare", run)).audience == 5


async def says(ledger: Ledger, run: UUID, state: RunState) -> bool:
    return bool((await run_row(ledger, run))["state"] == state)


async def test_a_preparation_that_died_is_made_again(campaigns: CampaignBench) -> None:
    await add_contacts(campaigns.ledger, 5)
    run = await add_run(campaigns.ledger, state="preparing")
    assert (await campaigns.ask("prepare", run)).state == "sending"
    assert len(await recipients(campaigns.ledger, run)) == 5


async def test_who_prepares_second_moves_nothing_though_the_audience_is_gone_by_then(campaigns: CampaignBench) -> None:
    """The first try was lost to sight and went on; the second waited for it."""
    run = await add_run(campaigns.ledger, definition={"audience": {"list": "gone"}})
    async with held_up(campaigns, run):
        second = asyncio.create_task(campaigns.ask("prepare", run))
        await until(lambda: says(campaigns.ledger, run, RunState.PREPARING))
        await campaigns.ledger.execute(
            "UPDATE campaign_runs SET state = 'sending', audience = 5, shards = 1 WHERE id = %s", (run,)
        )
    assert ((await second).state, (await second).audience) == (RunState.SENDING, 5)
    assert (await run_row(campaigns.ledger, run))["state"] == RunState.SENDING


def test_a_text_message_of_a_campaign_has_the_hash_that_a_look_up_makes() -> None:
    rendered = RenderedMessage(
        attempt_id=uuid4(), channel=Channel.SMS, to="+14155550100", from_address="+14155550199", text="Hello"
    )
    assert content_hash(rendered) == hash_of("+14155550100", "", "", "Hello")
    assert _hash("+14155550100", "Hello") == content_hash(rendered)
