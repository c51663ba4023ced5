"""Rows of the ledger, made by hand: an account, a tenant, messages and their attempts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from tests.services import Database as TestDatabase
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import AttemptState, EventKind
from waypost.settings import DatabaseSettings
from waypost.store.database import Database, Role

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def month_of(moment: datetime) -> date:
    """The partition of what belongs to a moment."""
    return moment.astimezone(UTC).date().replace(day=1)


def database_settings(database: TestDatabase) -> DatabaseSettings:
    """The settings of a process that uses this database."""
    environment = {name.removeprefix("WAYPOST_").lower(): value for name, value in database.environment().items()}
    return DatabaseSettings.model_validate(environment)


@asynccontextmanager
async def open_pool(database: TestDatabase, role: Role) -> AsyncIterator[Database]:
    """Connections of a role, for as long as the block lasts."""
    pool = Database(database_settings(database), role, size=6)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 5.0) -> None:
    """Return once the condition holds. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in PostgreSQL
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Attempt:
    """One attempt to lay down. `age` is how long ago it was claimed."""

    state: AttemptState = AttemptState.ACCEPTED
    age: timedelta = timedelta(seconds=1)
    evented: bool = False
    account: UUID | None = None
    resolution: str | None = None
    content_hash: bytes | None = None


@dataclass
class Ledger:
    """Writes rows as the owner, and reads them back."""

    connection: psycopg.AsyncConnection[dict[str, Any]]
    tenant: UUID = field(default_factory=uuid4)
    account: UUID = field(default_factory=uuid4)
    sender: UUID = field(default_factory=uuid4)

    @classmethod
    async def open(cls, database: TestDatabase, **account: Any) -> "Ledger":
        """Connect, and lay down a tenant with an account (columns as given) and a sender."""
        connection = await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True, row_factory=dict_row)
        ledger = cls(connection)
        ledger.account = await ledger.add_account(**account)
        ledger.tenant, ledger.sender = await ledger.add_tenant(ledger.account)
        return ledger

    async def close(self) -> None:
        await self.connection.close()

    async def insert(self, table: str, **columns: Any) -> None:
        """One row; jsonb columns as psycopg's Jsonb."""
        names = ", ".join(columns)
        places = ", ".join(f"%({name})s" for name in columns)
        await self.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", columns)  # noqa: S608 - the test's own

    async def execute(self, statement: str, values: Any = None) -> list[dict[str, Any]]:
        cursor = await self.connection.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []

    async def add_account(self, **columns: Any) -> UUID:
        identity = uuid4()
        base: dict[str, Any] = {
            "id": identity,
            "name": f"account {identity}",
            "kind": "ses",
            "mode": "test",
            "credentials": "{}",
            "feed": "durable",
            "endpoint": "http://127.0.0.1:1",
        }
        await self.insert("provider_accounts", **(base | columns))
        return identity

    async def add_tenant(self, account: UUID, **columns: Any) -> tuple[UUID, UUID]:
        tenant, sender = uuid4(), uuid4()
        await self.insert("tenants", **({"id": tenant, "name": "acme"} | columns))
        await self.insert(
            "senders",
            tenant_id=tenant,
            id=sender,
            key="default",
            channel="email",
            address="us@example.com",
            account_id=account,
            mode="test",
        )
        return tenant, sender

    async def add_message(self, *attempts: Attempt, **columns: Any) -> UUID:
        """A message with these attempts, numbered from 1."""
        identity = columns.pop("id", None) or uuid4()
        now = (await self.execute("SELECT waypost_now() AS now"))[0]["now"]
        base: dict[str, Any] = {
            "tenant_id": self.tenant,
            "id": identity,
            "source": "transactional",
            "source_id": uuid4(),
            "lane": "fast",
            "class": "transactional",
            "mode": "test",
            "channel": "email",
            "address": "Ann@Example.com",
            "sender_id": self.sender,
            "account_id": self.account,
            "phase": "dispatched",
            "due_at": now,
            "expires_at": now + timedelta(days=1),
            "attempts": len(attempts),
        }
        await self.insert("messages", **(base | columns))
        tenant = columns.get("tenant_id", self.tenant)
        for number, attempt in enumerate(attempts, 1):
            await self.insert(
                "attempts",
                tenant_id=tenant,
                id=attempt_id(message=identity, number=number),
                message_id=identity,
                number=number,
                month=month_of(columns.get("created_at", now)),
                account_id=attempt.account or self.account,
                state=attempt.state.value,
                claimed_at=now - attempt.age,
                send_event_at=now - attempt.age if attempt.evented else None,
                process="test",
                resolution=attempt.resolution,
                content_hash=attempt.content_hash,
            )
        return identity

    async def message(self, identity: UUID) -> dict[str, Any]:
        return (await self.execute("SELECT * FROM messages WHERE id = %s", (identity,)))[0]

    async def month(self) -> date:
        """The partition of what is made now."""
        month: date = (await self.execute("SELECT waypost_month(waypost_now()) AS month"))[0]["month"]
        return month

    async def attempts(self, message: UUID) -> list[dict[str, Any]]:
        return await self.execute("SELECT * FROM attempts WHERE message_id = %s ORDER BY number", (message,))

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return await self.execute(f"SELECT * FROM {table}")  # noqa: S608 - the test's own


def event(
    message: UUID, kind: EventKind, *, number: int = 1, event_id: str | None = None, at: datetime = NOW, **more: Any
) -> ProviderEvent:
    """An event about the n-th attempt of a message."""
    return ProviderEvent(
        event_id=event_id or f"{message}:{number}:{kind}",
        kind=kind,
        occurred_at=at,
        attempt_id=attempt_id(message=message, number=number),
        provider_message_id=more.pop("provider_message_id", f"ses-{number}"),
        **more,
    )


def arrivals(account: UUID, events: Sequence[ProviderEvent]) -> list[tuple[UUID, ProviderEvent]]:
    """The events as they come from one account."""
    return [(account, each) for each in events]
