"""Whose turn it is: those who wait for sends, by virtual time, tenants first and within a tenant its flows.

A flow is what shares a tenant's part equally with its others: a campaign's run. Being served costs a tenant the sends
divided by its weight, and whoever has cost the least is next; who stayed away saves nothing up.
"""

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID

_REMEMBERED = 1_000


@dataclass(eq=False, slots=True, kw_only=True)
class Waiter:
    """Waits for up to `wanted` sends since `since` (monotonic seconds); `granted` tells how many it got."""

    tenant: UUID
    flow: UUID
    weight: float
    wanted: int
    since: float
    granted: "asyncio.Future[int]"


class _Order:
    """Keys that wait, the one of least virtual time first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, UUID]] = []
        self._waiting: set[UUID] = set()
        self._served_to: dict[UUID, float] = {}
        self._clock = 0.0
        self._numbers = count()

    def join(self, key: UUID) -> None:
        """It waits from now on, if it did not."""
        if key not in self._waiting:
            self._waiting.add(key)
            self._push(key, max(self._clock, self._served_to.get(key, 0.0)))

    def first(self) -> UUID | None:
        """Whose turn it is."""
        return self._heap[0][2] if self._heap else None

    def served(self, cost: float, *, still_waits: bool) -> None:
        """The first was served."""
        start, _, key = heapq.heappop(self._heap)
        self._clock = max(self._clock, start)
        if still_waits:
            self._push(key, start + cost)
            return
        self._waiting.discard(key)
        self._served_to[key] = start + cost
        if len(self._served_to) > _REMEMBERED:  # what lies behind the clock counts for nothing any more
            self._served_to = {key: end for key, end in self._served_to.items() if end > self._clock}

    def _push(self, key: UUID, start: float) -> None:
        heapq.heappush(self._heap, (start, next(self._numbers), key))


@dataclass(eq=False, slots=True)
class _Tenant:
    order: _Order = field(default_factory=_Order)
    flows: dict[UUID, deque[Waiter]] = field(default_factory=dict)


class Turns:
    """All who wait. A waiter whose future is done has gone and is passed over."""

    def __init__(self) -> None:
        self._order = _Order()
        self._tenants: dict[UUID, _Tenant] = {}
        self.wanted = 0
        """Sends that all of them want; those who went count until they are passed over."""

    def add(self, waiter: Waiter) -> None:
        """Stand in line."""
        tenant = self._tenants.setdefault(waiter.tenant, _Tenant())
        tenant.flows.setdefault(waiter.flow, deque()).append(waiter)
        tenant.order.join(waiter.flow)
        self._order.join(waiter.tenant)
        self.wanted += waiter.wanted

    def first(self) -> Waiter | None:
        """Who is next."""
        while (waiter := self._head()) is not None and waiter.granted.done():
            self._leave(waiter, 0)
        return waiter

    def serve(self, waiter: Waiter, sends: int) -> None:
        """Give the first its sends."""
        self._leave(waiter, sends)
        waiter.granted.set_result(sends)

    def fail(self, error: Exception) -> None:
        """Tell everybody that there will be none."""
        while (waiter := self.first()) is not None:
            self._leave(waiter, 0)
            waiter.granted.set_exception(error)

    def _head(self) -> Waiter | None:
        tenant = self._order.first()
        if tenant is None:
            return None
        flow = self._tenants[tenant].order.first()
        assert flow is not None, "a tenant waits through its flows"
        return self._tenants[tenant].flows[flow][0]

    def _leave(self, waiter: Waiter, sends: int) -> None:
        tenant = self._tenants[waiter.tenant]
        flow = tenant.flows[waiter.flow]
        flow.popleft()
        tenant.order.served(sends, still_waits=bool(flow))
        if not flow:
            del tenant.flows[waiter.flow]
        self._order.served(sends / waiter.weight, still_waits=bool(tenant.flows))
        self.wanted -= waiter.wanted
        if not self.wanted:
            self._tenants.clear()
            self._order = _Order()
