"""A process's share of the accounts' send budgets: leased in slices, handed to tenants fairly by weight.

One statement leases a tenth of a second's sends: the database is asked ten times a second, not once a message. Waiters
are served in order of virtual time: a tenant that waits gets its weight's share, however long the queue of another.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from uuid import UUID

from waypost.messaging.failure import WaypostFailure
from waypost.messaging.values import Lane
from waypost.store.budgets import Lease, give_back, lease
from waypost.store.database import Database

_LONGEST_NAP_S = 0.1


class BudgetExhaustedError(WaypostFailure):
    """The account's budget does not let this message go soon. `quota` says that it is the day's that is used up."""

    def __init__(self, *, quota: bool) -> None:
        super().__init__("daily quota used up" if quota else "send rate used up")
        self.quota = quota


@dataclass(order=True)
class _Waiter:
    virtual_time: float
    number: int
    granted: "asyncio.Future[None]" = field(compare=False)


class AccountBudget:
    """One account's share in this process. Not thread-safe: one event loop."""

    def __init__(self, ask: Callable[[int], Awaitable[Lease]], give: Callable[[int], Awaitable[None]]) -> None:
        self._ask = ask
        self._give = give
        self._tokens = 0
        self._waiters: list[_Waiter] = []
        self._virtual: dict[UUID, float] = {}
        self._numbers = count()
        self._clock = 0.0
        self._leaser: asyncio.Task[None] | None = None

    async def take(self, *, tenant: UUID, weight: float, patience: timedelta) -> None:
        """Take one send, waiting at most `patience`. Raises BudgetExhaustedError."""
        if self._tokens > 0 and not self._waiters:
            self._tokens -= 1
            return
        waiter = self._enqueue(tenant, weight)
        if self._leaser is None or self._leaser.done():
            self._leaser = asyncio.create_task(self._serve())
        try:
            await asyncio.wait_for(waiter.granted, patience.total_seconds())
        except TimeoutError:
            raise BudgetExhaustedError(quota=False) from None

    async def give_back(self) -> None:
        """Return what is left of the lease, when the process ends."""
        left, self._tokens = self._tokens, 0
        if left:
            await self._give(left)

    def _enqueue(self, tenant: UUID, weight: float) -> _Waiter:
        start = max(self._clock, self._virtual.get(tenant, 0.0))
        self._virtual[tenant] = start + 1.0 / weight
        waiter = _Waiter(start, next(self._numbers), asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiters, waiter)
        return waiter

    async def _serve(self) -> None:
        """Lease and hand out until nobody waits. A failed lease fails all who wait: their activities retry."""
        try:
            while self._waiters:
                await self._refill()
                self._hand_out()
        except Exception as error:
            for waiter in self._waiters:
                if not waiter.granted.done():
                    waiter.granted.set_exception(error)
            self._waiters.clear()
        if not self._waiters:
            self._virtual.clear()
            self._clock = 0.0

    async def _refill(self) -> None:
        if self._tokens > 0:
            return
        got = await self._ask(len(self._waiters))
        self._tokens = got.granted
        if got.granted == 0 and got.quota_left is not None and got.quota_left <= 0:
            raise BudgetExhaustedError(quota=True)
        if got.granted == 0:
            await asyncio.sleep(min(max(got.wait.total_seconds(), 0.005), _LONGEST_NAP_S))

    def _hand_out(self) -> None:
        while self._tokens > 0 and self._waiters:
            waiter = heapq.heappop(self._waiters)
            if waiter.granted.done():
                continue  # its patience ended
            self._clock = max(self._clock, waiter.virtual_time)
            self._tokens -= 1
            waiter.granted.set_result(None)


class Budgets:
    """The budgets of a process of one lane, by account."""

    def __init__(self, database: Database, lane: Lane) -> None:
        self._database = database
        self._lane = lane
        self._accounts: dict[UUID, AccountBudget] = {}

    async def take(self, account: UUID, *, tenant: UUID, weight: float, patience: timedelta) -> None:
        """Take one send of an account for a tenant. Raises BudgetExhaustedError."""
        await self._of(account).take(tenant=tenant, weight=weight, patience=patience)

    async def close(self) -> None:
        """Give back every unused send."""
        for budget in self._accounts.values():
            await budget.give_back()

    def _of(self, account: UUID) -> AccountBudget:
        if account not in self._accounts:
            self._accounts[account] = AccountBudget(
                lambda wanted: self._lease(account, wanted), lambda left: self._give_back(account, left)
            )
        return self._accounts[account]

    async def _lease(self, account: UUID, wanted: int) -> Lease:
        async with self._database.transaction() as connection:
            return await lease(connection, account=account, lane=self._lane, wanted=wanted)

    async def _give_back(self, account: UUID, left: int) -> None:
        async with self._database.transaction() as connection:
            await give_back(connection, account=account, count=left)
