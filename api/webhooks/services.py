"""What the webhooks share: the accounts they are called for, and where events are kept."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from api.webhooks.answers import RefusalError, not_found
from waypost.messaging.provider import ProviderAccount
from waypost.messaging.values import ProviderKind
from waypost.providers.errors import AccountUnusableError
from waypost.providers.ses.certificates import CertificateStore
from waypost.providers.ses.sns import SnsTrust, SnsVerifier
from waypost.relay.intake import Arrival, Intake, IntakeMetrics
from waypost.store.database import Database, DatabaseAway
from waypost.store.errors import CredentialsError, NotFoundError
from waypost.store.feeds import FeedNote, note_feed

logger = logging.getLogger(__name__)
T = TypeVar("T")

KEPT_S = 5.0
MAX_KEPT = 2000
NOTE_S = 1.0


class AccountBook:
    """Accounts by id, remembered for a few seconds; also that there is none, so that guessing costs nothing."""

    def __init__(self, load: Callable[[UUID], Awaitable[ProviderAccount]]) -> None:
        self._load = load
        self._kept: dict[UUID, tuple[float, ProviderAccount | None]] = {}

    async def get(self, identity: UUID, kind: ProviderKind) -> ProviderAccount:
        """The account. Raises `RefusalError` where there is none of this kind."""
        kept = self._kept.get(identity)
        if kept is None or time.monotonic() - kept[0] > KEPT_S:
            kept = await self._read(identity)
        if kept[1] is None or kept[1].kind is not kind:
            raise not_found()
        return kept[1]

    async def _read(self, identity: UUID) -> tuple[float, ProviderAccount | None]:
        try:
            account: ProviderAccount | None = await self._load(identity)
        except NotFoundError:
            account = None
        except CredentialsError:
            raise RefusalError(
                "trust_unavailable", "The account's credentials cannot be opened by this process; see its log."
            ) from None
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[identity] = (time.monotonic(), account)
        return self._kept[identity]


@dataclass(kw_only=True)
class WebhookServices:
    """Made once by the composition root."""

    database: Database
    intake: Intake
    accounts: AccountBook
    metrics: IntakeMetrics
    certificates: CertificateStore = field(default_factory=CertificateStore)
    executor: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(4, thread_name_prefix="webhook-verify")
    )
    """Fetching a certificate blocks for two seconds at most."""
    _noted: dict[UUID, float] = field(default_factory=dict)

    async def in_thread(self, do: Callable[[], T]) -> T:
        """Run something that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, do)

    def verifier(self, account: ProviderAccount) -> SnsVerifier:
        """Who decides whether SNS signed a message for this account. Raises `RefusalError`."""
        try:
            return SnsVerifier(SnsTrust.from_account(account), self.certificates)
        except AccountUnusableError:
            raise RefusalError("no_event_trust", "Set the account's topic_arn to the topic of its events.") from None

    async def keep(self, account: UUID, arrivals: list[Arrival], *, feed: str) -> None:
        """Commit the events, then note that the feed is alive."""
        await self.intake.keep(arrivals, feed=feed)
        await self._note(account)

    async def _note(self, account: UUID) -> None:
        if time.monotonic() - self._noted.get(account, 0.0) < NOTE_S:
            return
        self._noted[account] = time.monotonic()
        with suppress(*DatabaseAway):  # the events are safe; this is only news
            async with self.database.transaction() as connection:
                await note_feed(connection, account=account, note=FeedNote(event=True))
