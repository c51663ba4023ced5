"""The peak memory of a process of the stack, while something runs."""

import threading
from types import TracebackType
from typing import Self

from waypost.bench.footprint import footprints

_EVERY_S = 0.25


class PeakMemory:
    """While the block lasts, the processes of this name are looked at; `peak` in bytes."""

    def __init__(self, supervisor: int, name: str) -> None:
        self._supervisor = supervisor
        self._name = name
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            found = footprints(self._supervisor).get(self._name)
            if found is not None:
                self.peak = max(self.peak, found.rss)
