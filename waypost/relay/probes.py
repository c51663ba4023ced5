"""Probes for quiet accounts: without later traffic, the silence of a feed proves nothing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never
from uuid import UUID, uuid4

from prometheus_client import Counter

from waypost.messaging.provider import ProviderAccount, ProviderReply, RenderedMessage, ReplyKind, Sender
from waypost.providers.errors import ProviderError
from waypost.providers.ses.check import probe_message
from waypost.store.database import Database
from waypost.store.errors import StoreError
from waypost.store.probes import accounts_to_probe, claim_probe, probe_sender, record_probe

logger = logging.getLogger(__name__)

_PROBES = Counter("waypost_probes_total", "Probes sent to the mailbox simulator", ["result"])


class Prober:
    """Sends probes for the accounts that want one."""

    def __init__(
        self,
        database: Database,
        *,
        load: Callable[[UUID], Awaitable[ProviderAccount]],
        open_sender: Callable[[ProviderAccount], Sender],
    ) -> None:
        self._database = database
        self._load = load
        self._open_sender = open_sender
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="probe")

    async def probe(self) -> bool:
        """Probe each account that wants it once; never more at once."""
        async with self._database.transaction() as connection:
            accounts = await accounts_to_probe(connection)
        await asyncio.gather(*(self._probe(account) for account in accounts))
        return False

    async def _probe(self, identity: UUID) -> None:
        probe = uuid4()
        async with self._database.transaction() as connection:
            sender = await probe_sender(connection, account=identity)
            if sender is None:
                logger.warning("no sender to probe from", extra={"account_id": str(identity)})
                return
            await claim_probe(connection, probe=probe, account=identity)
        message = probe_message(
            attempt_id=probe, from_address=sender.address, configuration_set=sender.configuration_set
        )
        state, code = await self._send(identity, message)
        async with self._database.transaction() as connection:
            await record_probe(connection, probe=probe, state=state, code=code)
        _PROBES.labels(state).inc()

    async def _send(self, identity: UUID, message: RenderedMessage) -> tuple[str, str | None]:
        try:
            account = await self._load(identity)
        except StoreError as error:
            return "failed", error.code
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._call, account, message)

    def _call(self, account: ProviderAccount, message: RenderedMessage) -> tuple[str, str | None]:
        try:
            sender = self._open_sender(account)
        except ProviderError as error:
            return "failed", error.code
        try:
            reply = sender.send(message)
        finally:
            sender.close()
        return _state(reply), reply.code


def _state(reply: ProviderReply) -> str:
    match reply.kind:
        case ReplyKind.ACCEPTED:
            return "accepted"
        case ReplyKind.UNKNOWN:
            return "unknown"
        case ReplyKind.THROTTLED | ReplyKind.NOT_REACHED | ReplyKind.ACCOUNT_BLOCKED:
            return "failed"
        case ReplyKind.DENIED | ReplyKind.REJECTED:
            return "failed"
        case _:
            assert_never(reply.kind)
