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


# To the tail, under a new id: what cannot be delivered keeps nobody waiting behind it.
_PUT_BACK = """
WITH taken AS (DELETE FROM outbox WHERE id = ANY(%s) RETURNING id, workflow_id, signal, created_at)
INSERT INTO outbox (workflow_id, signal, created_at)
SELECT workflow_id, signal, created_at FROM taken ORDER BY id
"""

_DROP_OLD = """
WITH gone AS (
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE created_at < waypost_now() - interval '1 day'
        LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id
)
SELECT count(*) FROM gone
"""


async def put_back_hints(connection: Connection, failed: list[int]) -> None:
    """These could not be delivered: they wait again, behind all others, from when they were made."""
    await connection.execute(_PUT_BACK, (failed,))


async def drop_old_hints(connection: Connection, *, limit: int) -> int:
    """Hints of more than a day ago have nothing to say any more: every waiter has looked for itself. How many."""
    row = await (await connection.execute(_DROP_OLD, (limit,))).fetchone()
    assert row is not None
    dropped: int = row[0]
    return dropped


async def delete_hints(connection: Connection, delivered: list[int]) -> None:
    """These have been delivered, or have nobody to be delivered to."""
    await connection.execute(_DELETE, (delivered,))
