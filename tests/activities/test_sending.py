"""One run of the send activity for each answer of a provider, and what the rows say after it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from activities.contracts.sending import SendResult, Step
from tests import services
from tests.activities.sending_bench import BROKEN, CONTENT, Bench, unknown
from tests.relay.ledger import Attempt
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.messaging.values import AttemptState, Outcome

ANN = "ann@example.com"
SENT = {"phase": "closed", "outcome": "sent", "outcome_reason": "accepted"}


async def told(bench: Bench, message: UUID) -> dict[str, Any]:
    """What the rows say."""
    row = await bench.row(message)
    return {
        "phase": row["phase"],
        "outcome": row["outcome"],
        "reason": row["outcome_reason"] or row["hold_reason"],
        "attempts": await bench.states(message),
    }


async def test_an_accepted_message(bench: Bench) -> None:
    message = await bench.message()
    assert await bench.send(message) == SendResult(Step.DONE, "sent", outcome=Outcome.SENT)
    assert await told(bench, message) == {
        "phase": "closed",
        "outcome": "sent",
        "reason": "accepted",
        "attempts": ["accepted"],
    }
    (attempt,) = await bench.ledger.attempts(message)
    assert attempt["provider_message_id"] == "ses-1"
    assert attempt["content_hash"] is not None
    (call,) = bench.sender.calls
    assert (call.attempt_id, call.to, call.text) == (
        attempt_id(message=message, number=1),
        "Ann@Example.com",
        "Hello you",
    )


async def test_a_run_after_the_outcome_calls_nobody(bench: Bench) -> None:
    message = await bench.message()
    first = await bench.send(message)
    assert await bench.send(message) == first
    assert len(bench.sender.calls) == 1


async def test_a_throttled_message_waits_and_the_account_slows_down(bench: Bench) -> None:
    message = await bench.message()
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.THROTTLED, code="Throttling"))
    assert (await bench.send(message)).step is Step.PUT_BACK
    assert await told(bench, message) == {
        "phase": "ready",
        "outcome": None,
        "reason": "throttled",
        "attempts": ["void"],
    }
    account = await bench.account_row()
    assert account["slow_factor"] == 0.5
    assert account["slow_until"] > datetime.now(UTC)
    assert account["state"] == "open"


async def test_a_throttled_message_waits_as_long_as_the_provider_asks(bench: Bench) -> None:
    message = await bench.message()
    reply = ProviderReply(kind=ReplyKind.THROTTLED, code="20429", retry_after=timedelta(seconds=90))
    bench.sender.replies.append(reply)
    await bench.send(message)
    assert (await bench.row(message))["due_at"] > datetime.now(UTC) + timedelta(seconds=80)


async def test_a_provider_that_was_not_reached_is_tried_again_soon(bench: Bench) -> None:
    message = await bench.message()
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.NOT_REACHED, code="connect_refused"))
    assert (await bench.send(message)).step is Step.PUT_BACK
    assert await told(bench, message) == {
        "phase": "ready",
        "outcome": None,
        "reason": "provider_not_reached",
        "attempts": ["void"],
    }
    assert (await bench.account_row())["state"] == "open"


@pytest.mark.parametrize(("code", "minutes"), [("daily_quota", 4), ("AccountSuspendedException", 0)])
async def test_a_blocked_account_is_paused_and_burns_nothing(bench: Bench, code: str, minutes: int) -> None:
    message = await bench.message()
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.ACCOUNT_BLOCKED, code=code))
    assert (await bench.send(message)).step is Step.PUT_BACK
    assert await told(bench, message) == {
        "phase": "ready",
        "outcome": None,
        "reason": "account_paused",
        "attempts": ["void"],
    }
    account = await bench.account_row()
    assert (account["state"], account["pause_reason"]) == ("paused", code)
    assert account["resume_at"] > datetime.now(UTC) + timedelta(minutes=minutes)
    assert (await bench.send(message)).step is Step.PUT_BACK
    assert len(bench.sender.calls) == 1


async def test_a_denied_message_fails_by_itself_and_pauses_nobody_while_others_go_through(bench: Bench) -> None:
    denied = ProviderReply(kind=ReplyKind.DENIED, code="access_denied")
    message = await bench.message()
    for _ in range(2):
        await bench.send(await bench.message())
        bench.sender.replies.append(denied)
        assert (await bench.send(message)).step is Step.PUT_BACK
        assert (await bench.row(message))["hold_reason"] == "access_denied"
        assert (await bench.account_row())["state"] == "open"
        await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (message,))
    bench.sender.replies.append(denied)
    await bench.send(message)
    assert await bench.states(message) == ["void"] * 3, "nobody got through since the second denial"
    await bench.send(await bench.message())
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (message,))
    bench.sender.replies.append(denied)
    assert await bench.send(message) == SendResult(Step.DONE, "failed", outcome=Outcome.FAILED)
    told_of = await told(bench, message)
    assert (told_of["reason"], told_of["attempts"]) == ("access_denied", ["void"] * 3 + ["rejected"])
    assert (await bench.account_row())["state"] == "open"


async def test_a_denial_where_nothing_gets_through_pauses_the_account_and_burns_nothing(bench: Bench) -> None:
    message = await bench.message(Attempt(AttemptState.VOID), Attempt(AttemptState.VOID))
    await bench.ledger.execute("UPDATE attempts SET code = 'access_denied' WHERE message_id = %s", (message,))
    await bench.message(Attempt(AttemptState.ACCEPTED, age=timedelta(minutes=6)), **SENT)
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.DENIED, code="access_denied"))
    assert (await bench.send(message)).step is Step.PUT_BACK
    account = await bench.account_row()
    assert (account["state"], account["pause_reason"]) == ("paused", "access_denied")
    assert await bench.states(message) == ["void"] * 3


async def test_a_refused_message_has_failed_with_the_providers_code(bench: Bench) -> None:
    message = await bench.message()
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.REJECTED, code="MessageRejected"))
    assert await bench.send(message) == SendResult(Step.DONE, "failed", outcome=Outcome.FAILED)
    assert await told(bench, message) == {
        "phase": "closed",
        "outcome": "failed",
        "reason": "MessageRejected",
        "attempts": ["rejected"],
    }
    assert await bench.ledger.execute("SELECT FROM suppressions WHERE tenant_id = %s", (bench.ledger.tenant,)) == []


async def test_a_person_who_has_opted_out_is_suppressed(bench: Bench) -> None:
    message = await bench.message()
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.REJECTED, code="21610", suppresses=True))
    await bench.send(message)
    (row,) = await bench.ledger.execute(
        "SELECT reason, address, message_id FROM suppressions WHERE tenant_id = %s", (bench.ledger.tenant,)
    )
    assert (row["reason"], row["address"].lower(), row["message_id"]) == ("stop", ANN, message)
    next_one = await bench.message()
    assert await bench.send(next_one) == SendResult(Step.DONE, "suppressed", outcome=Outcome.SUPPRESSED)
    assert await bench.verdicts(next_one) == [("refuse", "stop")]
    assert len(bench.sender.calls) == 1


async def test_an_unknown_message_is_held_and_not_sent_again(bench: Bench) -> None:
    message = await bench.message()
    bench.sender.replies.append(unknown())
    assert await bench.send(message) == SendResult(Step.DONE, "held: attempt unknown")
    expected = {"phase": "held", "outcome": None, "reason": "attempt_unknown", "attempts": ["unknown"]}
    assert await told(bench, message) == expected
    await bench.send(message)
    assert await told(bench, message) == expected
    assert len(bench.sender.calls) == 1


@pytest.mark.parametrize("whose", ["message", "tenant"])
async def test_at_most_once_counts_an_unknown_message_as_sent(bench: Bench, whose: str) -> None:
    if whose == "tenant":
        await bench.ledger.execute(
            "UPDATE tenants SET unknown_policy = 'at_most_once' WHERE id = %s", (bench.ledger.tenant,)
        )
    message = await bench.message(unknown_policy="at_most_once" if whose == "message" else None)
    bench.sender.replies.append(unknown())
    assert await bench.send(message) == SendResult(Step.DONE, "maybe_sent", outcome=Outcome.MAYBE_SENT)
    assert await told(bench, message) == {
        "phase": "closed",
        "outcome": "maybe_sent",
        "reason": "at_most_once",
        "attempts": ["assumed_sent"],
    }


async def test_an_adapter_that_raises_leaves_an_unknown_attempt(bench: Bench) -> None:
    message = await bench.message()
    bench.sender.replies.append(ZeroDivisionError("an adapter's own bug"))
    assert (await bench.send(message)).state == "held: attempt unknown"
    (attempt,) = await bench.ledger.attempts(message)
    assert (attempt["state"], attempt["code"]) == ("unknown", "ZeroDivisionError")


async def test_what_cannot_be_rendered_has_failed_without_an_attempt(bench: Bench) -> None:
    message = await bench.message(payload=Jsonb(BROKEN))
    assert await bench.send(message) == SendResult(Step.DONE, "failed", outcome=Outcome.FAILED)
    assert await told(bench, message) == {
        "phase": "closed",
        "outcome": "failed",
        "reason": "rendering_failed",
        "attempts": [],
    }
    assert bench.sender.calls == []


@pytest.mark.parametrize(
    "columns",
    [
        {"template_id": uuid4(), "template_version": 1},
        {"payload": Jsonb({"content": {"channel": "pigeon", "body": "Coo"}})},
        {"payload": Jsonb({})},
        {"payload": Jsonb(CONTENT | {"attachments": [{"filename": "a"}]})},
    ],
    ids=["no such template version", "content of no channel", "no content", "half an attachment"],
)
async def test_a_row_that_cannot_be_read_has_failed_and_is_not_tried_for_ever(
    bench: Bench, columns: dict[str, Any]
) -> None:
    message = await bench.message(**columns)
    assert await bench.send(message) == SendResult(Step.DONE, "failed", outcome=Outcome.FAILED)
    assert await bench.verdicts(message) == [("refuse", "rendering_failed")]


async def test_a_database_that_is_away_while_composing_is_no_failure_of_the_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise psycopg.OperationalError

    monkeypatch.setattr("activities.composing.template_content", away)
    message = await bench.message(template_id=uuid4(), template_version=1)
    with pytest.raises(psycopg.OperationalError):
        await bench.send(message)
    assert (await bench.row(message))["outcome"] is None


async def test_a_void_attempt_is_followed_by_the_next(bench: Bench) -> None:
    message = await bench.message()
    bench.sender.replies.append(ProviderReply(kind=ReplyKind.THROTTLED, code="Throttling"))
    await bench.send(message)
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (message,))
    assert (await bench.send(message)).outcome is Outcome.SENT
    assert await bench.states(message) == ["void", "accepted"]
    assert [call.attempt_id for call in bench.sender.calls] == [
        attempt_id(message=message, number=number) for number in (1, 2)
    ]


async def test_a_message_that_is_not_there_is_gone(bench: Bench) -> None:
    assert await bench.send(uuid4()) == SendResult(Step.DONE, "gone")


async def test_another_tenants_message_is_gone(bench: Bench) -> None:
    other, sender = await bench.ledger.add_tenant(bench.ledger.account)
    message = await bench.message(tenant_id=other, sender_id=sender)
    assert await bench.send(message) == SendResult(Step.DONE, "gone")
    assert bench.sender.calls == []


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}, ("expired", "expired")),
        ({"cancel_requested_at": datetime(2026, 1, 1, tzinfo=UTC)}, ("cancelled", "cancelled_by_caller")),
    ],
)
async def test_a_refusal_is_the_outcome_and_is_stored(
    bench: Bench, columns: dict[str, Any], reason: tuple[str, str]
) -> None:
    message = await bench.message(**columns)
    assert (await bench.send(message)).state == reason[0]
    row = await bench.row(message)
    assert (row["outcome"], row["outcome_reason"]) == reason
    assert await bench.verdicts(message) == [("refuse", reason[1])]
    assert bench.sender.calls == []


async def test_a_suspended_tenants_message_goes_back_to_its_row(bench: Bench) -> None:
    message = await bench.message()
    await bench.ledger.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (bench.ledger.tenant,))
    assert (await bench.send(message)).step is Step.PUT_BACK
    assert await told(bench, message) == {
        "phase": "ready",
        "outcome": None,
        "reason": "tenant_suspended",
        "attempts": [],
    }
    assert await bench.verdicts(message) == [("defer", "tenant_suspended")]


async def test_a_message_that_is_due_in_a_moment_is_waited_for(bench: Bench) -> None:
    message = await bench.message(due_at=datetime.now(UTC) + timedelta(milliseconds=150))
    assert (await bench.send(message)).outcome is Outcome.SENT
    (attempt,) = await bench.ledger.attempts(message)
    assert attempt["claimed_at"] >= (await bench.row(message))["due_at"]


async def test_what_changes_while_a_moment_is_waited_for_counts(bench: Bench) -> None:
    """The nap ends with another look: the primary's receipt came meanwhile, so the fallback stays at home."""
    primary, fallback = await bench.pair(phase="closed", outcome="sent", outcome_reason="accepted")
    await bench.ledger.execute(
        "UPDATE messages SET due_at = waypost_now() + interval '200 ms' WHERE id = %s", (fallback,)
    )
    sending = asyncio.create_task(bench.send(fallback))
    await asyncio.sleep(0.05)
    await bench.ledger.execute("UPDATE messages SET delivery = 'delivered' WHERE id = %s", (primary,))
    assert (await sending).state == "skipped"
    assert bench.sender.calls == []


