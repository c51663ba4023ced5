"""An account's budget in PostgreSQL: no more than its rate and quota, over all processes together."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from activities.budgets import BudgetExhaustedError, Budgets
from tests.relay.ledger import Ledger
from waypost.messaging.values import Lane
from waypost.store.budgets import Lease, give_back, lease, pause_account, reopen_accounts, slow_down
from waypost.store.database import Database


async def with_budget(ledger: Ledger, *, tokens: float = 0, **account: Any) -> UUID:
    """An account of the test's own with its budget."""
    identity = await ledger.add_account(**({"rate_per_second": 10, "fast_share": 0} | account))
    await ledger.insert("account_budgets", account_id=identity, tokens=tokens)
    return identity


async def leased(loops: Database, account: UUID, wanted: int, *, lane: Lane = Lane.FAST, idle_s: float = 0) -> Lease:
    """One lease, as if the bucket had been left alone for `idle_s` seconds more."""
    async with loops.transaction() as connection:
        if idle_s:
            await connection.execute(
                "UPDATE account_budgets SET filled_at = filled_at - make_interval(secs => %s) WHERE account_id = %s",
                (idle_s, account),
            )
        return await lease(connection, account=account, lane=lane, wanted=wanted)


async def test_a_full_bucket_holds_one_second(loops: Database, ledger: Ledger) -> None:
    account = await with_budget(ledger)
    got = await leased(loops, account, 100, idle_s=3600)
    assert (got.granted, got.quota_left) == (10, None)
    nothing = await leased(loops, account, 1)
    assert nothing.granted == 0
    assert timedelta() < nothing.wait <= timedelta(milliseconds=100)


async def test_a_bucket_fills_with_the_rate(loops: Database, ledger: Ledger) -> None:
    account = await with_budget(ledger)
    assert (await leased(loops, account, 100, idle_s=0.5)).granted == 5


async def test_at_least_a_tenth_of_a_second_is_leased(loops: Database, ledger: Ledger) -> None:
    account = await with_budget(ledger, rate_per_second=1000)
    assert (await leased(loops, account, 1, idle_s=10)).granted == 100


async def test_a_quota_counts_a_utc_day(loops: Database, ledger: Ledger) -> None:
    account = await with_budget(ledger, daily_quota=7)
    got = await leased(loops, account, 100, idle_s=10)
    assert (got.granted, got.quota_left) == (7, 0)
    got = await leased(loops, account, 100, idle_s=10)
    assert (got.granted, got.quota_left) == (0, 0)
    await ledger.execute("UPDATE account_budgets SET day = day - 1 WHERE account_id = %s", (account,))
    got = await leased(loops, account, 5, idle_s=10)
    assert (got.granted, got.quota_left) == (5, 2)


async def test_what_is_given_back_can_be_leased_again(loops: Database, ledger: Ledger) -> None:
    account = await with_budget(ledger, daily_quota=10)
    await leased(loops, account, 10, idle_s=10)
    async with loops.transaction() as connection:
        await give_back(connection, account=account, count=4)
    got = await leased(loops, account, 10)
    assert (got.granted, got.quota_left) == (4, 0)


async def test_a_share_is_kept_for_the_fast_lane(loops: Database, ledger: Ledger) -> None:
    account = await with_budget(ledger, fast_share=0.3)
    assert (await leased(loops, account, 100, lane=Lane.BULK, idle_s=10)).granted == 7
    assert (await leased(loops, account, 100, lane=Lane.BULK)).granted == 0
    assert (await leased(loops, account, 100)).granted == 3


@pytest.mark.parametrize("rate", [0.2, 1, 1.2, 2])
async def test_a_slow_account_is_not_shut_for_the_bulk_lane(loops: Database, ledger: Ledger, rate: float) -> None:
    """An SES sandbox sends one a second: a share kept for the fast lane must leave room for one send."""
    account = await with_budget(ledger, rate_per_second=rate, fast_share=0.5)
    assert (await leased(loops, account, 1, lane=Lane.BULK, idle_s=100)).granted == 1


