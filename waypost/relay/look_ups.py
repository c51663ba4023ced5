"""Unknown attempts of lossy providers with a list: ask the list, long enough after the call (Twilio)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Counter

from waypost.messaging.content_errors import ContentError
from waypost.messaging.provider import FoundMessage, LookUp, LookUpError, ProviderAccount, RenderedMessage
from waypost.providers.errors import ProviderError
from waypost.store.database import Database
from waypost.store.errors import StoreError
from waypost.store.look_ups import LookUpTask, conclude, lease_look_ups

logger = logging.getLogger(__name__)

Rerender = Callable[[UUID, UUID, UUID], Awaitable[RenderedMessage | None]]
"""(tenant, message, attempt) → the message as that attempt handed it over; None where that cannot be had any more."""

AGAIN = timedelta(minutes=1)
BATCH = 10
_SLACK = timedelta(minutes=1)
"""Providers' clocks and ours."""

_LOOK_UPS = Counter("waypost_look_ups_total", "Searches of a provider's list", ["verdict"])


class LookUps:
    """Asks about a few attempts at a time, one after the other: each costs the provider's list a page or more."""

    def __init__(
        self,
        database: Database,
        *,
        age: timedelta,
        signal: str,
        load: Callable[[UUID], Awaitable[ProviderAccount]],
        open_look_up: Callable[[ProviderAccount], LookUp],
        rerender: Rerender,
        fingerprint: Callable[[RenderedMessage], bytes],
    ) -> None:
        """`age`: the longest call and the margin. `fingerprint` is what the claim stored as content_hash."""
        self._database = database
        self._age = age
        self._signal = signal
        self._load = load
        self._open = open_look_up
        self._rerender = rerender
        self._fingerprint = fingerprint
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="look-up")

    async def ask(self) -> bool:
        """Ask about a batch; whether more may wait."""
        async with self._database.transaction() as connection:
            tasks = await lease_look_ups(connection, age=self._age, again=AGAIN, limit=BATCH)
        for task in tasks:
            verdict = await self._ask(task)
            _LOOK_UPS.labels(verdict).inc()
        return len(tasks) == BATCH

    async def _ask(self, task: LookUpTask) -> str:
        """The verdict, or why there is none: such an attempt is asked about again later, until its horizon."""
        try:
            message = await self._rerender(task.tenant_id, task.message_id, task.attempt_id)
        except ContentError:
            message = None
        if message is None or self._fingerprint(message) != task.content_hash:
            return "content_changed"  # what was sent then cannot be searched for
        try:
            account = await self._load(task.account_id)
            found = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._find, account, message, task.claimed_at - _SLACK
            )
        except (StoreError, ProviderError, LookUpError) as error:
            logger.warning("list not read", extra={"error": type(error).__name__, "attempt_id": str(task.attempt_id)})
            return "list_not_read"
        async with self._database.transaction() as connection:
            return await conclude(connection, task, found, signal=self._signal)

    def _find(self, account: ProviderAccount, message: RenderedMessage, since: datetime) -> list[FoundMessage]:
        look_up = self._open(account)
        try:
            return look_up.find(message, since=since)
        finally:
            look_up.close()
