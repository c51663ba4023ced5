"""A journey's message: topic, hours and caps of the journey, and how it goes back to its row."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from activities.contracts.sending import Step
from tests.activities.sending_bench import Bench
from tests.relay.walks import (
    Walked,
    add_enrollment,
    add_pair,
    add_topic,
    add_visit,
    say_of_topic,
    set_tenant,
    wakes,
)
from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.messaging.values import Outcome
from waypost.store.database import Database
from waypost.store.send import load
from waypost.store.sweeps import date_fallbacks, take_over_fallbacks

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
THROTTLED = ProviderReply(kind=ReplyKind.THROTTLED, code="Throttling")
GRACE = timedelta(seconds=60)
OWED: dict[str, Any] = {"class": "transactional"}


def around_now() -> dict[str, str]:
    """Quiet hours that began an hour ago and end in one, in UTC."""
    now = datetime.now(UTC)
    return {"start": f"{now - HOUR:%H:%M}", "end": f"{now + HOUR:%H:%M}"}


def not_now() -> dict[str, str]:
    now = datetime.now(UTC)
    return {"start": f"{now + 2 * HOUR:%H:%M}", "end": f"{now + 3 * HOUR:%H:%M}"}


def cap(limit: int, period: str = "P1D") -> list[dict[str, Any]]:
    return [{"limit": limit, "period": period}]


async def uses(bench: Bench, walked: Walked) -> int:
    rows = await bench.ledger.execute("SELECT sent_at FROM cap_usage WHERE contact_id = %s", (walked.contact,))
    return len(rows[0]["sent_at"]) if rows else 0


async def test_the_enrollments_execution_sends_what_waits_for_it(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger)
    message = await add_visit(bench.ledger, walked)
    result = await bench.send(message)
    assert (result.step, result.outcome) == (Step.DONE, Outcome.SENT)
    assert (await bench.row(message))["dispatches"] == 0
    assert await wakes(bench.ledger, walked) == 0  # who sent it knows


async def test_marketing_carries_the_links_by_which_its_reader_leaves(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger)
    await bench.send(await add_visit(bench.ledger, walked, topic_id=await add_topic(bench.ledger)))
    call = bench.sender.calls[0]
    headers = dict(call.headers)
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = headers["List-Unsubscribe"].strip("<>")
    assert link.startswith("https://news.example.com/u/")
    assert call.text == f"Hello Ann\n{link}"


async def test_what_is_owed_has_no_such_links(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger)
    message = await add_visit(bench.ledger, walked, visit=1, **OWED)
    assert (await bench.send(message)).outcome is Outcome.FAILED  # its template prints one
    assert bench.sender.calls == []


@pytest.mark.parametrize(
    ("state", "opt_in", "reason"),
    [
        ("unsubscribed", False, "topic_unsubscribed"),
        ("pending", True, "topic_unconfirmed"),
        (None, True, "topic_not_subscribed"),
        (None, False, None),
        ("subscribed", True, None),
    ],
)
async def test_the_contacts_word_on_the_topic_holds(
    bench: Bench, state: str | None, reason: str | None, *, opt_in: bool
) -> None:
    walked = await add_enrollment(bench.ledger)
    topic = await add_topic(bench.ledger, opt_in=opt_in)
    if state:
        await say_of_topic(bench.ledger, walked, topic, state)
    message = await add_visit(bench.ledger, walked, topic_id=topic)
    await bench.send(message)
    row = await bench.row(message)
    assert (row["outcome"], row["outcome_reason"]) == (("suppressed", reason) if reason else ("sent", "accepted"))


async def test_what_is_owed_obeys_neither_topic_nor_hours_nor_caps(bench: Bench) -> None:
    await set_tenant(bench.ledger, quiet_hours=Jsonb(around_now()), frequency_caps=Jsonb(cap(1)))
    walked = await add_enrollment(bench.ledger)
    topic = await add_topic(bench.ledger)
    await say_of_topic(bench.ledger, walked, topic, "unsubscribed")
    owed: dict[str, Any] = {"class": "transactional", "template_id": None, "template_version": None, "topic_id": topic}
    said = Jsonb({"content": {"channel": "email", "subject": "s", "text": "t"}})
    for visit in (1, 2):
        message = await add_visit(bench.ledger, walked, visit=visit, payload=said, **owed)
        assert (await bench.send(message)).outcome is Outcome.SENT
    assert await uses(bench, walked) == 0


@pytest.mark.parametrize(
    ("tenants", "own", "waits"), [(True, None, True), (False, True, True), (True, False, False), (False, None, False)]
)
async def test_quiet_hours_are_the_journeys_instead_of_the_tenants(
    bench: Bench, own: bool | None, *, tenants: bool, waits: bool
) -> None:
    await set_tenant(bench.ledger, quiet_hours=Jsonb(around_now() if tenants else not_now()))
    rules = {} if own is None else {"quiet_hours": around_now() if own else not_now()}
    walked = await add_enrollment(bench.ledger, rules)
    result = await bench.send(await add_visit(bench.ledger, walked))
    assert result.step is (Step.AGAIN if waits else Step.DONE)


async def test_what_the_hours_put_off_stays_with_its_execution(bench: Bench, relay: Database) -> None:
    walked = await add_enrollment(bench.ledger, {"quiet_hours": around_now()})
    message = await add_visit(bench.ledger, walked)
    result = await bench.send(message)
    row = await bench.row(message)
    assert (row["phase"], row["hold_reason"], row["due_at"]) == ("waiting", "quiet_hours", result.at)
    assert result.at is not None
    assert HOUR - timedelta(minutes=2) < result.at - datetime.now(UTC) <= HOUR
    again = await bench.send(message)
    assert (again.step, again.at) == (Step.AGAIN, result.at)
    assert await bench.verdicts(message) == [("defer", "quiet_hours")]
    async with relay.transaction() as connection:
        assert await take_over_fallbacks(connection, grace=GRACE, limit=10) == 0


async def test_zones_are_the_contacts_then_the_journeys(bench: Bench) -> None:
    """Six hours east the journey's quiet hours are not now."""
    rules = {"quiet_hours": around_now(), "time_zone": "Asia/Almaty"}
    elsewhere = await add_enrollment(bench.ledger, rules)
    assert (await bench.send(await add_visit(bench.ledger, elsewhere))).outcome is Outcome.SENT
    here = await add_enrollment(bench.ledger, rules, contact={"time_zone": "UTC"})
    assert (await bench.send(await add_visit(bench.ledger, here))).step is Step.AGAIN