async def test_a_throttle_empties_the_bucket_and_halves_the_rate(loops: Database, ledger: Ledger) -> None:
    account = await with_budget(ledger, tokens=10)
    async with loops.transaction() as connection:
        await slow_down(connection, account=account)
    assert (await leased(loops, account, 10)).granted == 0
    assert (await leased(loops, account, 10, idle_s=1)).granted == 5


async def test_throttles_of_the_same_moment_count_once(loops: Database, ledger: Ledger) -> None:
    """Forty calls that were out together are throttled together: that is one reason to slow down, not forty."""
    account = await with_budget(ledger)

    async def throttled() -> None:
        async with loops.transaction() as connection:
            await slow_down(connection, account=account)

    await asyncio.gather(*(throttled() for _ in range(5)))
    assert await _factor(ledger, account) == 0.5
    for expected in (0.25, 0.125, 0.1, 0.1):
        await ledger.execute(
            "UPDATE account_budgets SET slow_until = slow_until - interval '2 s' WHERE account_id = %s", (account,)
        )
        await throttled()
        assert math.isclose(await _factor(ledger, account), expected, rel_tol=0.01)
    await ledger.execute("UPDATE account_budgets SET slow_until = waypost_now() WHERE account_id = %s", (account,))
    assert (await leased(loops, account, 100, idle_s=1)).granted == 10
    await throttled()
    assert await _factor(ledger, account) == 0.5


async def _factor(ledger: Ledger, account: UUID) -> float:
    rows = await ledger.execute("SELECT slow_factor FROM account_budgets WHERE account_id = %s", (account,))
    return float(rows[0]["slow_factor"])


async def test_a_pause_ends_by_itself_but_for_one_that_a_person_made(loops: Database, ledger: Ledger) -> None:
    paused, by_a_person = await with_budget(ledger), await with_budget(ledger, state="paused", pause_reason="manual")
    async with loops.transaction() as connection:
        await pause_account(connection, account=paused, reason="daily_quota", retry=timedelta(minutes=5))
        await pause_account(connection, account=by_a_person, reason="daily_quota", retry=timedelta())
        assert await reopen_accounts(connection, limit=10) == 0
    await ledger.execute("UPDATE provider_accounts SET resume_at = waypost_now() WHERE id = %s", (paused,))
    async with loops.transaction() as connection:
        assert await reopen_accounts(connection, limit=10) == 1
    rows = await ledger.execute("SELECT state, pause_reason FROM provider_accounts WHERE id = %s", (by_a_person,))
    assert rows[0] == {"state": "paused", "pause_reason": "manual"}


async def test_an_account_without_a_budget_is_an_error(loops: Database, ledger: Ledger) -> None:
    with pytest.raises(LookupError):
        await leased(loops, ledger.account, 1)


async def test_two_processes_together_keep_the_rate(loops: Database, ledger: Ledger) -> None:
    """Grants never pass rate × time and one second's burst, and what can be sent is sent."""
    rate, seconds = 100.0, 1.0
    account = await with_budget(ledger, rate_per_second=rate)
    fast, bulk = Budgets(loops, Lane.FAST), Budgets(loops, Lane.BULK)
    taken = 0
    started = time.monotonic()

    async def one(budgets: Budgets) -> None:
        nonlocal taken
        while (left := started + seconds - time.monotonic()) > 0:
            try:
                await budgets.take(account, tenant=ledger.tenant, weight=1, patience=timedelta(seconds=left))
            except BudgetExhaustedError:
                return
            taken += 1

    await asyncio.gather(*(one(budgets) for budgets in (fast, bulk) for _ in range(5)))
    elapsed = time.monotonic() - started
    assert rate * seconds * 0.7 <= taken <= rate * elapsed + rate
    await fast.close()
    await bulk.close()
