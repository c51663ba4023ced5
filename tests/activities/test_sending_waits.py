"""What keeps a message from its call for a while: fence, busy threads, budget, an account that cannot be used."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from activities import doors, lasting, sending
from activities.contracts.sending import Step
from tests.activities.sending_bench import Bench, Blocked
from tests.relay.ledger import until
from waypost.messaging.values import Outcome
from waypost.providers.errors import EndpointRefusedError
from waypost.settings import WorkerSettings
from waypost.store.errors import CredentialsError
from workflows.message import SEND_TIMEOUT


def test_the_time_out_of_a_send_is_longer_than_all_its_waits_together() -> None:
    waits = 2 * sending._PATIENCE.total_seconds() + doors.FENCE_S + lasting.RECORD_PATIENCE_S
    call: float = WorkerSettings.model_fields["call_timeout_s"].default
    assert waits + call + 5 < SEND_TIMEOUT.total_seconds()


async def test_a_call_that_comes_too_long_after_its_claim_is_not_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who claimed and then stood still may have been taken for dead: the attempt is void and the message goes on."""
    monkeypatch.setattr(doors, "FENCE_S", 0.05)
    message, blocked = await bench.message(), Blocked()
    door = await bench.doors.to(bench.ledger.account)
    busy = [
        asyncio.get_running_loop().run_in_executor(door._threads, blocked.stand_still)  # every thread stands still
        for _ in range(4)
    ]
    sending_it = asyncio.create_task(bench.send(message))
    await asyncio.sleep(0.15)
    blocked.let_go.set()
    assert (await sending_it).step is Step.PUT_BACK
    await asyncio.gather(*busy)
    assert bench.sender.calls == []
    (attempt,) = await bench.ledger.attempts(message)
    assert (attempt["state"], attempt["code"]) == ("void", "fence_passed")
    monkeypatch.undo()
    await asyncio.sleep(0.2)
    assert (await bench.send(message)).state == "sent"


async def test_a_message_waits_as_a_row_while_all_calls_of_its_account_are_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_PATIENCE", timedelta(milliseconds=100))
    blocked = bench.sender.during = Blocked()
    first = [asyncio.create_task(bench.send(await bench.message())) for _ in range(4)]
    await asyncio.to_thread(blocked.entered.wait)
    await until(lambda: _is(len(bench.sender.calls) == 4))
    waiting = await bench.message()
    assert (await bench.send(waiting)).state == "put back: account_busy"
    row = await bench.row(waiting)
    assert (row["phase"], row["hold_reason"], row["attempts"]) == ("ready", "account_busy", 0)
    blocked.let_go.set()
    assert {result.state for result in await asyncio.gather(*first)} == {"sent"}


async def test_a_message_waits_as_a_row_while_the_rate_is_used_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_PATIENCE", timedelta(milliseconds=100))
    await _set_budget(bench, rate=0.01, tokens=0)
    message = await bench.message()
    before = datetime.now(UTC)
    result = await bench.send(message)
    assert result.state == "put back: send_rate"
    row = await bench.row(message)
    assert row["due_at"] >= before + timedelta(seconds=10, milliseconds=100), "the wait counts from its end"
    assert await bench.verdicts(message) == [("defer", "send_rate")]
    assert bench.sender.calls == []


async def test_a_used_up_quota_pauses_the_account_and_burns_nothing(bench: Bench) -> None:
    await bench.ledger.execute("UPDATE provider_accounts SET daily_quota = 1 WHERE id = %s", (bench.ledger.account,))
    assert (await bench.send(await bench.message())).state == "sent"
    message = await bench.message()
    assert (await bench.send(message)).state == "put back: account_paused"
    account = await bench.account_row()
    assert (account["state"], account["pause_reason"]) == ("paused", "daily_quota")
    assert account["resume_at"] > datetime.now(UTC) + timedelta(minutes=4)
    assert await bench.states(message) == []


async def test_who_waited_long_for_its_turn_is_judged_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_VERDICT_KEPT_S", 0.05)
    await _set_budget(bench, rate=4, tokens=0)
    message = await bench.message()
    sending_it = asyncio.create_task(bench.send(message))
    await asyncio.sleep(0.06)
    await bench.ledger.insert(
        "suppressions",
        tenant_id=bench.ledger.tenant,
        id=uuid4(),
        channel="email",
        address="ann@example.com",
        reason="complaint",
    )
    assert (await sending_it).state == "suppressed"
    assert bench.sender.calls == []


@pytest.mark.parametrize(
    "why", [CredentialsError("not set"), EndpointRefusedError("endpoint_malformed", field="endpoint"), ValueError("x")]
)
async def test_an_account_that_cannot_be_used_is_paused_and_keeps_its_messages(bench: Bench, why: Exception) -> None:
    bench.unusable = why
    message = await bench.message()
    before = datetime.now(UTC)
    assert (await bench.send(message)).state == "put back: account_unusable"
    account = await bench.account_row()
    assert (account["state"], account["pause_reason"]) == ("paused", "account_unusable")
    assert account["resume_at"] > before + timedelta(seconds=50)
    row = await bench.row(message)
    assert (row["phase"], row["outcome"], row["attempts"]) == ("ready", None, 0)
    assert row["due_at"] > before + timedelta(seconds=50), "it does not loop hot"


async def test_an_account_that_was_mended_sends_again(bench: Bench) -> None:
    bench.unusable = CredentialsError("not set")
    message = await bench.message()
    await bench.send(message)
    bench.unusable = None
    await bench.ledger.execute(
        "UPDATE provider_accounts SET state = 'open', resume_at = NULL WHERE id = %s", (bench.ledger.account,)
    )
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (message,))
    assert (await bench.send(message)).state == "sent"


async def test_a_claim_that_is_refused_gives_the_reason(bench: Bench) -> None:
    """The message is cancelled while it waits for its budget: the claim says no, and the gate says why."""
    await _set_budget(bench, rate=5, tokens=0)
    message = await bench.message()
    sending_it = asyncio.create_task(bench.send(message))
    await asyncio.sleep(0.05)
    await bench.ledger.execute("UPDATE messages SET cancel_requested_at = waypost_now() WHERE id = %s", (message,))
    assert (await sending_it).state == "cancelled"
    assert bench.sender.calls == []


async def _is(truth: bool) -> bool:
    return truth


async def _set_budget(bench: Bench, *, rate: float, tokens: float) -> None:
    account = (bench.ledger.account,)
    await bench.ledger.execute(f"UPDATE provider_accounts SET rate_per_second = {rate} WHERE id = %s", account)  # noqa: S608 - the test's own
    await bench.ledger.execute(
        f"UPDATE account_budgets SET tokens = {tokens}, filled_at = waypost_now() WHERE account_id = %s",  # noqa: S608 - the test's own
        account,
    )


async def test_a_late_message_waits_for_its_approval_and_goes_out_with_it(bench: Bench) -> None:
    await bench.ledger.execute(
        "UPDATE tenants SET late_policy = 'ask', late_after = interval '1 hour' WHERE id = %s", (bench.ledger.tenant,)
    )
    message = await bench.message(created_at=datetime.now(UTC) - timedelta(days=3))
    assert (await bench.send(message)).step is Step.PUT_BACK
    row = await bench.row(message)
    assert (row["hold_reason"], row["due_at"]) == ("late_needs_approval", row["expires_at"])
    await bench.ledger.execute(
        "UPDATE messages SET late_approved_at = waypost_now(), due_at = waypost_now() WHERE id = %s", (message,)
    )
    assert (await bench.send(message)).outcome is Outcome.SENT
