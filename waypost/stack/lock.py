"""One supervisor a data folder. The kernel holds the lock, so that it can't outlive its holders: a stale file is just a
file. The guardian inherits it, so that a new stack waits until the last one's children are gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from waypost.stack.errors import AlreadyRunningError

_DYING_S = 0.5
"""A process that was killed is still to be seen for a moment."""


@dataclass(frozen=True)
class Holder:
    """Who wrote the lock file: a pid, and when that process was started, for pids are used again."""

    pid: int
    started: float

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            killed = process.status() == psutil.STATUS_ZOMBIE  # and its parent has not noticed yet
            return not killed and abs(process.create_time() - self.started) < 1.0
        except psutil.Error:
            return False


class StackLock:
    """Held from `acquire` until `release` or the process's end."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def acquire(cls, data: Path, *, patience_s: float = 60.0) -> StackLock:
        """Waits while a guardian still stops the children of a supervisor that died.

        Raises AlreadyRunningError when another supervisor is alive, or the wait was too long.
        """
        path = lock_path(data)
        file = path.open("a+")
        began = time.monotonic()
        while not _try_lock(file):
            holder = read_holder(data)
            waited = time.monotonic() - began
            if waited > patience_s or (waited > _DYING_S and holder is not None and holder.is_alive()):
                file.close()
                raise AlreadyRunningError(pid=holder.pid if holder else 0, data=data)
            time.sleep(0.1)
        _write_holder(file)
        return cls(file)

    def fileno(self) -> int:
        """The descriptor that the guardian inherits."""
        return self._file.fileno()

    def release(self) -> None:
        """Empties the file and lets go."""
        self._file.truncate(0)
        self._file.close()


def lock_path(data: Path) -> Path:
    return data / "lock"


def read_holder(data: Path) -> Holder | None:
    """Whoever wrote the file last, alive or not; None where it is empty, missing or not ours."""
    try:
        content = json.loads(lock_path(data).read_text())
        return Holder(pid=int(content["pid"]), started=float(content["started"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(file: IO[str]) -> None:
    file.truncate(0)
    json.dump({"pid": os.getpid(), "started": psutil.Process().create_time()}, file)
    file.flush()
