"""A throttled run's rate, shared by all its pages (waypost_app, inside the caller's transaction)."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

_THROTTLE = """
WITH state AS (
    SELECT id, throttle_per_minute / 60.0 AS rate, throttle_tokens AS tokens,
           COALESCE(throttle_filled_at, waypost_now()) AS filled_at, throttle_filled_at IS NULL AS is_first
    FROM campaign_runs WHERE tenant_id = %(tenant)s AND id = %(run)s FOR NO KEY UPDATE
), level AS (
    SELECT *, LEAST(GREATEST(rate, 1), tokens + GREATEST(EXTRACT(epoch FROM waypost_now() - filled_at), 0) * rate)
           + CASE WHEN is_first THEN 1 ELSE 0 END AS tokens_now FROM state
), granting AS (
    SELECT *, LEAST(%(wanted)s, floor(tokens_now))::int AS granted FROM level
)
UPDATE campaign_runs r SET throttle_tokens = g.tokens_now - g.granted, throttle_filled_at = waypost_now()
FROM granting g WHERE r.tenant_id = %(tenant)s AND r.id = g.id
RETURNING g.granted, make_interval(secs => GREATEST(0, 1 - (g.tokens_now - g.granted)) / g.rate)
"""


async def take_throttle(connection: Connection, *, tenant: UUID, run: UUID, wanted: int) -> tuple[int, timedelta]:
    """Of a throttled run's rate, at most `wanted`: what is granted, and how long until there is more."""
    row = await (await connection.execute(_THROTTLE, {"tenant": tenant, "run": run, "wanted": wanted})).fetchone()
    return (row[0], row[1]) if row else (0, timedelta(seconds=1))
