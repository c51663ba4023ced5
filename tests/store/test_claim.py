"""The claim: the one door to a provider, and everything that keeps it shut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from tests import services
from tests.relay.ledger import Attempt, Ledger, until
from waypost.messaging.ids import attempt_id
from waypost.messaging.values import OPEN_ATTEMPT_STATES, AttemptState
from waypost.store.attempts import claim
from waypost.store.database import Database


async def claimed(
    app: Database, ledger: Ledger, message: UUID, *, number: int = 1, tenant: UUID | None = None
) -> UUID | None:
    """One claim in a transaction of its own, as the tenant (or as another one)."""
    who = tenant or ledger.tenant
    async with app.transaction(who) as connection:
        return await claim(
            connection, tenant=ledger.tenant, message=message, number=number, content_hash=b"h", process="test"
        )


@pytest.mark.parametrize("phase", ["ready", "dispatched", "waiting"])
async def test_a_claim_opens_an_attempt(app: Database, ledger: Ledger, phase: str) -> None:
    message = await ledger.add_message(phase=phase)
    assert await claimed(app, ledger, message) == attempt_id(message=message, number=1)
    (attempt,) = await ledger.attempts(message)
    assert (attempt["state"], attempt["number"], attempt["account_id"]) == ("in_flight", 1, ledger.account)
    assert (await ledger.message(message))["attempts"] == 1


async def test_the_next_attempt_needs_the_next_number(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.VOID))
    assert await claimed(app, ledger, message, number=1) is None
    assert await claimed(app, ledger, message, number=3) is None
    assert await claimed(app, ledger, message, number=2) == attempt_id(message=message, number=2)


@pytest.mark.parametrize("state", sorted(OPEN_ATTEMPT_STATES))
async def test_no_second_attempt_while_one_is_open(app: Database, ledger: Ledger, state: AttemptState) -> None:
    message = await ledger.add_message(Attempt(state))
    assert await claimed(app, ledger, message, number=2) is None
    assert len(await ledger.attempts(message)) == 1


@pytest.mark.parametrize("state", sorted(set(AttemptState) - OPEN_ATTEMPT_STATES))
async def test_a_closed_attempt_lets_the_next_one_out(app: Database, ledger: Ledger, state: AttemptState) -> None:
    message = await ledger.add_message(Attempt(state))
    assert await claimed(app, ledger, message, number=2) is not None


async def test_of_many_claims_at_once_one_wins(app: Database, ledger: Ledger) -> None:
    for _ in range(5):
        message = await ledger.add_message()
        won = await asyncio.gather(*(claimed(app, ledger, message) for _ in range(6)))
        assert len([attempt for attempt in won if attempt]) == 1
        assert len(await ledger.attempts(message)) == 1


async def test_a_claim_that_waited_for_a_twin_loses(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    async with app.transaction(ledger.tenant) as connection:
        first = await claim(
            connection, tenant=ledger.tenant, message=message, number=1, content_hash=b"h", process="first"
        )
        second = asyncio.create_task(claimed(app, ledger, message))
        await _waits_for_a_lock(ledger)
    assert first is not None
    assert await second is None


async def test_a_claim_may_follow_a_twin_that_was_rolled_back(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    with pytest.raises(ConnectionAbortedError):
        async with app.transaction(ledger.tenant) as connection:
            await claim(connection, tenant=ledger.tenant, message=message, number=1, content_hash=b"h", process="one")
            second = asyncio.create_task(claimed(app, ledger, message))
            await _waits_for_a_lock(ledger)
            raise ConnectionAbortedError
    assert await second is not None


Change = Callable[[Ledger, UUID], Awaitable[object]]


def _set(table: str, change: str) -> Change:
    async def set_it(ledger: Ledger, message: UUID) -> None:
        row = {"tenants": ledger.tenant, "messages": message, "provider_accounts": ledger.account}[table]
        await ledger.execute(f"UPDATE {table} SET {change} WHERE id = %s", (row,))  # noqa: S608 - the test's own

    return set_it


FORBIDDING: dict[str, Change] = {
    "suspended tenant": _set("tenants", "state = 'suspended'"),
    "closing tenant": _set("tenants", "state = 'closing'"),
    "closed tenant": _set("tenants", "state = 'closed'"),
    "paused account": _set("provider_accounts", "state = 'paused'"),
    "cancelled message": _set("messages", "cancel_requested_at = waypost_now()"),
    "expired message": _set("messages", "expires_at = waypost_now()"),
    "held message": _set("messages", "phase = 'held'"),
    "finished message": _set(
        "messages", "phase = 'closed', outcome = 'sent', outcome_reason = 'accepted', outcome_at = waypost_now()"
    ),
}


@pytest.mark.parametrize("what", FORBIDDING)
async def test_no_claim_commits_on_a(app: Database, ledger: Ledger, what: str) -> None:
    message = await ledger.add_message()
    await FORBIDDING[what](ledger, message)
    assert await claimed(app, ledger, message) is None
    assert await ledger.attempts(message) == []
    assert (await ledger.message(message))["attempts"] == 0


async def test_another_tenant_can_claim_nothing(app: Database, ledger: Ledger) -> None:
    message = await ledger.add_message()
    other, _ = await ledger.add_tenant(ledger.account)
    assert await claimed(app, ledger, message, tenant=other) is None
    assert await ledger.attempts(message) == []


@pytest.mark.parametrize(("state", "claims"), [("suspended", False), ("closing", False), ("active", True)])
async def test_a_claim_waits_for_whoever_holds_the_tenant_and_obeys(
    module_database: services.Database, app: Database, ledger: Ledger, state: str, *, claims: bool
) -> None:
    message = await ledger.add_message()
    async with await psycopg.AsyncConnection.connect(module_database.relay_url) as closer:
        await closer.execute("SELECT FROM tenants WHERE id = %s FOR UPDATE", (ledger.tenant,))
        waiting = asyncio.create_task(claimed(app, ledger, message))
        await _waits_for_a_lock(ledger)
        await closer.execute("UPDATE tenants SET state = %s WHERE id = %s", (state, ledger.tenant))
        await closer.commit()
    assert (await waiting is not None) == claims
    assert len(await ledger.attempts(message)) == claims


async def test_a_closer_waits_for_a_claim_that_was_first(
    module_database: services.Database, app: Database, ledger: Ledger
) -> None:
    message = await ledger.add_message()
    async with await psycopg.AsyncConnection.connect(module_database.relay_url) as closer:

        async def suspend() -> datetime:
            await closer.execute("SELECT FROM tenants WHERE id = %s FOR UPDATE", (ledger.tenant,))
            await closer.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (ledger.tenant,))
            await closer.commit()
            return datetime.now(UTC)

        async with app.transaction(ledger.tenant) as connection:
            attempt = await claim(
                connection, tenant=ledger.tenant, message=message, number=1, content_hash=b"h", process="test"
            )
            suspending = asyncio.create_task(suspend())
            await _waits_for_a_lock(ledger)
            assert not suspending.done()
        await suspending
    assert attempt is not None


async def test_a_claim_obeys_a_cancellation_that_it_waited_for(
    module_database: services.Database, app: Database, ledger: Ledger
) -> None:
    message = await ledger.add_message()
    async with await psycopg.AsyncConnection.connect(module_database.owner_url) as canceller:
        await canceller.execute("UPDATE messages SET cancel_requested_at = waypost_now() WHERE id = %s", (message,))
        waiting = asyncio.create_task(claimed(app, ledger, message))
        await _waits_for_a_lock(ledger)
        await canceller.commit()
    assert await waiting is None


async def test_claims_of_one_tenant_do_not_wait_for_each_other(app: Database, ledger: Ledger) -> None:
    one, other = await ledger.add_message(), await ledger.add_message()
    async with app.transaction(ledger.tenant) as connection:
        await claim(connection, tenant=ledger.tenant, message=one, number=1, content_hash=b"h", process="test")
        async with asyncio.timeout(1):
            assert await claimed(app, ledger, other) is not None


async def test_the_constraint_holds_whatever_the_code_does(ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.UNKNOWN))
    with pytest.raises(psycopg.errors.UniqueViolation):
        await ledger.insert(
            "attempts",
            tenant_id=ledger.tenant,
            id=uuid4(),
            message_id=message,
            number=2,
            month=await ledger.month(),
            account_id=ledger.account,
            claimed_at=datetime.now(UTC) + timedelta(seconds=1),
            process="test",
        )


async def _waits_for_a_lock(ledger: Ledger) -> None:
    async def waits() -> bool:
        found = await ledger.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return bool(found)

    await until(waits)
