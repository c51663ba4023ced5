"""The truth log: what the simulated providers accepted, append-only, one JSON line a recipient.

A line reaches the operating system before the reply is written, so it outlives this process. Memory stays small at any
length: per line eight bytes of digest for counting duplicates, and one file offset for every 256 lines.
"""

import hashlib
import os
import tempfile
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import Any

import orjson

from waypost.simulators.errors import TruthLogError

INDEX_EVERY = 256
MAX_PAGE = 10_000
RECENT_DUPLICATES = 100


def body_digest(*, subject: str, html: str, text: str) -> str:
    """SHA-256 of the content as accepted: subject, HTML and text joined by NUL, absent parts empty."""
    return hashlib.sha256(f"{subject}\0{html}\0{text}".encode()).hexdigest()


def pair_digest(recipient: str, body_sha256: str) -> int:
    """64 bits that stand for (recipient, body)."""
    return int.from_bytes(hashlib.blake2b(f"{recipient}\0{body_sha256}".encode(), digest_size=8).digest(), "big")


class TruthLog:
    """Appends acceptances, pages through them, counts duplicates."""

    def __init__(self, path: Path | None) -> None:
        self._temporary = path is None
        self.path = path or Path(tempfile.mkstemp(prefix="waypost-truth-", suffix=".jsonl")[1])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._offsets = array("Q")
        self._size = 0
        self._pairs: set[int] = set()
        self.count = 0
        self.duplicates = 0
        self.recent_duplicates: deque[int] = deque(maxlen=RECENT_DUPLICATES)
        """Numbers of the last acceptances whose recipient had had the same body before."""
        self.by_account: Counter[tuple[str, str]] = Counter()
        self._reload()

    def append(self, entry: dict[str, Any]) -> int:
        """Write one acceptance, numbered from 0, with both clocks. Returns its number."""
        number = self.count
        line = orjson.dumps({"n": number, "at": time.time(), "monotonic": time.monotonic(), **entry}) + b"\n"
        os.write(self._fd, line)
        self._index(entry, len(line))
        return number

    def page(self, since: int, limit: int) -> list[Any]:
        """Acceptances numbered `since` and up, at most `limit` (bounded by `MAX_PAGE`)."""
        if since >= self.count or since < 0:
            return []
        limit = min(limit, MAX_PAGE, self.count - since)
        block = since // INDEX_EVERY
        skip = since - block * INDEX_EVERY
        with self.path.open("rb") as file:
            file.seek(self._offsets[block])
            for _ in range(skip):
                file.readline()
            return [orjson.loads(file.readline()) for _ in range(limit)]

    def close(self) -> None:
        """Close the file; a log that was not asked for by name goes away."""
        os.close(self._fd)
        if self._temporary:
            self.path.unlink(missing_ok=True)

    def _index(self, entry: dict[str, Any], length: int) -> None:
        if self.count % INDEX_EVERY == 0:
            self._offsets.append(self._size)
        self._size += length
        self.count += 1
        self.by_account[entry["provider"], entry["account"]] += 1
        pair = pair_digest(entry["recipient"], entry["body_sha256"])
        if pair in self._pairs:
            self.duplicates += 1
            self.recent_duplicates.append(self.count - 1)
        else:
            self._pairs.add(pair)

    def _reload(self) -> None:
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    # A kill in the middle of a write: that acceptance was never answered.
                    os.ftruncate(self._fd, self._size)
                    return
                try:
                    self._index(orjson.loads(line), len(line))
                except (orjson.JSONDecodeError, KeyError) as broken:
                    raise TruthLogError(f"line {self.count + 1} of the truth log is not an acceptance") from broken
