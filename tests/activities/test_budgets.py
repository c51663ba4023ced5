"""A process's share of an account's budget: leased in slices, handed out fairly, given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from activities.budgets import AccountBudget, BudgetExhaustedError
from waypost.store.budgets import Lease

PATIENCE = timedelta(seconds=5)
A, B = UUID(int=1), UUID(int=2)
LARGE, SMALL = UUID(int=11), UUID(int=12)


class Bucket:
    """The database's side, in memory: what is asked for is granted until told otherwise."""

    def __init__(self, *grants: int, slice_: int = 0) -> None:
        self.grants = list(grants)
        self.slice = slice_
        self.asked: list[int] = []
        self.given_back = 0
        self.quota_left: int | None = None
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def ask(self, wanted: int) -> Lease:
        self.asked.append(wanted)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        granted = self.grants.pop(0) if self.grants else max(wanted, self.slice)
        return Lease(granted=granted, wait=timedelta(milliseconds=5), quota_left=self.quota_left)

    async def give(self, left: int) -> None:
        self.given_back += left

    def budget(self) -> AccountBudget:
        return AccountBudget(self.ask, self.give)


async def take(budget: AccountBudget, tenant: UUID = A, *, weight: float = 1, patience: timedelta = PATIENCE) -> None:
    await budget.take(tenant=tenant, weight=weight, patience=patience)


async def test_a_slice_serves_many_sends_with_one_question() -> None:
    bucket = Bucket(slice_=10)
    budget = bucket.budget()
    for _ in range(10):
        await take(budget)
    assert bucket.asked == [1]


async def test_all_who_wait_are_asked_for_together() -> None:
    bucket = Bucket()
    budget = bucket.budget()
    await asyncio.gather(*(take(budget) for _ in range(25)))
    assert sum(bucket.asked) == 25
    assert len(bucket.asked) <= 2


async def test_nothing_granted_is_asked_for_again_after_a_moment() -> None:
    bucket = Bucket(0, 0, 1)
    await take(bucket.budget())
    assert len(bucket.asked) == 3


async def test_patience_ends() -> None:
    bucket = Bucket(*[0] * 1000)
    with pytest.raises(BudgetExhaustedError) as raised:
        await take(bucket.budget(), patience=timedelta(milliseconds=50))
    assert not raised.value.quota


async def test_a_used_up_quota_is_told_to_everyone_at_once() -> None:
    bucket = Bucket(*[0] * 10)
    bucket.quota_left = 0
    budget = bucket.budget()
    results = await asyncio.gather(*(take(budget) for _ in range(3)), return_exceptions=True)
    assert [isinstance(result, BudgetExhaustedError) and result.quota for result in results] == [True] * 3
    bucket.quota_left, bucket.grants = None, []
    await take(budget)