@pytest.mark.parametrize("why", ["account", "throttled"])
async def test_what_else_is_put_off_becomes_the_dispatchers(bench: Bench, why: str) -> None:
    walked = await add_enrollment(bench.ledger)
    message = await add_visit(bench.ledger, walked)
    if why == "account":
        await bench.ledger.execute(
            "UPDATE provider_accounts SET state = 'paused' WHERE id = %s", (bench.ledger.account,)
        )
    else:
        bench.sender.replies.append(THROTTLED)
    assert (await bench.send(message)).step is Step.PUT_BACK
    assert (await bench.row(message))["phase"] == "ready"


async def test_the_execution_hears_of_an_end_by_somebody_elses_hand(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger)
    message = await add_visit(bench.ledger, walked, phase="dispatched", dispatches=1)
    assert (await bench.send(message)).outcome is Outcome.SENT
    assert await wakes(bench.ledger, walked) == 1


async def test_a_primary_that_nobody_sends_is_taken_over(bench: Bench, relay: Database) -> None:
    walked = await add_enrollment(bench.ledger)
    first, second = await add_pair(bench.ledger, walked)
    await bench.ledger.execute(
        "UPDATE messages SET due_at = waypost_now() - interval '2 minutes' WHERE id = %s", (first,)
    )
    async with relay.transaction() as connection:
        assert await take_over_fallbacks(connection, grace=GRACE, limit=10) == 1
        assert await date_fallbacks(connection, limit=10) == 0
    assert [(await bench.row(one))["phase"] for one in (first, second)] == ["ready", "waiting"]


