"""Connections to PostgreSQL, one bounded pool a process and role, and the two ways to use them.

`transaction()` hands out a psycopg connection for the hot paths' named SQL; `session()` an SQLModel session for the
resources. Both begin by telling PostgreSQL whose rows may be seen, and commit at the end of the block.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncPipeline, OperationalError, conninfo
from psycopg.errors import InFailedSqlTransaction
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.settings import DatabaseSettings

Connection = AsyncConnection[tuple[Any, ...]]

DatabaseAway = (OperationalError, PoolTimeout)
"""What psycopg raises while PostgreSQL cannot be reached."""

_SET_TENANT = "SELECT set_config('app.tenant', %s, true)"
_SET_TENANT_SESSION = text("SELECT set_config('app.tenant', :tenant, true)")


class Role(StrEnum):
    """The login roles of running processes; none owns a table, none is a superuser."""

    APP = "waypost_app"
    RELAY = "waypost_relay"
    SEGMENTS = "waypost_segments"


class UnsafeRoleError(Exception):
    """The process would run as a role that row security does not bind."""


class Database:
    """The pool of one role. Open it inside the event loop that uses it."""

    def __init__(self, settings: DatabaseSettings, role: Role, *, size: int | None = None) -> None:
        self.role = role
        self._conninfo = role_conninfo(settings, role)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            min_size=1,
            max_size=size or settings.database_pool_size,
            timeout=settings.database_timeout_s,
            max_lifetime=3600,
            # The pool doubles its pause after each failure: 40 s away took 23 s more. Giving up early lets the next
            # caller who waits start afresh.
            reconnect_timeout=1,
            open=False,
            close_returns=True,
            name=role,
        )
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+psycopg://", poolclass=NullPool, async_creator=self._pool.getconn
        )

    async def open(self) -> None:
        """Start connecting; returns at once, also while PostgreSQL is away."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Give every connection back to PostgreSQL."""
        await self._engine.dispose()
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A bare connection of the pool; whoever takes it begins and ends its transactions."""
        async with self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Connection]:
        """A connection beside the pool, in autocommit, for as long as the block lasts: LISTEN needs one."""
        async with await AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[Connection]:
        """One transaction in pipeline mode: statements queue up until a result is asked for; committed at the end.

        Results that are fetched after the block share its one round trip. A statement's error may come as late as the
        block's end; after one, nothing of the block is committed.
        """
        async with self._pool.connection() as connection, _explicit(connection):
            async with connection.pipeline() as pipeline:
                # Not connection.transaction(): in a pipeline it waits for PostgreSQL at its begin, before and after
                # its commit, four round trips where one will do.
                _begin(connection, pipeline)
                if tenant is not None:
                    await connection.execute(_SET_TENANT, (str(tenant),), prepare=True)
                yield connection
                commit = await connection.cursor().execute("COMMIT", prepare=True)
            if commit.statusmessage != "COMMIT":  # a failed transaction's COMMIT is a ROLLBACK
                raise InFailedSqlTransaction("an error inside the transaction was passed over: nothing was committed")

    @asynccontextmanager
    async def session(self, tenant: UUID | None = None) -> AsyncIterator[AsyncSession]:
        """One transaction as an SQLModel session; committed at the end of the block, rolled back on any exception."""
        async with AsyncSession(self._engine, expire_on_commit=False) as session, session.begin():
            if tenant is not None:
                connection = await session.connection()
                await connection.execute(_SET_TENANT_SESSION, {"tenant": str(tenant)})
            yield session

    async def ping(self) -> None:
        """Return once PostgreSQL has answered; raises what psycopg raises while it is away."""
        async with self.transaction() as connection:
            await connection.execute("SELECT 1")

    async def check_role(self) -> None:
        """Raise UnsafeRoleError when this role could see past row security."""
        async with self.transaction() as connection:
            cursor = await connection.execute(_ROLE_SAFETY)
            row = await cursor.fetchone()
        assert row is not None
        name, superuser, bypass, owns = row
        if superuser or bypass or owns:
            raise UnsafeRoleError(
                f"{name} is a superuser, bypasses row security or owns tables; "
                "set WAYPOST_APP_PASSWORD and WAYPOST_RELAY_PASSWORD and let `waypost migrate` make the roles"
            )


def _begin(connection: Connection, pipeline: AsyncPipeline) -> None:
    """BEGIN goes out with the first statement: by `execute` PostgreSQL would be woken for it alone."""
    pipeline.command_queue.append(partial(connection.pgconn.send_query_params, b"BEGIN", None))
    pipeline.result_queue.append(None)


@asynccontextmanager
async def _explicit(connection: Connection) -> AsyncIterator[None]:
    """Leave BEGIN and COMMIT to the block; what it leaves open is rolled back, what it breaks is not used again."""
    await connection.set_autocommit(True)
    try:
        yield
    finally:
        if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            await connection.rollback()
        if connection.info.transaction_status is TransactionStatus.IDLE:
            await connection.set_autocommit(False)
        else:
            # Not close(): that hands it back to the pool, and the pool's own handing back would then fail and hide why.
            connection.pgconn.finish()


_ROLE_SAFETY = """
SELECT current_user, rolsuper, rolbypassrls,
       EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public' AND tableowner = current_user)
FROM pg_roles WHERE rolname = current_user
"""


def role_conninfo(settings: DatabaseSettings, role: Role) -> str:
    """The connection string of a role: host and database as set, user and password the role's own."""
    password = {
        Role.APP: settings.app_password,
        Role.RELAY: settings.relay_password,
        Role.SEGMENTS: settings.segments_password,
    }[role]
    return conninfo.make_conninfo(
        settings.database_url.get_secret_value(),
        user=role.value,
        password=password.get_secret_value(),
        application_name=f"waypost/{role.value}",
        connect_timeout=1,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=2,
        tcp_user_timeout=5000,
        options="-c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000 "
        "-c synchronous_commit=on -c timezone=UTC",
    )
