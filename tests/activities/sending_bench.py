"""The send activity on a real ledger, with a sender in memory that answers what a test tells it to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb
from temporalio.testing import ActivityEnvironment

from activities.budgets import Budgets
from activities.composing import Composer
from activities.contracts.sending import SendInput, SendResult
from activities.doors import Doors
from activities.sending import SendActivities
from tests.relay.ledger import Ledger
from waypost.messaging.link_tokens import LinkSigner
from waypost.messaging.provider import Credentials, ProviderAccount, ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import FeedKind, Lane, Mode, ProviderKind
from waypost.store.database import Database

SIGNER = LinkSigner("a" * 32)
PUBLIC_URL = "https://news.example.com"
CONTENT = {"content": {"channel": "email", "subject": "Hello", "text": "Hello {{ data.name | default: 'you' }}"}}
BROKEN = {"content": {"channel": "email", "subject": "Hello", "text": "Hello {{ data.nobody }}"}}


@dataclass
class ScriptedSender:
    """Implements `waypost.messaging.provider.Sender`: records each call, answers from `replies`, then "accepted"."""

    calls: list[RenderedMessage] = field(default_factory=list)
    replies: deque[ProviderReply | Exception] = field(default_factory=deque)
    during: Callable[[RenderedMessage], None] | None = None
    """Runs inside the call, in the account's thread."""
    closed: bool = False

    def send(self, message: RenderedMessage, /) -> ProviderReply:
        assert not self.closed, "a call through a closed door"
        self.calls.append(message)
        if self.during is not None:
            self.during(message)
        reply = self.replies.popleft() if self.replies else accepted()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        self.closed = True


class Blocked:
    """A provider that takes a call and answers when it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, _: RenderedMessage) -> None:
        self.stand_still()

    def stand_still(self) -> None:
        self.entered.set()
        assert self.let_go.wait(10)


def accepted(provider_message_id: str = "ses-1") -> ProviderReply:
    return ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id=provider_message_id)


def unknown() -> ProviderReply:
    return ProviderReply(kind=ReplyKind.UNKNOWN, code="timed_out")


def account(identity: UUID, **changes: Any) -> ProviderAccount:
    values: dict[str, Any] = {
        "id": identity,
        "kind": ProviderKind.SES,
        "mode": Mode.TEST,
        "region": "us-east-1",
        "endpoint": "http://127.0.0.1:1",
        "feed": FeedKind.DURABLE,
        "credentials": Credentials(key="key", secret="secret"),
    }
    return ProviderAccount(**(values | changes))


class Bench:
    """One tenant, one account with a generous budget, and the activity in front of them."""

    def __init__(
        self, ledger: Ledger, *, app: Database, relay: Database, lane: Lane = Lane.FAST, width: int = 4
    ) -> None:
        self.ledger = ledger
        self.sender = ScriptedSender()
        self.budgets = Budgets(relay, lane)
        self.doors = Doors(self._account, self._open, width=width)
        self.unusable: Exception | None = None
        self.activities = SendActivities(
            app=app,
            relay=relay,
            composer=Composer(app, SIGNER, PUBLIC_URL),
            doors=self.doors,
            budgets=self.budgets,
            process="test",
        )

    async def prepare(self) -> None:
        """Make the account's budget."""
        await self.ledger.execute(
            "UPDATE provider_accounts SET rate_per_second = 1000 WHERE id = %s", (self.ledger.account,)
        )
        await self.ledger.insert("account_budgets", account_id=self.ledger.account, tokens=1000)

    async def _account(self, identity: UUID) -> ProviderAccount:
        return account(identity)

    def _open(self, _: ProviderAccount) -> ScriptedSender:
        if self.unusable is not None:
            raise self.unusable
        return self.sender

    async def message(self, *attempts: Any, **columns: Any) -> UUID:
        """A message that is ready to be rendered."""
        return await self.ledger.add_message(*attempts, **({"payload": Jsonb(CONTENT)} | columns))

    async def pair(self, **primary: Any) -> tuple[UUID, UUID]:
        """A primary with its fallback, due ten minutes after it."""
        source = uuid4()
        first = await self.message(source_id=source, fallback_after=timedelta(minutes=10), **primary)
        second = await self.message(source_id=source, part="fallback", primary_id=first, phase="waiting", due_at=None)
        return first, second

    async def send(self, message: UUID, environment: ActivityEnvironment | None = None) -> SendResult:
        """Run the activity once, as a worker would."""
        task = SendInput(str(self.ledger.tenant), str(message))
        return await (environment or ActivityEnvironment()).run(self.activities.send, task)

    async def row(self, message: UUID) -> dict[str, Any]:
        return await self.ledger.message(message)

    async def states(self, message: UUID) -> list[str]:
        return [attempt["state"] for attempt in await self.ledger.attempts(message)]

    async def account_row(self) -> dict[str, Any]:
        rows = await self.ledger.execute(
            "SELECT a.*, b.* FROM provider_accounts a JOIN account_budgets b ON b.account_id = a.id WHERE a.id = %s",
            (self.ledger.account,),
        )
        return rows[0]

    async def verdicts(self, message: UUID) -> list[tuple[str, str]]:
        rows = await self.ledger.execute(
            "SELECT verdict, reason FROM verdicts WHERE message_id = %s ORDER BY id", (message,)
        )
        return [(row["verdict"], row["reason"]) for row in rows]