async def test_caps_of_tenant_and_journey_are_taken_with_the_claim(bench: Bench) -> None:
    await set_tenant(bench.ledger, frequency_caps=Jsonb(cap(5)))
    walked = await add_enrollment(bench.ledger, {"frequency_caps": cap(2, "P7D")})
    outcomes = [(await bench.send(await add_visit(bench.ledger, walked, visit=n))).outcome for n in (1, 2, 3)]
    assert outcomes == [Outcome.SENT, Outcome.SENT, Outcome.SKIPPED]
    assert await uses(bench, walked) == 2
    assert len(bench.sender.calls) == 2


async def test_two_sends_at_once_do_not_both_pass_a_cap(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger, {"frequency_caps": cap(1)})
    messages = [await add_visit(bench.ledger, walked, visit=n) for n in (1, 2, 3)]
    results = await asyncio.gather(*(bench.send(message) for message in messages))
    assert sorted(result.outcome or "" for result in results) == ["sent", "skipped", "skipped"]
    rows = [await bench.row(message) for message in messages]
    assert {row["outcome_reason"] for row in rows} == {"accepted", "frequency_cap"}
    assert len(bench.sender.calls) == 1


async def test_a_use_is_given_back_where_nothing_was_sent(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger, {"frequency_caps": cap(1)})
    message = await add_visit(bench.ledger, walked)
    bench.sender.replies.append(THROTTLED)
    await bench.send(message)
    assert await uses(bench, walked) == 0
    await bench.ledger.execute("UPDATE messages SET due_at = waypost_now() WHERE id = %s", (message,))
    assert (await bench.send(message)).outcome is Outcome.SENT
    assert await uses(bench, walked) == 1


async def test_a_claim_that_came_too_late_gives_its_use_back(bench: Bench, app: Database) -> None:
    """The message was cancelled between the verdict and the claim."""
    walked = await add_enrollment(bench.ledger, {"frequency_caps": cap(1)})
    message = await add_visit(bench.ledger, walked)
    async with app.transaction(bench.ledger.tenant) as connection:
        loaded = await load(connection, tenant=bench.ledger.tenant, message=message)
    assert loaded is not None
    await bench.ledger.execute("UPDATE messages SET cancel_requested_at = waypost_now() WHERE id = %s", (message,))
    result = await bench.activities._attempt(loaded)  # that moment cannot be had from outside
    assert result.outcome is Outcome.CANCELLED
    assert await uses(bench, walked) == 0


@pytest.mark.parametrize(
    ("tenants", "journeys", "own", "outcome"),
    [
        ("send", None, None, "sent"),
        ("skip", None, None, "skipped"),
        ("send", "skip", None, "skipped"),
        ("skip", "send", None, "sent"),
        ("send", None, "skip", "skipped"),
        ("skip", "skip", "send", "sent"),
    ],
)
async def test_lateness_is_judged_by_message_then_journey_then_tenant(
    bench: Bench, tenants: str, journeys: str | None, own: str | None, outcome: str
) -> None:
    await set_tenant(bench.ledger, late_policy=tenants)
    walked = await add_enrollment(
        bench.ledger, {"late_after": "PT1H"} | ({"late_policy": journeys} if journeys else {})
    )
    metadata = Jsonb({"visit": 1} | ({"late_policy": own} if own else {}))
    message = await add_visit(bench.ledger, walked, send_at=datetime.now(UTC) - 2 * HOUR, metadata=metadata)
    await bench.send(message)
    assert (await bench.row(message))["outcome"] == outcome


async def test_what_is_late_and_waits_for_an_approval_becomes_the_dispatchers(bench: Bench) -> None:
    walked = await add_enrollment(bench.ledger, {"late_after": "PT1H", "late_policy": "ask"})
    message = await add_visit(bench.ledger, walked, send_at=datetime.now(UTC) - 2 * HOUR)
    assert (await bench.send(message)).step is Step.PUT_BACK
    row = await bench.row(message)
    assert (row["phase"], row["hold_reason"]) == ("ready", "late_needs_approval")
