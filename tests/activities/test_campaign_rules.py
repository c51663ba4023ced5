"""When and how much: caps, throttles, quiet hours, lateness, variants and winners, with all real but the clock."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from psycopg.types.json import Jsonb

from activities.contracts.campaigns import PageStep
from tests.activities.campaign_bench import CampaignBench, sending, to_the_end
from tests.relay.runs import EMAIL, add_contacts, add_run, freeze_all, outcomes, recipients, run_row

SKIP_LATE = {"late_policy": "skip", "late_after": "PT1H"}


async def test_a_cap_that_two_campaigns_share_is_kept_and_both_come_to_an_end(campaigns: CampaignBench) -> None:
    ledger = campaigns.ledger
    await ledger.execute(
        "UPDATE tenants SET frequency_caps = %s WHERE id = %s",
        (Jsonb([{"channel": "email", "limit": 1, "period": "P1D"}]), ledger.tenant),
    )
    await add_contacts(ledger, 100)
    runs = [await add_run(ledger) for _ in range(2)]
    for run in runs:
        await freeze_all(campaigns.relay, ledger, run)
    await asyncio.gather(*(to_the_end(campaigns, run) for run in runs))
    got = campaigns.got()
    assert (len(got), max(got.values())) == (100, 1)
    endings = await outcomes(ledger, runs[0]) + await outcomes(ledger, runs[1])
    assert endings == {("sent", "accepted"): 100, ("skipped", "frequency_cap"): 100}


async def test_a_call_that_was_throttled_gives_the_cap_back(campaigns: CampaignBench) -> None:
    await campaigns.ledger.execute(
        "UPDATE tenants SET frequency_caps = %s WHERE id = %s",
        (Jsonb([{"channel": None, "limit": 1, "period": "P1D"}]), campaigns.ledger.tenant),
    )
    run = await sending(campaigns, 20)
    campaigns.control.add_fault(fault="throttle", account=campaigns.key, count=1)
    await campaigns.page(run)
    await to_the_end(campaigns, run)
    assert await outcomes(campaigns.ledger, run) == {("sent", "accepted"): 20}


async def test_a_throttled_run_goes_out_at_its_rate_within_one_page(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 60, throttle_per_minute=1200)
    began = time.monotonic()
    result = await campaigns.page(run)
    assert result.handed_over == 60
    assert 2.5 < time.monotonic() - began < 8, "twenty a second"


async def test_a_run_that_is_throttled_to_a_trickle_waits_as_an_execution(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 10, throttle_per_minute=10)
    result = await campaigns.page(run)
    assert (result.step, result.handed_over, result.reason) == (PageStep.WAIT, 1, "throttled")
    assert result.at is not None


async def test_quiet_hours_put_off_and_a_campaign_may_ignore_them(campaigns: CampaignBench) -> None:
    quiet = Jsonb({"start": "00:00", "end": "23:59"})
    await campaigns.ledger.execute(
        "UPDATE tenants SET quiet_hours = %s WHERE id = %s", (quiet, campaigns.ledger.tenant)
    )
    polite = await sending(campaigns, 5)
    result = await campaigns.page(polite)
    assert result.step is PageStep.WAIT
    assert result.at is not None
    assert await outcomes(campaigns.ledger, polite) == {(None, "quiet_hours"): 5}
    urgent = await add_run(campaigns.ledger, definition={"ignore_quiet_hours": True})
    await freeze_all(campaigns.relay, campaigns.ledger, urgent)
    assert (await campaigns.page(urgent)).handed_over == 5


async def test_waiting_for_the_winner_is_no_lateness(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 20, definition={"schedule": SKIP_LATE}, how={"first_share": 0.000001})
    await _meant_for_two_hours_ago(campaigns, run)
    await campaigns.ledger.execute(
        "UPDATE campaign_runs SET open_cohort = 1, released_at = waypost_now() WHERE id = %s", (run,)
    )
    assert (await campaigns.page(run)).handed_over == 20


async def test_whose_turn_a_throttle_puts_off_is_not_late(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 2, definition={"schedule": SKIP_LATE}, throttle_per_minute=600)
    await _meant_for_two_hours_ago(campaigns, run)
    await campaigns.ledger.execute("UPDATE campaign_runs SET audience = 100000 WHERE id = %s", (run,))
    assert (await campaigns.page(run)).ended == 0


async def test_what_an_outage_made_late_is_skipped_where_the_campaign_says_so(campaigns: CampaignBench) -> None:
    run = await sending(campaigns, 3, definition={"schedule": SKIP_LATE})
    await _meant_for_two_hours_ago(campaigns, run)
    await campaigns.page(run)
    assert await outcomes(campaigns.ledger, run) == {("skipped", "late"): 3}


async def test_variants_go_out_by_their_templates_and_the_rest_with_the_winner(campaigns: CampaignBench) -> None:
    contents = [EMAIL | {"subject": subject} for subject in ("First", "Second")]
    run = await sending(
        campaigns,
        60,
        contents=contents,
        definition={"winner": {"test_share": 0.5, "by": "manual"}},
        how={"first_share": 0.5, "rest_has_variant": False},
    )
    await to_the_end(campaigns, run)
    rows = await recipients(campaigns.ledger, run)
    assert {(row["cohort"], row["outcome"]) for row in rows} == {(0, "sent"), (1, None)}
    await campaigns.ledger.execute(
        "UPDATE campaign_runs SET open_cohort = 1, winner = 1, released_at = waypost_now() WHERE id = %s", (run,)
    )
    await to_the_end(campaigns, run)
    rows = await recipients(campaigns.ledger, run)
    assert {row["variant"] for row in rows if row["cohort"] == 1} == {1}
    second = UUID((await run_row(campaigns.ledger, run))["definition"]["contents"][1]["template_id"])
    assert {row["template_id"] for row in rows if row["cohort"] == 1} == {second}
    one = next(row for row in rows if row["cohort"] == 1)
    assert campaigns.control.inbox(one["address"])[0]["subject"] == "Second"


async def _meant_for_two_hours_ago(bench: CampaignBench, run: UUID) -> None:
    await bench.ledger.execute(
        "UPDATE messages SET due_at = due_at - interval '2 hours', send_at = send_at - interval '2 hours' "
        "WHERE run_id = %s",
        (run,),
    )
