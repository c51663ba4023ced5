"""The way out to each provider account: its sender, its bounded threads, kept open and kept current."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from uuid import UUID

from waypost.messaging.failure import WaypostFailure
from waypost.messaging.provider import ProviderAccount, ProviderReply, RenderedMessage, Sender

FENCE_S = 2.0
"""Longest time between claim and call; a claim that is older is void, for others may count it as lost."""

_FRESH_S = 5.0


class DoorBusyError(WaypostFailure):
    """Every thread of the account is in a call."""


class Door:
    """One account's calls in this process: at most `width` at a time, each in a thread of its own."""

    def __init__(self, account: ProviderAccount, sender: Sender, width: int) -> None:
        self.account = account
        self._sender = sender
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

    def _call(self, message: RenderedMessage, claimed_at: float) -> ProviderReply | None:
        if time.monotonic() - claimed_at > FENCE_S:
            return None
        return self._sender.send(message)

    def close(self) -> None:
        """Close sockets after the last call has come back."""
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

    async def to(self, account: UUID) -> Door:
        """The door of an account."""
        if time.monotonic() - self._checked.get(account, float("-inf")) < _FRESH_S:
            return self._doors[account]
        async with self._lock:
            return await self._refresh(account)

    def close(self) -> None:
        """Close every door."""
        for door in self._doors.values():
            door.close()
        self._doors.clear()
        self._checked.clear()

    async def _refresh(self, account: UUID) -> Door:
        current = await self._load_account(account)
        door = self._doors.get(account)
        if door is None or door.account != current:
            sender = await asyncio.to_thread(self._open_sender, current)
            self._doors[account] = Door(current, sender, self._width)
            if door is not None:
                door.close()
        self._checked[account] = time.monotonic()
        return self._doors[account]
