"""A provider that takes everything and sends nothing: what was handed to it is kept, to be looked at."""

import threading
from dataclasses import dataclass, field
from uuid import UUID

from waypost.messaging.provider import Credentials, ProviderAccount, ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import FeedKind, Mode, ProviderKind


@dataclass
class Outbox:
    """Implements `waypost.messaging.provider.Sender`. Thread-safe."""

    handed_over: list[RenderedMessage] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, message: RenderedMessage, /) -> ProviderReply:
        """Accept it."""
        with self._lock:
            self.handed_over.append(message)
            return ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id=f"simulated-{len(self.handed_over)}")

    def close(self) -> None:
        """There is nothing to give back."""


async def simulated_account(identity: UUID) -> ProviderAccount:
    """Any account, as one that nothing goes out of."""
    return ProviderAccount(
        id=identity,
        kind=ProviderKind.SES,
        mode=Mode.TEST,
        region="us-east-1",
        endpoint="http://127.0.0.1:1",
        feed=FeedKind.DURABLE,
        credentials=Credentials(key="simulated", secret="simulated"),  # noqa: S106 - there is no such account
    )
