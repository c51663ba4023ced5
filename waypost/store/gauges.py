"""What an operator watches, counted in bounded time (role waypost_relay)."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.messaging.values import Lane

Connection = AsyncConnection[Any]

COUNT_AT_MOST = 100_000
"""Counting stops here: a held backlog of millions is not walked for a gauge."""

# Rows that wait in a lane, up to the bound; executions that are open, and the tenants that may have no more of them.
_LANE = """
WITH opened AS (
    SELECT tenant_id, count(*) AS executions FROM messages
    WHERE phase = 'dispatched' AND run_id IS NULL AND lane = %(lane)s GROUP BY tenant_id
), judged AS (
    SELECT o.executions, CASE %(lane)s WHEN 'fast' THEN t.window_fast ELSE t.window_bulk END AS width
    FROM opened o JOIN tenants t ON t.id = o.tenant_id
)
SELECT (SELECT count(*) FROM (SELECT FROM messages
            WHERE phase = 'ready' AND run_id IS NULL AND lane = %(lane)s LIMIT %(most)s) waiting)
           AS ready,
       COALESCE((SELECT sum(executions) FROM judged), 0)::bigint AS open_executions,
       (SELECT count(*) FROM judged WHERE executions >= width) AS full_windows
"""

# Each provider account: whether it takes messages, and what of its daily quota is used.
_ACCOUNTS = """
SELECT a.id, a.state = 'paused' AS paused, a.daily_quota,
       CASE WHEN b.day = (waypost_now() AT TIME ZONE 'UTC')::date THEN b.used_today ELSE 0 END AS used_today
FROM provider_accounts a LEFT JOIN account_budgets b ON b.account_id = a.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneGauge:
    """The state of one lane."""

    ready: int
    """Messages that wait in their rows, due or not; COUNT_AT_MOST at most."""
    open_executions: int
    full_windows: int
    """Tenants that may have no more executions open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountGauge:
    """The state of one provider account."""

    id: UUID
    paused: bool
    daily_quota: int | None
    used_today: int


async def lane_gauge(connection: Connection, lane: Lane) -> LaneGauge:
    """Count one lane."""
    async with connection.cursor(row_factory=class_row(LaneGauge)) as cursor:
        await cursor.execute(_LANE, {"lane": lane, "most": COUNT_AT_MOST})
        row = await cursor.fetchone()
    assert row is not None
    return row


async def account_gauges(connection: Connection) -> list[AccountGauge]:
    """All provider accounts."""
    async with connection.cursor(row_factory=class_row(AccountGauge)) as cursor:
        await cursor.execute(_ACCOUNTS)
        return await cursor.fetchall()
