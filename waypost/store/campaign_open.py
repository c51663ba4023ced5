"""What of a shard is open, as waypost_app, in the order of the index of open rows.

That index keeps the entries of closed rows until vacuum may remove them: what is looked for from the start passes them
all, what is looked for from a place on does not.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from waypost.store.campaign_pages import LoadedRun, Place

Connection = AsyncConnection[Any]

_PATIENT = "SET LOCAL statement_timeout = '60s'"


async def patiently(connection: Connection) -> None:
    """Give the transaction's statements time: for a look from the start of a shard, which may pass a million rows."""
    await connection.execute(_PATIENT)


@dataclass(frozen=True, slots=True)
class StillOpen:
    """What is left of a shard when nothing is due. `next_due` None: all of it waits for evidence or a decision."""

    any: bool
    next_due: datetime | None


_STILL_OPEN = """
SELECT COALESCE((SELECT true FROM messages
                 WHERE run_id = %(run)s AND shard = %(shard)s AND phase <> 'closed' LIMIT 1), false),
       (SELECT min(n.due_at) FROM generate_series(0, %(cohort)s) AS c (cohort) CROSS JOIN LATERAL (
            SELECT due_at FROM messages
            WHERE run_id = %(run)s AND shard = %(shard)s AND cohort = c.cohort AND phase <> 'closed' AND phase = 'ready'
            ORDER BY due_at LIMIT 1) n)
"""


_NEXT_DUE = """
SELECT min(n.due_at) FROM generate_series(0, %(cohort)s) AS c (cohort) CROSS JOIN LATERAL (
    SELECT due_at FROM messages
    WHERE run_id = %(run)s AND shard = %(shard)s AND cohort = c.cohort AND phase <> 'closed' AND phase = 'ready'
      AND (due_at, id) > (%(at)s, %(after)s::uuid)
    ORDER BY due_at, id LIMIT 1) n
"""


async def next_due(connection: Connection, *, run: LoadedRun, shard: int, after: Place) -> datetime | None:
    """When the next row of the shard behind a place is due."""
    values = {"run": run.id, "shard": shard, "cohort": run.open_cohort, "at": after[0], "after": after[1]}
    row = await (await connection.execute(_NEXT_DUE, values)).fetchone()
    return row[0] if row else None


async def still_open(connection: Connection, *, run: LoadedRun, shard: int) -> StillOpen:
    """Whether a row of the shard is open, and when the next is due; looked for from the start."""
    await patiently(connection)
    values = {"run": run.id, "shard": shard, "cohort": run.open_cohort}
    row = await (await connection.execute(_STILL_OPEN, values)).fetchone()
    assert row is not None
    return StillOpen(row[0], row[1])
