"""A message with a fallback: when its clock starts, when it is due at once, and when it stays at home."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from activities.contracts.sending import Step
from tests.activities.sending_bench import BROKEN, Bench, unknown
from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.messaging.values import Outcome


async def test_the_fallback_is_due_a_while_after_its_primary_went_out(bench: Bench) -> None:
    primary, fallback = await bench.pair()
    result = await bench.send(primary)
    assert (result.step, result.outcome, result.fallback_id) == (Step.FALLBACK, Outcome.SENT, str(fallback))
    assert result.at is not None
    assert timedelta(minutes=9) < result.at - datetime.now(UTC) <= timedelta(minutes=10)
    waits = await bench.send(fallback)
    assert (waits.step, waits.at) == (Step.AGAIN, result.at)
    assert (await bench.row(fallback))["phase"] == "waiting"
    assert len(bench.sender.calls) == 1


async def test_the_fallback_goes_out_at_its_time(bench: Bench) -> None:
    primary, fallback = await bench.pair()
    await bench.send(primary)
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (fallback,))
    assert (await bench.send(fallback)).outcome is Outcome.SENT
    assert len(bench.sender.calls) == 2


async def test_the_fallback_of_a_delivered_primary_is_skipped(bench: Bench) -> None:
    primary, fallback = await bench.pair()
    await bench.send(primary)
    await bench.ledger.execute("UPDATE messages SET delivery = 'delivered' WHERE id = %s", (primary,))
    assert (await bench.send(fallback)).outcome is Outcome.SKIPPED
    assert await bench.verdicts(fallback) == [("refuse", "primary_delivered")]
    assert len(bench.sender.calls) == 1


@pytest.mark.parametrize("how", ["rejected", "suppressed", "not rendered"])
async def test_the_fallback_of_a_primary_that_does_not_go_out_is_due_at_once(bench: Bench, how: str) -> None:
    primary, fallback = await bench.pair()
    if how == "rejected":
        bench.sender.replies.append(ProviderReply(kind=ReplyKind.REJECTED, code="MessageRejected"))
    elif how == "suppressed":
        await bench.ledger.execute(
            "INSERT INTO suppressions (tenant_id, id, channel, address, reason)"
            " VALUES (%s, gen_random_uuid(), 'email', 'ann@example.com', 'bounce')",
            (bench.ledger.tenant,),
        )
        await bench.ledger.execute(
            "UPDATE messages SET address = '+15550001', channel = 'sms' WHERE id = %s", (fallback,)
        )
    else:
        await bench.ledger.execute("UPDATE messages SET payload = %s WHERE id = %s", (Jsonb(BROKEN), primary))
    result = await bench.send(primary)
    assert (result.step, result.fallback_id) == (Step.FALLBACK, str(fallback))
    assert result.at is not None
    assert result.at <= datetime.now(UTC)
    assert (await bench.send(fallback)).outcome is Outcome.SENT


async def test_the_clock_of_an_unknown_primary_starts_too(bench: Bench) -> None:
    primary, fallback = await bench.pair()
    bench.sender.replies.append(unknown())
    result = await bench.send(primary)
    assert (result.step, result.state, result.fallback_id) == (Step.FALLBACK, "held: attempt unknown", str(fallback))
    assert result.outcome is None


async def test_a_primary_whose_worker_died_still_gives_its_fallback(bench: Bench) -> None:
    """The first run claimed, called, recorded and was killed before it could answer Temporal."""
    primary, fallback = await bench.pair()
    first = await bench.send(primary)
    assert await bench.send(primary) == first
    assert first.fallback_id == str(fallback)


async def test_a_fallback_that_must_wait_for_its_account_goes_back_to_its_row(bench: Bench) -> None:
    primary, fallback = await bench.pair()
    await bench.send(primary)
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (fallback,))
    await bench.ledger.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (bench.ledger.tenant,))
    assert (await bench.send(fallback)).step is Step.PUT_BACK
    assert (await bench.row(fallback))["phase"] == "ready"


async def test_a_put_back_primary_keeps_its_fallback_waiting(bench: Bench) -> None:
    primary, fallback = await bench.pair()
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.THROTTLED, code="Throttling"))
    assert (await bench.send(primary)).step is Step.PUT_BACK
    row = await bench.row(fallback)
    assert (row["phase"], row["due_at"]) == ("waiting", None)


async def test_a_claim_that_a_twin_won_still_waits_with_the_fallback(bench: Bench) -> None:
    """The activity was run a second time while the first still called: the execution must not lose the fallback."""
    primary, fallback = await bench.pair()
    await bench.ledger.execute(
        "INSERT INTO attempts (tenant_id, id, message_id, number, account_id, claimed_at, process, month)"
        " VALUES (%s, gen_random_uuid(), %s, 1, %s, waypost_now(), 'twin', waypost_month(waypost_now()))",
        (bench.ledger.tenant, primary, bench.ledger.account),
    )
    result = await bench.send(primary)
    assert (result.step, result.fallback_id) == (Step.FALLBACK, str(fallback))
    assert bench.sender.calls == []
