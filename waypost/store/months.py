"""Months of attempts and events: made ahead, and dropped when they are past everybody's retention.

As waypost_relay, or the owner; the functions in PostgreSQL are the owner's. One month a transaction, which the caller
commits: while it lasts, others wait for the table.
"""

from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

AHEAD = 2
"""Months after this one that are there before anything falls into them."""

MAKE = "SELECT waypost_make_month(%s)"


async def make_month(connection: Connection) -> str | None:
    """Make one month that is missing; its partition, or None where there is nothing to do, or not just now."""
    return await _name(connection, MAKE, (AHEAD,))


async def drop_month(connection: Connection, *, message_days: int, event_days: int) -> str | None:
    """Drop one month of which nobody keeps anything; its partition, or None. 0 days: kept for ever."""
    return await _name(connection, "SELECT waypost_drop_month(%s, %s)", (message_days, event_days))


async def default_rows(connection: Connection) -> dict[str, int]:
    """How many rows of each table are in no month, up to 10,000."""
    return dict(await (await connection.execute("SELECT parent, rows FROM waypost_default_rows()")).fetchall())


async def _name(connection: Connection, statement: Any, values: tuple[int, ...]) -> str | None:
    row = await (await connection.execute(statement, values)).fetchone()
    assert row is not None
    name: str | None = row[0]
    return name
