"""Pages of campaigns with real rows, real provider clients and the simulators: who is sent what, and nobody twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb
from temporalio.testing import ActivityEnvironment

from activities.contracts.campaigns import PageInput, PageResult, PageStep
from tests.activities.campaign_bench import CampaignBench, sending, to_the_end
from tests.relay.runs import EMAIL, SMS, add_contacts, add_run, freeze_all, outcomes, recipients
from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.providers.ses.sender import SesSender

DONE = PageStep.DONE


async def addresses(bench: CampaignBench, run: UUID) -> Counter[str]:
    return Counter(row["address"] for row in await recipients(bench.ledger, run))


async def test_a_shard_is_sent_in_bulk_each_recipient_once(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 120)
    result = await campaigns.page(run)
    assert (result.step, result.handed_over, result.ended) == (DONE, 120, 0)
    assert campaigns.got() == await addresses(campaigns, run)
    assert await outcomes(campaigns.ledger, run) == {("sent", "accepted"): 120}
    assert await campaigns.page(run) == PageResult(DONE), "asked again there is nothing to do"


async def test_everybody_gets_what_is_theirs(campaigns: CampaignBench) -> None:
    contacts = await add_contacts(campaigns.ledger, 3)
    for number, contact in enumerate(contacts):
        await campaigns.ledger.execute(
            "UPDATE contacts SET attributes = %s WHERE id = %s", (Jsonb({"name": f"N{number}"}), contact)
        )
    run = await add_run(campaigns.ledger)
    await freeze_all(campaigns.relay, campaigns.ledger, run)
    await campaigns.page(run)
    for number, contact in enumerate(contacts):
        (found,) = campaigns.control.inbox(f"{contact}@example.com")
        assert f"Hello N{number}" in found["text"]
        assert "List-Unsubscribe" in str(found)


async def test_who_must_not_get_it_ends_with_the_reason(campaigns: CampaignBench) -> None:
    contacts = await add_contacts(campaigns.ledger, 5)
    ledger = campaigns.ledger
    await ledger.insert(
        "suppressions",
        tenant_id=ledger.tenant,
        id=uuid4(),
        channel="email",
        address=f"{contacts[0]}@example.com",
        reason="unsubscribed",
    )
    await ledger.execute("UPDATE contacts SET consent = %s WHERE id = %s", (Jsonb({"email": False}), contacts[1]))
    run = await add_run(ledger)
    await freeze_all(campaigns.relay, ledger, run)
    await ledger.execute("DELETE FROM contacts WHERE id = %s", (contacts[2],))
    result = await campaigns.page(run)
    assert (result.step, result.handed_over, result.ended) == (DONE, 2, 3)
    assert await outcomes(ledger, run) == {
        ("suppressed", "unsubscribed"): 1,
        ("suppressed", "no_consent"): 1,
        ("cancelled", "contact_deleted"): 1,
        ("sent", "accepted"): 2,
    }


async def test_what_cannot_be_rendered_fails_alone(campaigns: CampaignBench) -> None:
    contacts = await add_contacts(campaigns.ledger, 4)
    await campaigns.ledger.execute(
        "UPDATE contacts SET attributes = %s WHERE id = ANY(%s)", (Jsonb({"name": "Ann"}), contacts[:3])
    )
    run = await add_run(campaigns.ledger, contents=[EMAIL | {"text": "Hello {{ contact.attributes.name }}"}])
    await freeze_all(campaigns.relay, campaigns.ledger, run)
    await campaigns.page(run)
    assert await outcomes(campaigns.ledger, run) == {("sent", "accepted"): 3, ("failed", "rendering_failed"): 1}


async def test_an_entry_that_is_refused_fails_and_the_others_are_sent(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 30)
    (bad, *_) = await recipients(campaigns.ledger, run)
    campaigns.control.add_fault(
        fault="bulk_entry", account=campaigns.key, match=bad["address"], status="MESSAGE_REJECTED"
    )
    result = await campaigns.page(run)
    assert (result.handed_over, result.ended) == (29, 1)
    assert await outcomes(campaigns.ledger, run) == {("sent", "accepted"): 29, ("failed", "MessageRejected"): 1}
    assert bad["address"] not in campaigns.got()


async def test_a_throttled_call_is_void_and_goes_out_later_once(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 60)
    campaigns.control.add_fault(fault="throttle", account=campaigns.key, count=1)
    first = await campaigns.page(run)
    assert first.handed_over < 60
    budget = await campaigns.ledger.execute(
        "SELECT slow_factor FROM account_budgets WHERE account_id = %s", (campaigns.ledger.account,)
    )
    assert budget[0]["slow_factor"] < 1
    await to_the_end(campaigns, run)
    assert campaigns.got() == await addresses(campaigns, run)
    assert await outcomes(campaigns.ledger, run) == {("sent", "accepted"): 60}


@pytest.mark.parametrize("fault", ["accept_then_reset", "accept_then_5xx"])
async def test_a_call_whose_answer_is_lost_is_held_and_not_made_again(campaigns: CampaignBench, fault: str) -> None:
    run = await sending(campaigns, 40)
    campaigns.control.add_fault(fault=fault, account=campaigns.key, count=1)
    result = await campaigns.page(run)
    assert (result.step, result.at) == (PageStep.WAIT, None), "it waits for evidence"
    await campaigns.now_due(run)
    await campaigns.page(run)
    assert await outcomes(campaigns.ledger, run) == {(None, "attempt_unknown"): 40}
    assert campaigns.got() == await addresses(campaigns, run)
    assert (await campaigns.ask("complete", run)).state == "sending", "a run with held rows is not over"


async def test_where_nothing_can_be_proven_a_lost_answer_is_maybe_sent_at_once(campaigns: CampaignBench) -> None:
    await campaigns.ledger.execute(
        "UPDATE provider_accounts SET feed = 'lossy' WHERE id = %s", (campaigns.ledger.account,)
    )
    run = await sending(campaigns, 10)
    campaigns.control.add_fault(fault="accept_then_reset", account=campaigns.key, count=1)
    assert (await campaigns.page(run)).step is DONE
    assert await outcomes(campaigns.ledger, run) == {("maybe_sent", "at_most_once"): 10}
    assert (await campaigns.ask("complete", run)).state == "completed"


async def test_a_refusal_of_a_whole_call_ends_only_whom_it_means(
    campaigns: CampaignBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of fifty makes SES refuse the call: each is tried alone, and the forty-nine get theirs."""
    run = await sending(campaigns, 20)
    (bad, *_) = await recipients(campaigns.ledger, run)
    campaigns.control.add_fault(
        fault="bulk_entry", account=campaigns.key, match=bad["address"], status="MESSAGE_REJECTED"
    )
    _refuse_calls_of_many(monkeypatch)
    result = await campaigns.page(run)
    await to_the_end(campaigns, run)
    assert await outcomes(campaigns.ledger, run) == {("sent", "accepted"): 19, ("failed", "MessageRejected"): 1}
    assert max(campaigns.got().values()) == 1
    assert result.handed_over > 0


