"""Adapters that kill their process at set points: what a drilled process has in place of the product's own.

They wrap; what is wrapped does its work as ever.
"""

import socket
import threading
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor

from waypost.drills.fault_points import FaultPoint, FaultPoints
from waypost.messaging.provider import BulkSender, ProviderReply, RenderedMessage, Sender
from waypost.providers import wire
from waypost.settings import DatabaseSettings
from waypost.store.database import Database, Role

AROUND_COMMIT: Mapping[str, tuple[FaultPoint, FaultPoint]] = {
    "INSERT INTO attempts (": (FaultPoint.BEFORE_CLAIM_COMMIT, FaultPoint.AFTER_CLAIM_COMMIT),
    "recorded_at = waypost_now()": (FaultPoint.BEFORE_RECORD_COMMIT, FaultPoint.AFTER_RECORD_COMMIT),
    "UPDATE enrollments SET data = %(data)s, step": (
        FaultPoint.BEFORE_DECISION_COMMIT,
        FaultPoint.AFTER_DECISION_COMMIT,
    ),
    "jsonb_build_object('answer', %(edge)s": (FaultPoint.BEFORE_ANSWER_COMMIT, FaultPoint.AFTER_ANSWER_COMMIT),
    "INSERT INTO requests (": (FaultPoint.BEFORE_ACCEPT_COMMIT, FaultPoint.AFTER_ACCEPT_COMMIT),
    "INSERT INTO provider_events (account_id, event_id, kind, tenant_id": (
        FaultPoint.BEFORE_STORE_COMMIT,
        FaultPoint.AFTER_STORE_COMMIT,
    ),
    "SELECT m.tenant_id, m.id, m.channel, m.address, m.source": (
        FaultPoint.BEFORE_APPLY_COMMIT,
        FaultPoint.AFTER_APPLY_COMMIT,
    ),
}
"""By what a transaction's statement says, the points before and after its commit. Events are mostly stored and applied
in one transaction, which then has the points of both; the last statement is in each that applies any."""


class KillingDatabase(Database):
    """Kills before and after the commits that matter."""

    def __init__(
        self, settings: DatabaseSettings, role: Role, *, size: int | None = None, points: FaultPoints | None = None
    ) -> None:
        super().__init__(settings, role, size=size)
        self._points = points or FaultPoints.of_this_process()

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        """As the product's."""
        async with super().transaction(tenant) as connection:
            watched = _WatchedConnection(connection)
            yield cast(AsyncConnection[tuple[Any, ...]], watched)
            for before, _ in watched.commits:
                self._points.reach(before)
        for _, after in watched.commits:
            self._points.reach(after)


class _WatchedConnection:
    """Notes which of the statements that matter went through it."""

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self.commits: list[tuple[FaultPoint, FaultPoint]] = []

    async def execute(self, query: Any, *arguments: Any, **options: Any) -> AsyncCursor[tuple[Any, ...]]:
        """As the connection's."""
        self.commits += around_commit(query)
        return await self._connection.execute(query, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def around_commit(query: object) -> list[tuple[FaultPoint, FaultPoint]]:
    """The points around the commit of a statement; none for most."""
    text = query if isinstance(query, str) else ""
    return [points for said, points in AROUND_COMMIT.items() if said in text]


class _Calling(threading.local):
    """Whether this thread is in a message's provider call."""

    now = False


_calling = _Calling()


class KillingSender:
    """Kills when the reply has come. What happens after the request was written is `kill_after_writing`'s."""

    def __init__(self, sender: Sender, points: FaultPoints) -> None:
        self._sender = sender
        self._points = points

    def send(self, message: RenderedMessage, /) -> ProviderReply:
        """As the wrapped one's."""
        with _in_call(self._points):
            return self._sender.send(message)

    def close(self) -> None:
        """As the wrapped one's."""
        self._sender.close()


class KillingBulkSender(KillingSender):
    """The same for an account that takes many messages in one call: the same points around it."""

    def __init__(self, sender: BulkSender, points: FaultPoints) -> None:
        super().__init__(sender, points)
        self._bulk = sender

    def bulk_key(self, message: RenderedMessage, /) -> Hashable | None:
        """As the wrapped one's."""
        return self._bulk.bulk_key(message)

    def send_bulk(self, messages: Sequence[RenderedMessage], /) -> list[ProviderReply]:
        """As the wrapped one's."""
        with _in_call(self._points):
            return self._bulk.send_bulk(messages)


def killing(sender: Sender, points: FaultPoints) -> KillingSender:
    """The sender, wrapped: it takes bulk calls if the wrapped one does."""
    return KillingBulkSender(sender, points) if isinstance(sender, BulkSender) else KillingSender(sender, points)


@contextmanager
def _in_call(points: FaultPoints) -> Iterator[None]:
    """Around a provider call of this thread."""
    _calling.now = True
    try:
        yield
    finally:
        _calling.now = False
    points.reach(FaultPoint.AFTER_REPLY)


def kill_after_writing(points: FaultPoints) -> None:
    """From now on this process can be killed between the last byte of a send's request and the first of its reply.

    The wire has no seam there, and gets none for drills: its reading function is replaced.
    """
    read = wire._read

    def reading(sock: socket.socket, max_bytes: int, end: float, silence: float) -> tuple[wire.WireReply, bool]:
        if _calling.now:
            points.reach(FaultPoint.AFTER_REQUEST_WRITTEN)
        return read(sock, max_bytes, end, silence)

    wire._read = reading
