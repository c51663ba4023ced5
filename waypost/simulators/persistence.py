"""What outlives the process beside the truth log: unread queues, and Twilio's list.

A durable feed and a provider's own list must not forget over a restart of the stack: what they forget would look like
proof that a message was never sent. Queues are saved when the process is told to stop, and read again by the next
start; after a kill an older copy is read, which only repeats events. Twilio's messages are written when accepted.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from waypost.simulators.sqs_queue import Queue, QueuedMessage

QUEUES_SUFFIX = ".queues"
TWILIO_SUFFIX = ".twilio"


def beside(log_path: Path, suffix: str) -> Path:
    """A file that belongs to a truth log."""
    return log_path.with_name(log_path.name + suffix)


def save_queues(path: Path, queues: Iterable[Queue]) -> None:
    """Write every message that was not deleted, in place of what the file held."""
    fresh = beside(path, ".new")
    with fresh.open("wb") as file:
        for queue in queues:
            for message in queue.all_messages():
                file.write(orjson.dumps(queued(queue.name, message)) + b"\n")
    fresh.replace(path)


def queued(name: str, message: QueuedMessage) -> dict[str, Any]:
    """A message as it is saved."""
    return {
        "queue": name,
        "message_id": message.message_id,
        "sent_at": message.sent_at,
        "receives": message.receives,
        "body": message.text(),
    }


def saved_messages(path: Path) -> Iterator[tuple[str, QueuedMessage]]:
    """Messages with the name of their queue."""
    for line in read_lines(path):
        yield (
            line["queue"],
            QueuedMessage(line["message_id"], None, line["sent_at"], body=line["body"], receives=line["receives"]),
        )


def read_lines(path: Path) -> Iterator[Any]:
    """The JSON lines of a file, if there is one; a torn last line is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        yield from (orjson.loads(line) for line in file if line.endswith(b"\n"))


class Journal:
    """An append-only file of JSON lines; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def read(self) -> Iterator[Any]:
        """What earlier processes wrote."""
        return iter(()) if self._path is None else read_lines(self._path)

    def write(self, line: dict[str, Any]) -> None:
        """Add a line."""
        if self._fd is not None:
            os.write(self._fd, orjson.dumps(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
