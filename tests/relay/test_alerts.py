"""Alerts hold while what they are about lasts, with evidence and advice."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.relay.ledger import Attempt, Ledger
from tests.relay.runs import add_contacts, add_run, freeze_all, recipients
from waypost.messaging.values import AttemptState, Lane
from waypost.store.alert_rules import ADVICE, QUERIES, Bounds, Rule
from waypost.store.alerts import evaluate, lanes, settle_lanes
from waypost.store.database import Database

BOUNDS = Bounds()
OLD = timedelta(minutes=10)


async def look(store: Database, rule: Rule) -> int:
    async with store.transaction() as connection:
        if rule in QUERIES:
            return await evaluate(connection, rule, BOUNDS)
        return (await settle_lanes(connection, await lanes(connection, BOUNDS), BOUNDS))[rule]


async def firing(ledger: Ledger, rule: Rule, subject: str) -> list[dict[str, Any]]:
    query = "SELECT * FROM alerts WHERE rule = %s AND subject = %s AND ended_at IS NULL"
    return await ledger.execute(query, (rule, subject))


async def test_a_silent_feed_raises_refreshes_and_ends(store: Database, ledger: Ledger) -> None:
    sent = Attempt(AttemptState.ACCEPTED, age=OLD)
    message = await ledger.add_message(sent, phase="closed", outcome="sent", outcome_reason="accepted")
    account = str(ledger.account)
    await look(store, Rule.FEED_SILENT)
    (first,) = await firing(ledger, Rule.FEED_SILENT, account)
    assert first["evidence"]["without_event"] == 1
    assert first["advice"] == ADVICE[Rule.FEED_SILENT]
    await look(store, Rule.FEED_SILENT)
    (second,) = await firing(ledger, Rule.FEED_SILENT, account)
    assert (second["id"], second["since"]) == (first["id"], first["since"])
    assert second["seen_at"] > first["seen_at"]
    await ledger.execute("UPDATE attempts SET send_event_at = waypost_now() WHERE message_id = %s", (message,))
    await look(store, Rule.FEED_SILENT)
    assert await firing(ledger, Rule.FEED_SILENT, account) == []


async def test_a_feed_that_brought_something_since_is_not_silent(store: Database, ledger: Ledger) -> None:
    sent = Attempt(AttemptState.ACCEPTED, age=OLD)
    await ledger.add_message(sent, phase="closed", outcome="sent", outcome_reason="accepted")
    await ledger.execute("INSERT INTO feeds (account_id, last_event_at) VALUES (%s, waypost_now())", (ledger.account,))
    await look(store, Rule.FEED_SILENT)
    assert await firing(ledger, Rule.FEED_SILENT, str(ledger.account)) == []


async def unread_queue(ledger: Ledger) -> str:
    await ledger.execute(
        "UPDATE provider_accounts SET queue_url = 'http://127.0.0.1:1/q', created_at = '2020-01-01' WHERE id = %s",
        (ledger.account,),
    )
    await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held")
    return str(ledger.account)


async def old_unknown(ledger: Ledger) -> str:
    await ledger.add_message(Attempt(AttemptState.UNKNOWN, age=OLD), phase="held")
    return str(ledger.account)


async def duplicate(ledger: Ledger) -> str:
    message = await ledger.add_message(Attempt(AttemptState.VOID), Attempt(), phase="dispatched")
    await _late(ledger, message, dup=True)
    return str(ledger.tenant)


async def late(ledger: Ledger) -> str:
    message = await ledger.add_message(Attempt(AttemptState.VOID), phase="ready")
    await _late(ledger, message, dup=False)
    return str(ledger.tenant)


async def _late(ledger: Ledger, message: UUID, *, dup: bool) -> None:
    await ledger.execute(
        "UPDATE attempts SET resolution = 'late_acceptance', resolved_at = waypost_now(), dup_accept = %s "
        "WHERE message_id = %s AND number = 1",
        (dup, message),
    )


async def unreadable(ledger: Ledger) -> str:
    await ledger.insert(
        "provider_events",
        account_id=ledger.account,
        event_id=str(uuid4()),
        kind="unparsable",
        code="malformed_event",
        occurred_at="2026-01-01",
        month="2026-01-01",
        raw="?",
    )
    await ledger.execute("UPDATE provider_events SET applied_at = waypost_now() WHERE kind = 'unparsable'")
    return str(ledger.account)


async def behind(ledger: Ledger) -> str:
    await ledger.insert(
        "provider_events",
        account_id=ledger.account,
        event_id=str(uuid4()),
        kind="send",
        occurred_at="2026-01-01",
        month="2026-01-01",
        received_at="2026-01-01",
        raw="",
    )
    return "ingest"


async def stalled(ledger: Ledger) -> str:
    await ledger.add_message(phase="ready", due_at="2020-01-01")
    return "fast"


async def paused(ledger: Ledger) -> str:
    await ledger.execute(
        "UPDATE provider_accounts SET state = 'paused', pause_reason = 'daily_quota' WHERE id = %s", (ledger.account,)
    )
    return str(ledger.account)


async def expiring(store: Database, ledger: Ledger, *, expires_in: timedelta, state: str = "paused") -> str:
    await add_contacts(ledger, 2)
    run = await add_run(ledger)
    await freeze_all(store, ledger, run, expires_in=expires_in)
    await ledger.execute("UPDATE campaign_runs SET state = %s WHERE id = %s", (state, run))
    return str(run)


async def test_a_paused_campaign_whose_recipients_expire_within_the_hour_is_somebodys_business(
    store: Database, ledger: Ledger
) -> None:
    run = await expiring(store, ledger, expires_in=timedelta(minutes=50))
    await look(store, Rule.CAMPAIGN_EXPIRING)
    (alert,) = await firing(ledger, Rule.CAMPAIGN_EXPIRING, run)
    assert alert["evidence"]["run_id"] == run
    assert "example.com" not in str(alert)
    await ledger.execute("UPDATE campaign_runs SET state = 'sending' WHERE id = %s", (UUID(run),))
    await look(store, Rule.CAMPAIGN_EXPIRING)
    assert await firing(ledger, Rule.CAMPAIGN_EXPIRING, run) == []


@pytest.mark.parametrize(("minutes", "state"), [(70, "paused"), (50, "sending")])
async def test_a_paused_campaign_with_time_left_or_one_that_sends_is_not(
    store: Database, ledger: Ledger, minutes: int, state: str
) -> None:
    run = await expiring(store, ledger, expires_in=timedelta(minutes=minutes), state=state)
    await look(store, Rule.CAMPAIGN_EXPIRING)
    assert await firing(ledger, Rule.CAMPAIGN_EXPIRING, run) == []


async def test_recipients_who_are_not_due_yet_or_have_their_outcome_need_nobody(
    store: Database, ledger: Ledger
) -> None:
    run = await expiring(store, ledger, expires_in=timedelta(minutes=50))
    first, second = await recipients(ledger, UUID(run))
    later = "UPDATE messages SET due_at = waypost_now() + interval '10 minutes' WHERE id = %s"
    await ledger.execute(later, (first["id"],))
    closed = "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'accepted' WHERE id = %s"
    await ledger.execute(closed, (second["id"],))
    await look(store, Rule.CAMPAIGN_EXPIRING)
    assert await firing(ledger, Rule.CAMPAIGN_EXPIRING, run) == []


@pytest.mark.parametrize(
    ("rule", "arrange"),
    [
        (Rule.FEED_SILENT, unread_queue),
        (Rule.UNKNOWN_OLD, old_unknown),
        (Rule.DUP_ACCEPT, duplicate),
        (Rule.LATE_ACCEPTANCE, late),
        (Rule.EVENTS_UNUSABLE, unreadable),
        (Rule.EVENTS_BEHIND, behind),
        (Rule.DISPATCHER_STALLED, stalled),
        (Rule.OLDEST_AGE, stalled),
        (Rule.ACCOUNT_PAUSED, paused),
    ],
)
async def test_the_alert_fires(store: Database, ledger: Ledger, rule: Rule, arrange: Any) -> None:
    subject = await arrange(ledger)
    assert await look(store, rule) >= 1
    (alert,) = await firing(ledger, rule, subject)
    assert "ann@example.com" not in str(alert).lower()


async def test_held_rows_of_paused_accounts_and_suspended_tenants_stall_nobody(store: Database, ledger: Ledger) -> None:
    await ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'x' WHERE phase = 'ready'"
    )
    await ledger.add_message(phase="ready", due_at="2020-01-01")
    await ledger.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (ledger.tenant,))
    async with store.transaction() as connection:
        assert [each.lane for each in await lanes(connection, BOUNDS) if each.lane is Lane.FAST] == []