async def test_a_message_that_is_due_later_goes_back_to_its_row(bench: Bench) -> None:
    due_at = datetime.now(UTC) + timedelta(minutes=5)
    message = await bench.message(due_at=due_at)
    assert await bench.send(message) == SendResult(Step.PUT_BACK, "put back: not_due", at=due_at)
    assert (await bench.row(message))["due_at"] == due_at


async def test_what_was_held_too_long_is_late_with_and_without_a_send_at(bench: Bench) -> None:
    now = datetime.now(UTC)
    await bench.ledger.execute(
        "UPDATE tenants SET late_policy = 'skip', late_after = interval '1 hour' WHERE id = %s", (bench.ledger.tenant,)
    )
    accepted_long_ago = {"created_at": now - timedelta(hours=2)}
    late = await bench.message(**accepted_long_ago)
    in_time = await bench.message(**accepted_long_ago, send_at=now - timedelta(minutes=59))
    meant_for_the_past = await bench.message(send_at=now - timedelta(days=3))
    assert [(await bench.send(each)).state for each in (late, in_time, meant_for_the_past)] == [
        *("skipped", "sent", "sent")
    ]


async def test_a_fallback_is_late_by_its_own_time(bench: Bench) -> None:
    await bench.ledger.execute(
        "UPDATE tenants SET late_policy = 'skip', late_after = interval '1 hour' WHERE id = %s", (bench.ledger.tenant,)
    )
    _, fallback = await bench.pair(phase="closed", outcome="sent", outcome_reason="accepted")
    due = "UPDATE messages SET due_at = waypost_now(), created_at = waypost_now() - %s WHERE id = %s"
    await bench.ledger.execute(due, (timedelta(minutes=69), fallback))
    assert (await bench.send(fallback)).state == "sent"


async def test_an_attempt_that_evidence_resolved_before_the_record_is_told_by_the_row(
    bench: Bench, module_database: services.Database
) -> None:
    message = await bench.message(unknown_policy="at_most_once")
    bench.sender.replies.append(unknown())

    def evidence(_: object) -> None:
        with psycopg.connect(module_database.owner_url) as connection:
            connection.execute("UPDATE attempts SET state = 'accepted' WHERE message_id = %s", (message,))
            connection.execute(
                "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'accepted' WHERE id = %s",
                (message,),
            )

    bench.sender.during = evidence
    assert await bench.send(message) == SendResult(Step.DONE, "sent", outcome=Outcome.SENT)
    assert await bench.states(message) == ["accepted"]


async def test_an_attempt_of_a_worker_that_died_is_held_and_never_called_twice(bench: Bench) -> None:
    message = await bench.message(Attempt(AttemptState.IN_FLIGHT))
    for _ in range(2):
        assert await bench.send(message) == SendResult(Step.DONE, "held: attempt unknown")
    assert await told(bench, message) == {
        "phase": "held",
        "outcome": None,
        "reason": "attempt_unknown",
        "attempts": ["in_flight"],
    }
    assert bench.sender.calls == []
