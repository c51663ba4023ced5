"""A process's share of the accounts' send budgets: leased in slices, handed to tenants fairly by weight.

One statement leases a tenth of a second's sends: the database is asked ten times a second, not once a message. Waiters
are served in order of virtual time: a tenant that waits gets its weight's share, however long the queue of another, and
of that each of its campaigns the same, so that a small one is through while a large one goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from activities.turns import Turns, Waiter
from waypost.messaging.failure import WaypostFailure
from waypost.messaging.values import Lane
from waypost.store.budgets import Lease, give_back, lease
from waypost.store.database import Database

_LONGEST_NAP_S = 0.1
_GATHER_S = 0.05
"""The next in line, if it wants many sends, waits this long to get them together: a bulk call of three takes nearly as
long as one of fifty, and a lease of three as long as one of a thousand."""
_GATHER_NAP_S = 0.02
_SINGLES = UUID(int=0)
"""The flow of a tenant's sends that belong to no campaign."""


class BudgetExhaustedError(WaypostFailure):
    """The account's budget does not let this message go soon. `quota` says that it is the day's that is used up."""

    def __init__(self, *, quota: bool) -> None:
        super().__init__("daily quota used up" if quota else "send rate used up")
        self.quota = quota


class AccountBudget:
    """One account's share in this process. Not thread-safe: one event loop."""

    def __init__(self, ask: Callable[[int], Awaitable[Lease]], give: Callable[[int], Awaitable[None]]) -> None:
        self._ask = ask
        self._give = give
        self._tokens = 0
        self._turns = Turns()
        self._served_at = float("-inf")
        self._leaser: asyncio.Task[None] | None = None

    async def take(self, *, tenant: UUID, weight: float, patience: timedelta) -> None:
        """Take one send, waiting at most `patience`. Raises BudgetExhaustedError."""
        await self.take_many(tenant=tenant, weight=weight, flow=_SINGLES, wanted=1, patience=patience)

    async def take_many(self, *, tenant: UUID, weight: float, flow: UUID, wanted: int, patience: timedelta) -> int:
        """Take 1 to `wanted` sends, waiting at most `patience`. Raises BudgetExhaustedError."""
        if self._tokens >= wanted and not self._turns.wanted:
            self._tokens -= wanted
            return wanted
        granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._turns.add(
            Waiter(tenant=tenant, flow=flow, weight=weight, wanted=wanted, since=time.monotonic(), granted=granted)
        )
        if self._leaser is None or self._leaser.done():
            self._leaser = asyncio.create_task(self._serve())
        try:
            return await asyncio.wait_for(granted, patience.total_seconds())
        except TimeoutError:
            raise BudgetExhaustedError(quota=False) from None

    def give_back_some(self, count: int) -> None:
        """Return what was taken and not used, to whoever is next in this process."""
        self._tokens += count
        self._hand_out()

    async def give_back(self) -> None:
        """Return what is left of the lease, when the process ends."""
        left, self._tokens = self._tokens, 0
        if left:
            await self._give(left)

    async def _serve(self) -> None:
        """Lease and hand out until nobody waits. A failed lease fails all who wait: their activities retry."""
        try:
            while self._turns.first() is not None:
                await self._refill()
                self._hand_out()
        except Exception as error:
            self._turns.fail(error)

    async def _refill(self) -> None:
        if self._tokens >= self._enough():
            return
        missing = self._turns.wanted - self._tokens
        got = await self._ask(missing)
        self._tokens += got.granted
        if self._tokens == 0 and got.quota_left is not None and got.quota_left <= 0:
            raise BudgetExhaustedError(quota=True)
        if got.granted == 0:
            await asyncio.sleep(min(max(got.wait.total_seconds(), 0.005), _LONGEST_NAP_S))
        elif got.granted < missing and self._tokens < self._enough():
            await asyncio.sleep(_GATHER_NAP_S)

    def _hand_out(self) -> None:
        while self._tokens >= self._enough() and (waiter := self._turns.first()) is not None:
            sends = min(waiter.wanted, self._tokens)
            self._tokens -= sends
            self._served_at = time.monotonic()
            self._turns.serve(waiter, sends)

    def _enough(self) -> int:
        """How many sends the next in line goes with: all that it wants, or after a moment what there is."""
        waiter = self._turns.first()
        if waiter is None or time.monotonic() - max(waiter.since, self._served_at) > _GATHER_S:
            return 1
        return waiter.wanted


class Budgets:
    """The budgets of a process of one lane, by account."""

    def __init__(self, database: Database, lane: Lane) -> None:
        self._database = database
        self._lane = lane
        self._accounts: dict[UUID, AccountBudget] = {}

    async def take(self, account: UUID, *, tenant: UUID, weight: float, patience: timedelta) -> None:
        """Take one send of an account for a tenant. Raises BudgetExhaustedError."""
        await self._of(account).take(tenant=tenant, weight=weight, patience=patience)

    async def take_many(
        self, account: UUID, *, tenant: UUID, weight: float, flow: UUID, wanted: int, patience: timedelta
    ) -> int:
        """Take 1 to `wanted` sends of an account at once, for a campaign's run (`flow`) of a tenant.

        Fair by weight between tenants and equal between the flows of one. What is not used goes back by
        `give_back_some`. Raises BudgetExhaustedError.
        """
        return await self._of(account).take_many(
            tenant=tenant, weight=weight, flow=flow, wanted=wanted, patience=patience
        )

    async def give_back_some(self, account: UUID, count: int) -> None:
        """Return sends that were taken and not used."""
        self._of(account).give_back_some(count)

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