async def test_a_failed_lease_fails_those_who_wait_and_nobody_later() -> None:
    bucket = Bucket()
    bucket.error = ConnectionError("PostgreSQL is away")
    budget = bucket.budget()
    results = await asyncio.gather(*(take(budget) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    bucket.error = None
    await take(budget)


async def test_who_gave_up_waiting_costs_no_send() -> None:
    bucket = Bucket(slice_=2)
    bucket.go.clear()
    budget = bucket.budget()
    gone = asyncio.create_task(take(budget))
    stays = asyncio.create_task(take(budget))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    bucket.go.set()
    await stays
    await budget.give_back()
    assert bucket.given_back == 1


async def test_what_is_left_is_given_back_once() -> None:
    bucket = Bucket(slice_=10)
    budget = bucket.budget()
    await take(budget)
    await budget.give_back()
    await budget.give_back()
    assert bucket.given_back == 9
    await take(budget)
    assert bucket.asked == [1, 1]


async def order_of(budget: AccountBudget, bucket: Bucket, waiting: Sequence[tuple[UUID, float]]) -> list[UUID]:
    """In which order they are served who came while nothing was there."""
    served: list[UUID] = []

    async def one(tenant: UUID, weight: float) -> None:
        await take(budget, tenant, weight=weight)
        served.append(tenant)

    bucket.go.clear()
    tasks = []
    for tenant, weight in waiting:
        tasks.append(asyncio.create_task(one(tenant, weight)))
        await asyncio.sleep(0)
    bucket.grants = [1] * len(waiting)
    bucket.go.set()
    await asyncio.gather(*tasks)
    return served


async def test_a_tenant_with_one_message_does_not_wait_behind_anothers_hundred() -> None:
    bucket = Bucket()
    served = await order_of(bucket.budget(), bucket, [(A, 1)] * 100 + [(B, 1)])
    assert served.index(B) <= 2


async def test_two_waiting_tenants_are_served_by_turns() -> None:
    bucket = Bucket()
    served = await order_of(bucket.budget(), bucket, [(A, 1)] * 40 + [(B, 1)] * 40)
    assert 18 <= served[:40].count(A) <= 22


async def test_a_tenant_of_three_times_the_weight_gets_three_times_as_much() -> None:
    bucket = Bucket()
    served = await order_of(bucket.budget(), bucket, [(A, 3)] * 80 + [(B, 1)] * 80)
    assert 55 <= served[:80].count(A) <= 65


async def test_a_tenant_cannot_save_up_by_staying_away() -> None:
    bucket = Bucket()
    budget = bucket.budget()
    await order_of(budget, bucket, [(A, 1)] * 50)
    served = await order_of(budget, bucket, [(A, 1)] * 30 + [(B, 1)] * 30)
    assert 12 <= served[:30].count(B) <= 18
    assert uuid4() not in served


async def take_many(budget: AccountBudget, wanted: int = 50, *, tenant: UUID = A, flow: UUID = LARGE) -> int:
    return await budget.take_many(tenant=tenant, weight=1, flow=flow, wanted=wanted, patience=PATIENCE)


async def test_a_bulk_calls_sends_are_taken_together() -> None:
    bucket = Bucket(slice_=120)
    budget = bucket.budget()
    assert [await take_many(budget) for _ in range(2)] == [50, 50]
    assert bucket.asked == [50]
    await take(budget)
    await budget.give_back()
    assert bucket.given_back == 19


async def test_sends_that_come_in_small_change_are_gathered() -> None:
    bucket = Bucket(20, 20, 20)
    assert await take_many(bucket.budget()) == 50
    assert bucket.asked == [50, 30, 10]


async def test_after_a_moment_a_bulk_call_goes_with_what_there_is() -> None:
    bucket = Bucket(3, *[0] * 100)
    assert await take_many(bucket.budget()) == 3


async def test_what_is_left_under_a_used_up_quota_is_still_taken() -> None:
    bucket = Bucket(3, *[0] * 100)
    bucket.quota_left = 0
    budget = bucket.budget()
    assert await take_many(budget) == 3
    with pytest.raises(BudgetExhaustedError) as raised:
        await take_many(budget)
    assert raised.value.quota


async def test_what_was_not_used_serves_who_is_next_at_once() -> None:
    bucket = Bucket(50, *[0] * 1000)
    budget = bucket.budget()
    assert await take_many(budget) == 50
    waiting = asyncio.create_task(take_many(budget, 10))
    await asyncio.sleep(0.01)
    budget.give_back_some(12)
    assert await waiting == 10
    await budget.give_back()
    assert bucket.given_back == 2


async def bulk_order(budget: AccountBudget, bucket: Bucket, waiting: Sequence[tuple[UUID, UUID]]) -> list[UUID]:
    """The flows in the order in which they were served fifty at a time."""
    served: list[UUID] = []

    async def one(tenant: UUID, flow: UUID) -> None:
        await take_many(budget, tenant=tenant, flow=flow)
        served.append(flow)

    bucket.go.clear()
    tasks = []
    for tenant, flow in waiting:
        tasks.append(asyncio.create_task(one(tenant, flow)))
        await asyncio.sleep(0)
    bucket.grants = [50] * len(waiting)
    bucket.go.set()
    await asyncio.gather(*tasks)
    return served


async def test_a_small_campaign_overtakes_a_large_one_of_the_same_tenant() -> None:
    bucket = Bucket()
    served = await bulk_order(bucket.budget(), bucket, [(A, LARGE)] * 30 + [(A, SMALL)] * 2)
    assert max(place for place, flow in enumerate(served) if flow == SMALL) <= 4


async def test_a_tenant_of_many_campaigns_gets_no_more_than_one_of_a_single_one() -> None:
    bucket = Bucket()
    flows = [UUID(int=100 + number) for number in range(10)]
    served = await bulk_order(
        bucket.budget(), bucket, [(A, flow) for flow in flows for _ in range(4)] + [(B, SMALL)] * 20
    )
    assert 18 <= served[:40].count(SMALL) <= 20


async def test_campaigns_of_a_tenant_go_by_turns() -> None:
    bucket = Bucket()
    served = await bulk_order(bucket.budget(), bucket, [(A, LARGE)] * 20 + [(A, SMALL)] * 20)
    assert 9 <= served[:20].count(SMALL) <= 11


async def test_who_gave_up_waiting_for_many_leaves_them_to_the_others() -> None:
    bucket = Bucket(slice_=60)
    bucket.go.clear()
    budget = bucket.budget()
    gone, stays = (asyncio.create_task(take_many(budget)) for _ in range(2))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    bucket.go.set()
    assert await stays == 50
    await take(budget)
