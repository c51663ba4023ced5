"""The way out to each provider account: its sender, its bounded threads, kept open and kept current."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from uuid import UUID

from waypost.messaging.failure import WaypostFailure
from waypost.messaging.provider import BulkSender, ProviderAccount, ProviderReply, RenderedMessage, ReplyKind, Sender
from waypost.store.errors import StoreError

logger = logging.getLogger(__name__)

FENCE_S = 2.0
"""Longest time between claim and call; a claim that is older is void, for others may count it as lost."""

_FRESH_S = 5.0


class DoorBusyError(WaypostFailure):
    """Every thread of the account is in a call."""


class AccountUnusableError(WaypostFailure):
    """The account's credentials cannot be opened here, or its endpoint is not one that it may use."""


class Door:
    """One account's calls in this process: at most `width` at a time, each in a thread of its own."""

    def __init__(self, account: ProviderAccount, sender: Sender, width: int) -> None:
        self.account = account
        self._sender = sender
        self._bulk = sender if isinstance(sender, BulkSender) else None  # asked of every recipient, and slow to ask
        self._width = width
        self._slots = asyncio.Semaphore(width)
        self._threads = ThreadPoolExecutor(width, thread_name_prefix=f"account-{account.id}")

    @asynccontextmanager
    async def slot(self, patience_s: float) -> AsyncIterator[None]:
        """Keep a thread free for the call, before the claim: a claim never waits in a queue. Raises DoorBusyError."""
        try:
            await asyncio.wait_for(self._slots.acquire(), patience_s)
        except TimeoutError:
            raise DoorBusyError("every call of the account is taken") from None
        try:
            yield
        finally:
            self._slots.release()

    async def call(self, message: RenderedMessage, *, claimed_at: float) -> ProviderReply | None:
        """One provider call; None when the fence had passed (`claimed_at`: monotonic seconds, before the commit)."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, message, claimed_at)

    def bulk_key(self, message: RenderedMessage) -> Hashable | None:
        """Messages of equal keys may share a `call_bulk`; None: the provider takes this one alone, by `call`."""
        return None if self._bulk is None else self._bulk.bulk_key(message)

    async def call_bulk(self, messages: Sequence[RenderedMessage], *, claimed_at: float) -> list[ProviderReply] | None:
        """One provider call for up to 50 messages of one `bulk_key`: a reply for each, in order.

        None when the fence had passed: none of them was sent. It takes one slot, as `call` does.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call_bulk, messages, claimed_at)

    def _call(self, message: RenderedMessage, claimed_at: float) -> ProviderReply | None:
        if time.monotonic() - claimed_at > FENCE_S:
            return None
        try:
            return self._sender.send(message)
        except Exception as error:  # an adapter's own bug: nobody knows how far it came
            return self._failed(error)

    def _call_bulk(self, messages: Sequence[RenderedMessage], claimed_at: float) -> list[ProviderReply] | None:
        if time.monotonic() - claimed_at > FENCE_S:
            return None
        if self._bulk is None:
            raise TypeError("the account's provider takes no bulk calls")
        try:
            return self._bulk.send_bulk(messages)
        except Exception as error:  # as above, and of every message
            return [self._failed(error)] * len(messages)

    def _failed(self, error: Exception) -> ProviderReply:
        logger.exception("a sender failed", extra={"account_id": str(self.account.id)})
        return ProviderReply(kind=ReplyKind.UNKNOWN, code=type(error).__name__)

    async def retire(self) -> None:
        """Close once nobody is inside any more: a claim that was made for this door is called through it."""
        for _ in range(self._width):
            await self._slots.acquire()
        self.close()

    def close(self) -> None:
        """Close sockets; nobody may be inside."""
        self._threads.shutdown(wait=False)
        self._sender.close()


LoadAccount = Callable[[UUID], Awaitable[ProviderAccount]]
OpenSender = Callable[[ProviderAccount], Sender]


class Doors:
    """The doors of a process of one lane. An account that was changed gets a new door within seconds."""

    def __init__(self, load_account: LoadAccount, open_sender: OpenSender, *, width: int) -> None:
        self._load_account = load_account
        self._open_sender = open_sender
        self._width = width
        self._doors: dict[UUID, Door] = {}
        self._checked: dict[UUID, float] = {}
        self._lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._opening = ThreadPoolExecutor(1, thread_name_prefix="open-account")

    async def to(self, account: UUID) -> Door:
        """The door of an account. Raises AccountUnusableError."""
        if not self._is_fresh(account):
            async with self._lock:
                if not self._is_fresh(account):
                    await self._refresh(account)
        return self._doors[account]

    def close(self) -> None:
        """Close every door."""
        for door in self._doors.values():
            door.close()
        self._doors.clear()
        self._checked.clear()
        self._opening.shutdown(wait=False)

    def _is_fresh(self, account: UUID) -> bool:
        return time.monotonic() - self._checked.get(account, float("-inf")) < _FRESH_S

    async def _refresh(self, account: UUID) -> None:
        current = await self._load(account)
        before = self._doors.get(account)
        if before is None or before.account != current:
            self._doors[account] = Door(current, await self._open(current), self._width)
            if before is not None:
                self._retire(before)
        self._checked[account] = time.monotonic()

    async def _load(self, account: UUID) -> ProviderAccount:
        try:
            return await self._load_account(account)
        except StoreError as error:
            raise AccountUnusableError(error.code) from error

    async def _open(self, account: ProviderAccount) -> Sender:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._opening, self._open_sender, account)
        except Exception as error:  # whatever an adapter says: the account, as it is, has no way out
            raise AccountUnusableError(type(error).__name__) from error

    def _retire(self, door: Door) -> None:
        task = asyncio.create_task(door.retire(), name=f"retire {door.account.id}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
