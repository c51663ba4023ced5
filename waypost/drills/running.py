"""What drills are run with: their scale, their seed, and who is told how far they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from waypost.stack.supervisor import EventKind, StackEvent


class Scale(StrEnum):
    """`smoke` is for the test suite, well under a minute; `full` for the claim. The same code."""

    SMOKE = "smoke"
    FULL = "full"


class Narrator(Protocol):
    """Is told what a drill does."""

    def step(self, text: str) -> None:
        """What it does now."""
        ...

    def progress(self, done: int, total: int) -> None:
        """How much of the step is done."""
        ...


class Silence:
    """A narrator for tests."""

    def step(self, text: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRun:
    """How a drill is run. `data` keeps the stack's folder, with its logs, for a look afterwards."""

    scale: Scale
    seed: int
    narrator: Narrator
    data: Path | None = None

    def told(self, event: StackEvent) -> None:
        """Narrate the stack's start."""
        if event.kind is EventKind.READY and not event.detail:
            self.narrator.step(f"{event.name} is ready")


def brisk_settings(**more: object) -> Mapping[str, str]:
    """Settings of every process in a drill: the same mechanisms with short margins.

    A call ends within 2 s, so that proof of absence needs seconds where production takes minutes.
    """
    settings: dict[str, object] = {
        "WAYPOST_CALL_TIMEOUT_S": 2,
        "WAYPOST_RECORD_GRACE_S": 2,
        "WAYPOST_UNKNOWN_MARGIN_S": 2,
        "WAYPOST_INGEST_VISIBILITY_S": 5,
        "WAYPOST_ORPHAN_AFTER_S": 8,
        **{f"WAYPOST_{name.upper()}": value for name, value in more.items()},
    }
    return {name: str(value) for name, value in settings.items()}
