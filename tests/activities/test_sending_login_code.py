"""The one written exception to "no blind retry": a login code, once, after about 20 seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from activities.contracts.sending import Step
from tests.activities.sending_bench import Bench, unknown
from tests.relay.ledger import Attempt
from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.messaging.values import AttemptState, Outcome

LOGIN = {"class": "login_code"}


async def later(bench: Bench, message: UUID) -> None:
    """Twenty seconds pass for the message's attempts."""
    await bench.ledger.execute(
        "UPDATE attempts SET claimed_at = claimed_at - interval '21 s' WHERE message_id = %s", (message,)
    )


async def test_an_unknown_login_code_is_asked_about_again_after_20_seconds(bench: Bench) -> None:
    message = await bench.message(**LOGIN)
    bench.sender.replies.append(unknown())
    result = await bench.send(message)
    assert result.step is Step.AGAIN
    assert result.at is not None
    (attempt,) = await bench.ledger.attempts(message)
    assert abs(result.at - attempt["claimed_at"] - timedelta(seconds=20)) < timedelta(seconds=1)
    assert (await bench.row(message))["phase"] == "dispatched"
    early = await bench.send(message)
    assert (early.step, early.at) == (Step.AGAIN, attempt["claimed_at"] + timedelta(seconds=20))
    assert len(bench.sender.calls) == 1


async def test_its_second_try_carries_the_same_content(bench: Bench) -> None:
    message = await bench.message(**LOGIN)
    bench.sender.replies.append(unknown())
    await bench.send(message)
    await later(bench, message)
    assert (await bench.send(message)).outcome is Outcome.SENT
    assert await bench.states(message) == ["abandoned", "accepted"]
    first, second = await bench.ledger.attempts(message)
    assert first["content_hash"] == second["content_hash"]
    assert first["resolution"] == "login_code_retry"


async def test_there_is_no_third_try(bench: Bench) -> None:
    message = await bench.message(**LOGIN)
    bench.sender.replies.extend([unknown(), unknown()])
    await bench.send(message)
    await later(bench, message)
    assert (await bench.send(message)).state == "held: attempt unknown"
    await later(bench, message)
    assert (await bench.send(message)).state == "held: attempt unknown"
    assert await bench.states(message) == ["abandoned", "unknown"]
    assert (await bench.row(message))["phase"] == "held"
    assert len(bench.sender.calls) == 2


async def test_a_login_code_that_was_throttled_first_still_has_its_second_try(bench: Bench) -> None:
    message = await bench.message(**LOGIN)
    bench.sender.replies.extend([ProviderReply(kind=ReplyKind.THROTTLED, code="Throttling"), unknown()])
    await bench.send(message)
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (message,))
    assert (await bench.send(message)).step is Step.AGAIN
    await later(bench, message)
    assert (await bench.send(message)).outcome is Outcome.SENT
    assert await bench.states(message) == ["void", "abandoned", "accepted"]


async def test_evidence_within_the_20_seconds_saves_the_second_try(bench: Bench) -> None:
    message = await bench.message(**LOGIN)
    bench.sender.replies.append(unknown())
    await bench.send(message)
    await bench.ledger.execute("UPDATE attempts SET state = 'accepted' WHERE message_id = %s", (message,))
    await bench.ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'accepted' WHERE id = %s", (message,)
    )
    await later(bench, message)
    assert (await bench.send(message)).outcome is Outcome.SENT
    assert len(bench.sender.calls) == 1


@pytest.mark.parametrize(
    "forbidding",
    [
        "UPDATE messages SET expires_at = waypost_now() WHERE tenant_id = %s",
        "UPDATE tenants SET state = 'closing' WHERE id = %s",
        "UPDATE tenants SET state = 'suspended' WHERE id = %s",
    ],
)
async def test_where_the_gate_says_no_the_first_try_stays_unknown_and_is_not_called_unsent(
    bench: Bench, forbidding: str
) -> None:
    """It may have arrived: nothing but evidence or the horizon may say how it ended."""
    message = await bench.message(**LOGIN)
    bench.sender.replies.append(unknown())
    await bench.send(message)
    await later(bench, message)
    await bench.ledger.execute(forbidding, (bench.ledger.tenant,))
    assert (await bench.send(message)).state == "held: attempt unknown"
    assert await bench.states(message) == ["unknown"]
    assert (await bench.row(message))["outcome"] is None


async def test_a_refusal_after_the_first_try_was_given_up_is_maybe_sent(bench: Bench) -> None:
    message = await bench.message(Attempt(AttemptState.ABANDONED, resolution="login_code_retry"), **LOGIN)
    await bench.ledger.execute("UPDATE messages SET expires_at = waypost_now() WHERE id = %s", (message,))
    assert (await bench.send(message)).outcome is Outcome.MAYBE_SENT
    row = await bench.row(message)
    assert (row["outcome"], row["outcome_reason"]) == ("maybe_sent", "expired")


async def test_a_worker_that_died_in_the_first_call_leaves_the_second_try(bench: Bench) -> None:
    message = await bench.message(Attempt(AttemptState.IN_FLIGHT, age=timedelta(seconds=21)), **LOGIN)
    assert (await bench.send(message)).outcome is Outcome.SENT
    assert await bench.states(message) == ["abandoned", "accepted"]


async def test_a_worker_that_died_in_the_second_call_leaves_none(bench: Bench) -> None:
    attempts: Any = (
        Attempt(AttemptState.ABANDONED, age=timedelta(seconds=60), resolution="login_code_retry"),
        Attempt(AttemptState.IN_FLIGHT, age=timedelta(seconds=30)),
    )
    message = await bench.message(*attempts, **LOGIN)
    assert (await bench.send(message)).state == "held: attempt unknown"
    assert bench.sender.calls == []
