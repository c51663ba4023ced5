"""What the send path reads before it decides, and how a message goes back to its row or ends without a call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.relay.ledger import Attempt, Ledger, until
from waypost.messaging.ids import attempt_id
from waypost.messaging.values import OPEN_ATTEMPT_STATES, AttemptState, Outcome, Phase
from waypost.store.attempts import Ending, claim, record
from waypost.store.database import Database
from waypost.store.send import LoadedMessage, hold, load, put_back, refuse, template_content


async def loaded(app: Database, ledger: Ledger, message: UUID) -> LoadedMessage:
    async with app.transaction(ledger.tenant) as connection:
        found = await load(connection, tenant=ledger.tenant, message=message)
    assert found is not None
    return found


async def test_everything_about_a_message_in_one_statement(app: Database, ledger: Ledger) -> None:
    contact = uuid4()
    await ledger.insert(
        "contacts",
        tenant_id=ledger.tenant,
        id=contact,
        external_id="u-1",
        email="ann@example.com",
        locale="de",
        time_zone="Europe/Vienna",
        attributes=Jsonb({"plan": "pro"}),
        consent=Jsonb({"email": True}),
    )
    message = await ledger.add_message(contact_id=contact, payload=Jsonb({"data": {"n": 1}}), phase="ready")
    found = await loaded(app, ledger, message)
    assert (found.id, found.tenant_id, found.account_id) == (message, ledger.tenant, ledger.account)
    assert (found.phase, found.outcome, found.class_, found.attempts) == ("ready", None, "transactional", 0)
    assert (found.tenant_name, found.tenant_state, found.account_state) == ("acme", "active", "open")
    assert (found.from_address, found.payload) == ("us@example.com", {"data": {"n": 1}})
    assert (found.contact_external_id, found.contact_locale, found.consent) == ("u-1", "de", True)
    assert found.contact_attributes == {"plan": "pro"}
    assert not found.contact_deleted
    assert (found.suppression, found.primary_delivery, found.fallback_id, found.open_attempt_id) == (None,) * 4
    assert abs(found.now - datetime.now(UTC)) < timedelta(seconds=5)


async def test_a_message_whose_contact_is_gone_says_so(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(contact_id=uuid4(), phase="ready")
    assert (await loaded(app, ledger, message)).contact_deleted


async def test_another_tenant_sees_nothing(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    other, _ = await ledger.add_tenant(ledger.account)
    async with app.transaction(other) as connection:
        assert await load(connection, tenant=ledger.tenant, message=message) is None
        assert await load(connection, tenant=other, message=message) is None


@pytest.mark.parametrize(("address", "suppressed"), [("ANN@example.COM", True), ("bob@example.com", False)])
async def test_a_suppression_is_found_however_the_address_is_spelt(
    app: Database, ledger: Ledger, address: str, *, suppressed: bool
) -> None:
    await _suppress(ledger, "email", "ann@example.com", "bounce")
    message = await ledger.add_message(address=address)
    assert (await loaded(app, ledger, message)).suppression == ("bounce" if suppressed else None)


async def test_a_suppression_of_another_channel_or_tenant_does_not_count(app: Database, ledger: Ledger) -> None:
    other, _ = await ledger.add_tenant(ledger.account)
    await _suppress(ledger, "sms", "ann@example.com", "stop")
    await _suppress(ledger, "email", "ann@example.com", "manual", tenant=other)
    message = await ledger.add_message()
    assert (await loaded(app, ledger, message)).suppression is None


async def _suppress(ledger: Ledger, channel: str, address: str, reason: str, *, tenant: UUID | None = None) -> None:
    await ledger.insert(
        "suppressions",
        tenant_id=tenant or ledger.tenant,
        id=uuid4(),
        channel=channel,
        address=address,
        reason=reason,
    )


@pytest.mark.parametrize("state", sorted(AttemptState))
async def test_only_an_open_attempt_is_told(app: Database, ledger: Ledger, state: AttemptState) -> None:
    message = await ledger.add_message(Attempt(state))
    found = await loaded(app, ledger, message)
    expected = attempt_id(message=message, number=1) if state in OPEN_ATTEMPT_STATES else None
    assert found.open_attempt_id == expected


@pytest.mark.parametrize(
    ("class_", "attempts", "used"),
    [
        ("login_code", (), False),
        ("login_code", (Attempt(AttemptState.VOID), Attempt(AttemptState.UNKNOWN)), False),
        ("login_code", (Attempt(AttemptState.ABANDONED),), True),
        ("login_code", (Attempt(AttemptState.VOID, resolution="login_code_retry"),), True),
        ("transactional", (Attempt(AttemptState.ABANDONED),), False),
    ],
)
async def test_whether_a_login_code_has_used_its_second_try(
    app: Database, ledger: Ledger, class_: str, attempts: tuple[Attempt, ...], *, used: bool
) -> None:
    message = await ledger.add_message(*attempts, **{"class": class_})
    assert (await loaded(app, ledger, message)).second_try_used == used


async def _pair(ledger: Ledger, **primary: Any) -> tuple[UUID, UUID]:
    source = uuid4()
    first = await ledger.add_message(source_id=source, fallback_after=timedelta(minutes=1), **primary)
    second = await ledger.add_message(source_id=source, part="fallback", primary_id=first, phase="waiting", due_at=None)
    return first, second


async def test_a_primary_knows_its_fallback_and_a_fallback_its_primary(app: Database, ledger: Ledger) -> None:
    primary, fallback = await _pair(ledger, bounced=True, delivery="delivered")
    assert (await loaded(app, ledger, primary)).fallback_id == fallback
    found = await loaded(app, ledger, fallback)
    assert found.fallback_id is None
    assert (found.primary_outcome, found.primary_delivery, found.primary_bounced, found.primary_undeliverable) == (
        None,
        "delivered",
        True,
        False,
    )


async def test_a_templates_version_is_read_as_it_was(app: Database, ledger: Ledger) -> None:
    template = uuid4()
    await ledger.insert(
        "templates", tenant_id=ledger.tenant, id=template, key="receipt", channel="email", current_version=2
    )
    for version in (1, 2):
        await ledger.insert(
            "template_versions",
            tenant_id=ledger.tenant,
            template_id=template,
            version=version,
            content=Jsonb({"version": version}),
            content_hash=b"h",
        )
    async with app.transaction(ledger.tenant) as connection:
        content = await template_content(connection, tenant=ledger.tenant, template=template, version=1)
        assert content == {"version": 1}
        with pytest.raises(LookupError):
            await template_content(connection, tenant=ledger.tenant, template=template, version=3)
    other, _ = await ledger.add_tenant(ledger.account)
    async with app.transaction(other) as connection:
        with pytest.raises(LookupError):
            await template_content(connection, tenant=ledger.tenant, template=template, version=1)


def _ids(ledger: Ledger, message: UUID, attempts: int = 0) -> Any:
    """The message as it was loaded."""
    return {"tenant": ledger.tenant, "message": message, "attempts": attempts}


async def verdicts(ledger: Ledger, message: UUID) -> list[dict[str, Any]]:
    return await ledger.execute(
        "SELECT verdict, reason, outcome, until FROM verdicts WHERE message_id = %s ORDER BY id", (message,)
    )


@pytest.mark.parametrize("phase", ["ready", "dispatched", "waiting"])
async def test_a_message_goes_back_until_a_time_and_the_verdict_is_stored(
    app: Database, ledger: Ledger, phase: str
) -> None:
    message = await ledger.add_message(phase=phase, dispatched_at=datetime.now(UTC))
    later = datetime.now(UTC) + timedelta(minutes=7)
    async with app.transaction(ledger.tenant) as connection:
        due_at = await put_back(
            connection, tenant=ledger.tenant, message=message, attempts=0, until=later, reason="account_paused"
        )
    row = await ledger.message(message)
    assert (row["phase"], row["due_at"], row["hold_reason"], row["dispatched_at"]) == (
        "ready",
        later,
        "account_paused",
        None,
    )
    assert due_at == later
    assert await verdicts(ledger, message) == [
        {"verdict": "defer", "reason": "account_paused", "outcome": None, "until": later}
    ]


async def test_a_message_goes_back_for_a_while_that_counts_from_now(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    before = datetime.now(UTC)
    async with app.transaction(ledger.tenant) as connection:
        wait = timedelta(seconds=10)
        await put_back(connection, tenant=ledger.tenant, message=message, attempts=0, wait=wait, reason="send_rate")
    due_at = (await ledger.message(message))["due_at"]
    assert timedelta(seconds=9) < due_at - before < timedelta(seconds=12)


async def test_a_message_never_comes_back_before_its_execution_can_have_closed(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    async with app.transaction(ledger.tenant) as connection:
        past = datetime(2026, 1, 1, tzinfo=UTC)
        due_at = await put_back(connection, tenant=ledger.tenant, message=message, attempts=0, until=past, reason="x")
    assert due_at is not None
    assert due_at > datetime.now(UTC)


@pytest.mark.parametrize(
    "columns", [{"phase": "held"}, {"phase": "closed", "outcome": "sent", "outcome_reason": "accepted"}]
)
async def test_what_is_held_or_finished_does_not_go_back(
    app: Database, ledger: Ledger, columns: dict[str, Any]
) -> None:
    message = await ledger.add_message(**columns)
    before = await ledger.message(message)
    async with app.transaction(ledger.tenant) as connection:
        wait = timedelta(seconds=1)
        assert await put_back(connection, **_ids(ledger, message), wait=wait, reason="x") is None
    after = await ledger.message(message)
    assert (after["phase"], after["due_at"]) == (before["phase"], before["due_at"])
    assert await verdicts(ledger, message) == []


async def test_a_refusal_sets_the_outcome_once_and_is_stored(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    for outcome, reason in ((Outcome.SUPPRESSED, "bounce"), (Outcome.EXPIRED, "expired")):
        async with app.transaction(ledger.tenant) as connection:
            await refuse(connection, tenant=ledger.tenant, message=message, attempts=0, outcome=outcome, reason=reason)
    row = await ledger.message(message)
    assert (row["phase"], row["outcome"], row["outcome_reason"]) == ("closed", "suppressed", "bounce")
    assert row["outcome_at"] is not None
    assert [verdict["reason"] for verdict in await verdicts(ledger, message)] == ["bounce"]


async def test_a_refused_primarys_fallback_is_due_at_once(app: Database, ledger: Ledger) -> None:
    primary, fallback = await _pair(ledger)
    async with app.transaction(ledger.tenant) as connection:
        await refuse(
            connection, tenant=ledger.tenant, message=primary, attempts=0, outcome=Outcome.SUPPRESSED, reason="bounce"
        )
    row = await ledger.message(fallback)
    assert (row["phase"], row["outcome"]) == ("waiting", None)
    assert row["due_at"] <= datetime.now(UTC) + timedelta(seconds=1)


async def test_what_is_held_is_not_refused(app: Database, ledger: Ledger) -> None:
    """An attempt may be out there: only evidence or the horizon ends it."""
    message = await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held")
    async with app.transaction(ledger.tenant) as connection:
        await refuse(
            connection, tenant=ledger.tenant, message=message, attempts=1, outcome=Outcome.EXPIRED, reason="expired"
        )
    assert (await ledger.message(message))["outcome"] is None


@pytest.mark.parametrize("state", ["in_flight", "unknown"])
async def test_holding_says_why(app: Database, ledger: Ledger, state: str) -> None:
    message = await ledger.add_message(Attempt(AttemptState(state)))
    assert await held(app, ledger, message)
    row = await ledger.message(message)
    assert (row["phase"], row["hold_reason"], row["dispatched_at"]) == ("held", "attempt_unknown", None)


@pytest.mark.parametrize("state", ["void", "rejected", "abandoned", "accepted"])
async def test_a_message_whose_attempt_has_ended_is_not_held(app: Database, ledger: Ledger, state: str) -> None:
    message = await ledger.add_message(Attempt(AttemptState(state)), phase="ready")
    assert not await held(app, ledger, message)
    assert (await ledger.message(message))["phase"] == "ready"


async def test_a_hold_that_waited_for_a_record_obeys_it(app: Database, ledger: Ledger) -> None:
    """A message that was held after its attempt was voided would be held for ever: nothing looks at it any more."""
    message = await ledger.add_message(Attempt(AttemptState.IN_FLIGHT))
    void = Ending(state=AttemptState.VOID, phase=Phase.READY, reason="throttled", retry_after=timedelta(seconds=1))
    async with app.transaction(ledger.tenant) as connection:
        attempt = attempt_id(message=message, number=1)
        assert await record(connection, tenant=ledger.tenant, attempt=attempt, month=await ledger.month(), ending=void)
        holding = asyncio.create_task(held(app, ledger, message))
        await until(lambda: _waits(ledger))
    assert not await holding
    assert (await ledger.message(message))["phase"] == "ready"


@pytest.mark.parametrize("what", ["refuse", "put back"])
async def test_what_another_run_has_claimed_since_is_not_touched(app: Database, ledger: Ledger, what: str) -> None:
    """Loaded before a twin's claim: an outcome set now would deny a message that may be sent this moment."""
    message = await ledger.add_message()
    async with app.transaction(ledger.tenant) as connection:
        await claim(connection, tenant=ledger.tenant, message=message, number=1, content_hash=b"h", process="twin")
        acting = asyncio.create_task(_act(app, ledger, message, what))
        await until(lambda: _waits(ledger))
    assert not await acting
    row = await ledger.message(message)
    assert (row["phase"], row["outcome"]) == ("dispatched", None)


async def _act(app: Database, ledger: Ledger, message: UUID, what: str) -> bool:
    async with app.transaction(ledger.tenant) as connection:
        if what == "refuse":
            return await refuse(
                connection,
                tenant=ledger.tenant,
                message=message,
                attempts=0,
                outcome=Outcome.SUPPRESSED,
                reason="bounce",
            )
        wait = timedelta(seconds=1)
        due_at = await put_back(
            connection, tenant=ledger.tenant, message=message, attempts=0, wait=wait, reason="send_rate"
        )
        return due_at is not None


async def held(app: Database, ledger: Ledger, message: UUID) -> bool:
    async with app.transaction(ledger.tenant) as connection:
        attempt = attempt_id(message=message, number=1)
        return await hold(connection, tenant=ledger.tenant, attempt=attempt, month=await ledger.month())


async def _waits(ledger: Ledger) -> bool:
    return bool(await ledger.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
