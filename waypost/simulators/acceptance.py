"""What a simulated provider has accepted, in the few fields that its later events need."""

import os
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One message taken by a provider; `at` is Unix seconds."""

    provider: str
    account: str
    message_id: str
    recipients: tuple[str, ...]
    source: str
    subject: str = ""
    attempt_id: str | None = None
    configuration_set: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    template_name: str | None = None
    first_link: str | None = None
    at: float = field(default_factory=time.time)


class _Randomness(threading.local):
    """A thread's random hex digits, asked of the operating system for 256 ids at once: one by one they were 8 % of the
    CPU that an email costs."""

    _IDS = 256

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def take(self) -> str:
        """32 digits."""
        if self._at >= len(self._digits):
            self._digits, self._at = os.urandom(16 * self._IDS).hex(), 0
        self._at += 32
        return self._digits[self._at - 32 : self._at]


_RANDOMNESS = _Randomness()


def random_uuid() -> str:
    """A version 4 UUID as text. Put together by hand: `uuid.uuid4()` was an eighth of a send's CPU."""
    digits = _RANDOMNESS.take()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def aws_timestamp(at: float) -> str:
    """Unix seconds as AWS writes them: `2026-01-31T08:00:00.123Z`."""
    return f"{_second(int(at))}.{int(at * 1000) % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    """A whole second; the five times that an email's events name are of few."""
    return datetime.fromtimestamp(at, UTC).isoformat()[:-6]
