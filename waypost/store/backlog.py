"""How many messages of a tenant wait to be dispatched, known well enough to bound them without counting each time.

Counting is not free, so a count is kept and what this process accepted since is added: an upper bound, for the backlog
otherwise only shrinks. What other processes accept meanwhile is not seen: the
bound may be passed by a few seconds' worth.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from waypost.messaging.errors import BacklogFullError
from waypost.store.database import Database

FRESH_S = 5.0
"""A count is believed this long while there is room."""
FULL_S = 1.0
"""At the bound it is counted again after this long; also what a caller is told to wait."""
COUNTING_SHARE = 20
"""Counting takes at most one part in so many of the time."""
MAX_TENANTS = 20_000

_COUNT = """
SELECT t.backlog_bound, (
    SELECT count(*) FROM (
        SELECT FROM messages WHERE lane = 'fast' AND tenant_id = %(tenant)s AND phase = 'ready' AND run_id IS NULL
        LIMIT (SELECT backlog_bound FROM tenants WHERE id = %(tenant)s)) waiting)
FROM tenants t WHERE t.id = %(tenant)s
"""


@dataclass(slots=True)
class _Count:
    bound: int
    waiting: int
    read_at: float
    took_s: float


class Backlogs:
    """The backlogs that one process has seen."""

    def __init__(self, database: Database, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._clock = clock
        self._counts: OrderedDict[UUID, _Count] = OrderedDict()

    async def admit(self, tenant: UUID, *, messages: int) -> None:
        """Count `messages` more as waiting. Raises BacklogFullError where the tenant's bound has no room for them."""
        count = self._counts.get(tenant)
        if count is None or self._stale(count, messages):
            count = await self._read(tenant, count)
        if count.waiting + messages > count.bound:
            raise BacklogFullError(bound=count.bound, retry_after_s=round(max(FULL_S, count.took_s * COUNTING_SHARE)))
        count.waiting += messages

    def _stale(self, count: _Count, messages: int) -> bool:
        age = self._clock() - count.read_at
        believed = FRESH_S if count.waiting + messages <= count.bound else FULL_S
        return age > max(believed, count.took_s * COUNTING_SHARE)

    async def _read(self, tenant: UUID, known: _Count | None) -> _Count:
        started = self._clock()
        if known is not None:
            known.read_at = started  # others go on with the old count meanwhile
        async with self._database.transaction(tenant) as connection:
            cursor = await connection.execute(_COUNT, {"tenant": tenant})
        row = await cursor.fetchone()
        # A tenant that cannot be seen is refused by the acceptance itself.
        bound, waiting = row or (1, 0)
        count = self._counts[tenant] = _Count(bound, waiting, started, self._clock() - started)
        self._counts.move_to_end(tenant)
        if len(self._counts) > MAX_TENANTS:
            self._counts.popitem(last=False)
        return count