def _refuse_calls_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SesSender.send_bulk

    def send_bulk(self: SesSender, messages: Any, /) -> list[ProviderReply]:
        if len(messages) == 1:
            return real(self, messages)
        refused = ProviderReply(kind=ReplyKind.REJECTED, code="BadRequestException")
        return [replace(refused, of_whole_call=True)] * len(messages)

    monkeypatch.setattr(SesSender, "send_bulk", send_bulk)


async def test_a_blocked_account_is_paused_and_nothing_is_lost(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 30)
    campaigns.control.add_fault(fault="sending_paused", account=campaigns.key)
    assert (await campaigns.page(run)).step is PageStep.WAIT
    account = await campaigns.ledger.execute(
        "SELECT state FROM provider_accounts WHERE id = %s", (campaigns.ledger.account,)
    )
    assert account[0]["state"] == "paused"
    assert (await campaigns.page(run)).reason == "the account is paused"
    campaigns.control.faults()
    await campaigns.ledger.execute(
        "UPDATE provider_accounts SET state = 'open' WHERE id = %s", (campaigns.ledger.account,)
    )
    await to_the_end(campaigns, run)
    assert campaigns.got() == await addresses(campaigns, run)


async def test_a_pause_in_mid_page_stops_within_a_call_and_a_resume_goes_on(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 1500)
    campaigns.control.account("ses", campaigns.key, secret="secret", latency_ms=60)
    page = asyncio.create_task(campaigns.page(run))
    await _until_got(campaigns, 100)
    paused_at = await _pause(campaigns, run)
    result = await page
    assert result.step is PageStep.WAIT
    claimed = await campaigns.ledger.execute(
        "SELECT max(claimed_at) AS last, count(*) AS count FROM attempts WHERE tenant_id = %s",
        (campaigns.ledger.tenant,),
    )
    assert claimed[0]["last"] <= paused_at
    assert campaigns.got().total() == claimed[0]["count"] == result.handed_over < 1500
    assert (await campaigns.page(run)).reason == "the run is paused"
    await campaigns.ledger.execute("UPDATE campaign_runs SET state = 'sending' WHERE id = %s", (run,))
    await to_the_end(campaigns, run)
    assert campaigns.got() == await addresses(campaigns, run)


