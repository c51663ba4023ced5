"""What `waypost accounts check` reads of an account: its feed, and whether a probe came back (waypost_relay)."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSight:
    """A feed as it looks while a probe is awaited. Ages in seconds; None: never."""

    returned: bool
    polled_age_s: float | None
    last_error: str | None
    brought_others: bool
    """Something else came through the feed since the probe was claimed."""


_SIGHT = """
SELECT p.send_event_at IS NOT NULL AS returned,
       extract(epoch FROM waypost_now() - f.last_polled_at)::float8 AS polled_age_s,
       f.last_error,
       COALESCE(f.last_event_at > p.claimed_at, false) AS brought_others
FROM probes p LEFT JOIN feeds f ON f.account_id = p.account_id
WHERE p.id = %s
"""


async def feed_sight(connection: Connection, *, probe: UUID) -> FeedSight:
    """How the feed of a probe's account looks now."""
    async with connection.cursor(row_factory=class_row(FeedSight)) as cursor:
        await cursor.execute(_SIGHT, (probe,))
        sight = await cursor.fetchone()
    assert sight is not None  # the caller claimed it
    return sight
