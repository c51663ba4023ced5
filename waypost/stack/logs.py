"""One bounded log file a child. Children write to the file themselves, so that none blocks on a pipe nobody reads."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 10 * 1024 * 1024
"""A log is rotated past this size; one older file is kept."""

_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Logs:
    """The folder `.waypost/logs`."""

    folder: Path
    max_bytes: int = MAX_BYTES

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def open(self, name: str) -> BinaryIO:
        """For appending: after a truncation, the writer goes on at the new end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.path(name).open("ab", buffering=0)

    def tail(self, name: str, *, lines: int = 15) -> str:
        """The last lines, or nothing."""
        try:
            with self.path(name).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def rotate(self) -> None:
        """Copies and truncates what has grown too large; the writers keep their open files."""
        for path in self.folder.glob("*.log"):
            if path.stat().st_size > self.max_bytes:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                with path.open("r+b") as file:
                    file.truncate(0)
