"""How many may watch campaigns at once: each watcher asks the database once a second."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from api.problems import ApiError

MAX_STREAMS = 200
"""Of one API process."""
MAX_STREAMS_OF_TENANT = 20


class Streams:
    """The open ones, by tenant."""

    def __init__(self) -> None:
        self._open: Counter[UUID] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    def check(self, tenant: UUID) -> None:
        """Raise `ApiError` 429 where one more would be too many."""
        if self.open >= MAX_STREAMS or self._open[tenant] >= MAX_STREAMS_OF_TENANT:
            raise ApiError(
                "streams_full",
                f"A tenant may watch {MAX_STREAMS_OF_TENANT} campaigns at once, all together {MAX_STREAMS}, "
                "on one API process; end one, or ask for the campaign itself from time to time.",
                headers={"Retry-After": "5"},
            )

    @contextmanager
    def watching(self, tenant: UUID) -> Iterator[None]:
        """Counted as long as the block lasts."""
        self._open[tenant] += 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]
