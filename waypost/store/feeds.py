"""What is known of the accounts' feeds: which queues are read, and when each was last heard of (role waypost_relay)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

_POLLED = "SELECT id, version FROM provider_accounts WHERE kind = 'ses' AND queue_url IS NOT NULL"


async def polled_accounts(connection: Connection) -> dict[UUID, int]:
    """The accounts whose events come through a queue, each with its row's version."""
    cursor = await connection.execute(_POLLED)
    return {row[0]: row[1] for row in await cursor.fetchall()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedNote:
    """What a poller or a webhook has to say of its feed. `empty` is how long ago the queue was seen to hold nothing."""

    polled: bool = False
    event: bool = False
    empty: timedelta | None = None
    error: str | None = None


# GREATEST, for several processes may read one queue.
_NOTE = """
INSERT INTO feeds AS f (account_id, last_polled_at, last_event_at, last_empty_at, last_error)
VALUES (%(account)s, CASE WHEN %(polled)s THEN waypost_now() END, CASE WHEN %(event)s THEN waypost_now() END,
        waypost_now() - %(empty)s::interval, %(error)s)
ON CONFLICT (account_id) DO UPDATE SET
    last_polled_at = GREATEST(f.last_polled_at, excluded.last_polled_at),
    last_event_at = GREATEST(f.last_event_at, excluded.last_event_at),
    last_empty_at = GREATEST(f.last_empty_at, excluded.last_empty_at),
    last_error = excluded.last_error
"""


async def note_feed(connection: Connection, *, account: UUID, note: FeedNote) -> None:
    """Write down when the account's feed was last read, brought something, or was empty."""
    values = {
        "account": account,
        "polled": note.polled,
        "event": note.event,
        "empty": note.empty,
        "error": note.error,
    }
    await connection.execute(_NOTE, values)


_BACKLOG_AGE = """
SELECT extract(epoch FROM waypost_now() - received_at)::float8 FROM provider_events
WHERE applied_at IS NULL AND apply_error IS NULL ORDER BY id LIMIT 1
"""


async def unapplied_age(connection: Connection) -> float:
    """Seconds since the oldest unapplied event came; 0 where all are applied."""
    row = await (await connection.execute(_BACKLOG_AGE)).fetchone()
    return row[0] if row else 0.0
