"""How many requests a second a tenant may make of one API process: a token bucket each."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

MAX_TENANTS = 20_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RequestRates:
    """A second's worth of requests may come at once; the bucket fills evenly."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[UUID, _Bucket] = OrderedDict()

    def take(self, tenant: UUID, *, per_second: int) -> float:
        """Take one request. 0 if it may go on, else the seconds until there is room for the next."""
        now = self._clock()
        bucket = self._buckets.get(tenant)
        if bucket is None:
            bucket = self._buckets[tenant] = _Bucket(per_second, now)
            if len(self._buckets) > MAX_TENANTS:
                self._buckets.popitem(last=False)  # a forgotten bucket is a full one: it was idle longest
        else:
            self._buckets.move_to_end(tenant)
        bucket.tokens = min(per_second, bucket.tokens + (now - bucket.filled_at) * per_second)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / per_second
        bucket.tokens -= 1
        return 0
