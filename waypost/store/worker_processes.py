"""Which worker processes of a lane are alive, and which tenants there are to serve (role waypost_relay)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.messaging.values import Lane

Connection = AsyncConnection[Any]

_BEAT = """
INSERT INTO worker_processes (id, lane, host, pid) VALUES (%(id)s, %(lane)s, %(host)s, %(pid)s)
ON CONFLICT (id) DO UPDATE SET beat_at = waypost_now()
"""
_ALIVE = """
SELECT id FROM worker_processes WHERE lane = %s AND beat_at > waypost_now() - interval '10 seconds' ORDER BY id
"""
_OF_HOST = "SELECT id, pid FROM worker_processes WHERE host = %s"
_FORGET = "DELETE FROM worker_processes WHERE id = ANY(%s) OR beat_at < waypost_now() - interval '1 hour'"


async def beat(connection: Connection, *, process: UUID, lane: Lane, host: str, pid: int) -> None:
    """Say that this process is alive."""
    await connection.execute(_BEAT, {"id": process, "lane": lane, "host": host, "pid": pid})


async def alive(connection: Connection, *, lane: Lane) -> list[UUID]:
    """The processes of a lane that beat within the last 10 seconds."""
    cursor = await connection.execute(_ALIVE, (lane,))
    return [row[0] for row in await cursor.fetchall()]


async def processes_of_host(connection: Connection, *, host: str) -> list[tuple[UUID, int]]:
    """Whoever beat on this host, dead or alive: (id, pid)."""
    cursor = await connection.execute(_OF_HOST, (host,))
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def forget(connection: Connection, *, processes: Sequence[UUID]) -> None:
    """These processes have ended; and rows of processes that died an hour ago go too."""
    await connection.execute(_FORGET, (list(processes),))


@dataclass(frozen=True, slots=True)
class ServedTenant:
    """A tenant whose queues must be polled: every one that may still have executions."""

    id: UUID
    placement: str


_SERVED = "SELECT id, placement FROM tenants WHERE state <> 'closed' ORDER BY id"


async def served_tenants(connection: Connection) -> list[ServedTenant]:
    """All tenants that are not closed."""
    async with connection.cursor(row_factory=class_row(ServedTenant)) as cursor:
        await cursor.execute(_SERVED)
        return await cursor.fetchall()
