"""A provider's own limits: recipients a second, recipients in a day."""

import time
from collections import deque

DAY_SECONDS = 86_400.0
QUOTA_GRAIN_SECONDS = 60.0


class RateLimit:
    """A token bucket of one second's worth, as SES enforces its maximum send rate."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._burst = max(1.0, per_second)
        self._tokens = self._burst
        self._at = time.monotonic()

    def take(self, recipients: int = 1) -> bool:
        """Whether that many more recipients may go now."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < recipients:
            return False
        self._tokens -= recipients
        return True


class DailyQuota:
    """Recipients of the last 24 hours, counted by the minute."""

    def __init__(self) -> None:
        self._grains: deque[list[float]] = deque()
        self._total = 0

    def used(self) -> int:
        """Recipients accepted in the last 24 hours."""
        horizon = time.monotonic() - DAY_SECONDS
        while self._grains and self._grains[0][0] < horizon:
            self._total -= int(self._grains.popleft()[1])
        return self._total

    def add(self, recipients: int) -> None:
        """Count accepted recipients."""
        now = time.monotonic()
        if not self._grains or now - self._grains[-1][0] > QUOTA_GRAIN_SECONDS:
            self._grains.append([now, 0])
        self._grains[-1][1] += recipients
        self._total += recipients
