"""A standard SQS queue in memory: visibility, receive counts, long polls."""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from waypost.simulators.acceptance import random_uuid

MAX_BATCH = 10
MAX_QUEUED = 500_000
"""Beyond it the oldest message is dropped and counted, as SQS drops what is past its retention."""
VISIBILITY_SLICE_SECONDS = 0.5
DEFAULT_VISIBILITY_SECONDS = 30


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """A message; its body is written when it is first received, so that a backlog stays small."""

    message_id: str
    write_body: Callable[[], bytes] | None
    sent_at: float
    body: str = ""
    receives: int = 0
    first_received_at: float = 0.0
    receipt: str = ""
    visible_at: float = 0.0

    def text(self) -> str:
        """The body."""
        if self.write_body is not None:
            self.body, self.write_body = self.write_body().decode(), None
        return self.body


class Queue:
    """One queue. Times are monotonic seconds."""

    def __init__(self, name: str, *, linger: float) -> None:
        self.name = name
        self.visibility = DEFAULT_VISIBILITY_SECONDS
        self.dropped = 0
        self._linger = linger
        self._ready: deque[QueuedMessage] = deque()
        self._inflight: dict[str, QueuedMessage] = {}
        self._expiries: list[tuple[float, int, str]] = []
        self._numbers = count()
        self._polls: deque[asyncio.Future[None]] = deque()
        self._wake_timer: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> int:
        """ApproximateNumberOfMessages."""
        self._expire()
        return len(self._ready)

    @property
    def inflight(self) -> int:
        """ApproximateNumberOfMessagesNotVisible."""
        return len(self._inflight)

    def put(self, write_body: Callable[[], bytes]) -> str:
        """Add a message; returns its id."""
        message = QueuedMessage(random_uuid(), write_body, time.time())
        self._ready.append(message)
        if len(self._ready) > MAX_QUEUED:
            self._ready.popleft()
            self.dropped += 1
        self._call_polls()
        return message.message_id

    def restore(self, message: QueuedMessage) -> None:
        """Add a message of an earlier process."""
        self._ready.append(message)

    def all_messages(self) -> list[QueuedMessage]:
        """Everything that was not deleted: what is in flight first."""
        return [*self._inflight.values(), *self._ready]

    def receive(self, limit: int, visibility: float) -> list[QueuedMessage]:
        """Take up to `limit` messages out of sight for `visibility` seconds."""
        self._expire()
        taken: list[QueuedMessage] = []
        while self._ready and len(taken) < limit:
            message = self._ready.popleft()
            message.receives += 1
            message.first_received_at = message.first_received_at or time.time()
            message.receipt = f"{message.message_id}#{message.receives}"
            self._inflight[message.receipt] = message
            self._hide(message, visibility)
            taken.append(message)
        if self._ready:
            self._call_polls()
        return taken

    async def wait(self, seconds: float) -> None:
        """Return when there is something to receive, or after `seconds`."""
        ends = time.monotonic() + seconds
        while not self.ready and (left := ends - time.monotonic()) > 0:
            poll: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._polls.append(poll)
            try:
                # Slices, because a message may come back into sight with nobody putting anything.
                await asyncio.wait((poll,), timeout=min(left, VISIBILITY_SLICE_SECONDS))
            finally:
                if not poll.done():
                    self._polls.remove(poll)

    def delete(self, receipt: str) -> None:
        """Remove a received message; an unknown or old receipt does nothing, as in SQS."""
        self._inflight.pop(receipt, None)

    def change_visibility(self, receipt: str, seconds: float) -> bool:
        """Move a received message's return; 0 is now. False where it is not in flight."""
        message = self._inflight.get(receipt)
        if message is None:
            return False
        self._hide(message, seconds)
        if seconds <= 0:
            self._expire()
            self._call_polls()
        return True

    def purge(self) -> None:
        """Forget every message."""
        self._ready.clear()
        self._inflight.clear()
        self._expiries.clear()

    def _hide(self, message: QueuedMessage, seconds: float) -> None:
        message.visible_at = time.monotonic() + seconds
        heapq.heappush(self._expiries, (message.visible_at, next(self._numbers), message.receipt))

    def _expire(self) -> None:
        now = time.monotonic()
        while self._expiries and self._expiries[0][0] <= now:
            receipt = heapq.heappop(self._expiries)[2]
            message = self._inflight.get(receipt)
            if message is not None and message.visible_at <= now:
                del self._inflight[receipt]
                self._ready.append(message)

    def _call_polls(self) -> None:
        """Wake one poll; a short linger lets it take several messages, since each answer costs both ends."""
        if not self._polls:
            return
        if len(self._ready) >= MAX_BATCH or self._linger <= 0:
            self._wake()
        elif self._wake_timer is None:
            self._wake_timer = asyncio.get_running_loop().call_later(self._linger, self._wake)

    def _wake(self) -> None:
        if self._wake_timer is not None:
            self._wake_timer.cancel()
            self._wake_timer = None
        while self._polls and self._ready:
            poll = self._polls.popleft()
            if not poll.done():
                poll.set_result(None)
                return
