"""What a simulated provider has accepted, in the few fields that its later events need."""

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime


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


def random_uuid() -> str:
    """A version 4 UUID as text. Put together by hand: `uuid.uuid4()` was an eighth of a send's CPU."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def aws_timestamp(at: float) -> str:
    """Unix seconds as AWS writes them: `2026-01-31T08:00:00.123Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
