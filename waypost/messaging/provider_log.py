"""A provider's log as an audit takes it: JSON lines, one for each recipient's message that was accepted."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from waypost.messaging.audit import Acceptance


class LogLineError(ValueError):
    """A line that is no acceptance."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} of the log is not an acceptance; docs/simulators.md tells the fields")
        self.line = line


def read_lines(lines: Iterable[str | bytes]) -> Iterable[Acceptance]:
    """Read a log. Raises `LogLineError`."""
    for number, line in enumerate(lines):
        if line.strip():
            try:
                yield acceptance(json.loads(line), number)
            except (ValueError, KeyError, TypeError):
                raise LogLineError(number + 1) from None


def acceptance(entry: Mapping[str, Any], number: int) -> Acceptance:
    """One entry. Raises `KeyError` and `ValueError` where it is none."""
    attempt = entry.get("attempt_id")
    return Acceptance(
        number=entry.get("n", number),
        attempt_id=UUID(attempt) if attempt else None,
        provider_message_id=entry.get("message_id"),
        recipient=str(entry["recipient"]).removeprefix("whatsapp:"),
        content=str(entry["body_sha256"]),
    )
