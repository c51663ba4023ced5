"""Hints for executions that wait, written with what they hint at; delivered at least once (waypost_relay)."""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One signal to one execution."""

    id: int
    workflow_id: str
    signal: str


# Locked until the transaction ends: another process takes others meanwhile.
_TAKE = "SELECT id, workflow_id, signal FROM outbox ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"

_DELETE = "DELETE FROM outbox WHERE id = ANY(%s)"


async def take_hints(connection: Connection, *, limit: int) -> list[Hint]:
    """The oldest hints that nobody is delivering."""
    rows = await (await connection.execute(_TAKE, (limit,))).fetchall()
    return [Hint(id=row[0], workflow_id=row[1], signal=row[2]) for row in rows]


async def delete_hints(connection: Connection, delivered: list[int]) -> None:
    """These have been delivered, or have nobody to be delivered to."""
    await connection.execute(_DELETE, (delivered,))
