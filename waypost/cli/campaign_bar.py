"""A run as a progress bar: how far, how fast, how long yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

_WINDOW_S = 10.0
_NOT_SENT = ("failed", "suppressed", "skipped", "expired", "cancelled")


class Pace:
    """Recipients a second, over the last ten seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, ended: int, at: float) -> None:
        """So many had their outcome at that time (monotonic seconds)."""
        self._seen.append((at, ended))
        while len(self._seen) > 2 and at - self._seen[1][0] >= _WINDOW_S:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """0 where nothing is known yet, or nothing goes on."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (until, last) = self._seen[0], self._seen[-1]
        return max(0.0, (last - first) / max(until - began, 0.001))

    def left(self, waiting: int) -> timedelta | None:
        """How long so many more take at this pace; None where nobody can say."""
        rate = self.per_second
        return timedelta(seconds=round(waiting / rate)) if rate > 0 else None


class CampaignBar:
    """Drawn as long as the block lasts; whatever the console is, `show` may be called at any rate."""

    def __init__(self, console: Console, name: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            TextColumn("[dim]{task.fields[counts]}[/]"),
            console=console,
        )
        self._name = name
        self._pace = Pace()
        self._task: TaskID = self._progress.add_task(name, total=None, pace="", counts="")

    def __enter__(self) -> CampaignBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, run: Mapping[str, Any]) -> None:
        """The run as the API shows it."""
        audience, waiting = run["audience"], run["open"]
        if audience is not None:
            self._pace.note(audience - waiting, monotonic())
        self._progress.update(
            self._task,
            description=f"{self._name} · {state_of(run)}",
            total=audience,
            completed=0 if audience is None else audience - waiting,
            pace=self._speed(waiting or 0),
            counts=counted(run["counts"]),
        )

    def _speed(self, waiting: int) -> str:
        left = self._pace.left(waiting)
        if not waiting or left is None:
            return ""
        return f"{self._pace.per_second:,.0f}/s, {left} left"


def state_of(run: Mapping[str, Any]) -> str:
    """The run's state, and why."""
    return f"{run['state']} ({run['state_reason']})" if run["state_reason"] else str(run["state"])


def counted(counts: Mapping[str, int]) -> str:
    """The counts that are not zero, in few words."""
    found = [f"{counts['sent'] + counts['maybe_sent']:,} sent"]
    found += [f"{counts[name]:,} {name}" for name in _NOT_SENT if counts[name]]
    found += [f"{counts[name]:,} {name}" for name in ("delivered", "opened", "clicked", "bounced") if counts[name]]
    return ", ".join(found)