async def test_two_pages_of_one_shard_at_once_send_to_nobody_twice(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 400)
    other = campaigns.process()
    results = await asyncio.gather(campaigns.page(run), campaigns.page(run, activities=other))
    await to_the_end(campaigns, run)
    assert sum(result.handed_over for result in results) <= 400
    assert campaigns.got() == await addresses(campaigns, run)
    attempts = await campaigns.ledger.execute(
        "SELECT count(*) AS count FROM attempts WHERE tenant_id = %s", (campaigns.ledger.tenant,)
    )
    assert attempts[0]["count"] == 400


async def test_a_page_that_is_cancelled_finishes_its_calls_and_makes_no_other(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 600)
    campaigns.control.account("ses", campaigns.key, secret="secret", latency_ms=80)
    environment = ActivityEnvironment()
    task = PageInput(str(campaigns.ledger.tenant), str(run), 0)
    page = asyncio.ensure_future(environment.run(campaigns.activities.page, task))
    await _until_got(campaigns, 50)
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await page
    states = Counter(
        row["state"]
        for row in await campaigns.ledger.execute(
            "SELECT state FROM attempts WHERE tenant_id = %s", (campaigns.ledger.tenant,)
        )
    )
    assert set(states) == {"accepted"}, "a deploy makes no unknowns"
    assert states["accepted"] < 600


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ("UPDATE campaign_runs SET state = 'cancelled' WHERE id = %(run)s", PageStep.ENDED),
        ("UPDATE campaign_runs SET state = 'halted' WHERE id = %(run)s", PageStep.WAIT),
        ("UPDATE tenants SET state = 'closing' WHERE id = %(tenant)s", PageStep.ENDED),
        ("UPDATE tenants SET state = 'suspended' WHERE id = %(tenant)s", PageStep.WAIT),
    ],
)
async def test_nothing_goes_out_of_a_run_that_is_stopped(campaigns: CampaignBench, change: str, step: PageStep) -> None:
    run = await sending(campaigns, 5)
    await campaigns.ledger.execute(change, {"run": run, "tenant": campaigns.ledger.tenant})
    assert (await campaigns.page(run)).step is step
    assert not campaigns.got()


async def test_a_run_that_is_not_there_has_ended(campaigns: CampaignBench) -> None:
    assert (await campaigns.page(uuid4())).step is PageStep.ENDED


async def test_text_messages_go_out_one_by_one_several_at_once(texts: CampaignBench) -> None:
    run = await sending(texts, 40, contents=[SMS])
    result = await texts.page(run)
    assert (result.step, result.handed_over) == (DONE, 40)
    assert texts.got() == await addresses(texts, run)
    assert await outcomes(texts.ledger, run) == {("sent", "accepted"): 40}


async def test_a_text_message_whose_answer_is_lost_is_maybe_sent(texts: CampaignBench) -> None:
    run = await sending(texts, 5, contents=[SMS])
    texts.control.add_fault(fault="accept_then_reset", account=texts.key, count=1)
    await texts.page(run)
    assert await outcomes(texts.ledger, run) == {("sent", "accepted"): 4, ("maybe_sent", "at_most_once"): 1}
    assert max(texts.got().values()) == 1


async def _until_got(bench: CampaignBench, count: int) -> None:
    async with asyncio.timeout(5):
        while bench.got().total() < count:  # noqa: ASYNC110 - it happens at the provider
            await asyncio.sleep(0.02)


async def _pause(bench: CampaignBench, run: UUID) -> datetime:
    rows = await bench.ledger.execute(
        "UPDATE campaign_runs SET state = 'paused' WHERE id = (SELECT id FROM campaign_runs WHERE id = %s FOR UPDATE) "
        "RETURNING clock_timestamp() AS at",
        (run,),
    )
    at: datetime = rows[0]["at"]
    return at
