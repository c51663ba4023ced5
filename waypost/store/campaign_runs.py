"""Runs as the loops and the orchestrator see them: due, driven, decided, completed, swept (waypost_relay)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRun:
    """A run that should have an execution."""

    tenant_id: UUID
    id: UUID
    placement: str
    channel: str
    number: int
    kind: str


# Asked for again after a while, for Temporal alone knows whether the execution is alive; asking starts nothing twice.
_DUE = """
WITH due AS (
    SELECT r.tenant_id, r.id FROM campaign_runs r JOIN tenants t ON t.id = r.tenant_id AND t.state = 'active'
    WHERE r.state IN ('scheduled', 'preparing', 'sending', 'paused')
      AND r.state IN ('scheduled', 'preparing', 'sending')
      AND r.scheduled_at <= waypost_now() + interval '200 ms'
      AND (r.driven_at IS NULL OR r.driven_at < waypost_now() - %(again)s)
    ORDER BY r.driven_at NULLS FIRST, r.scheduled_at LIMIT %(limit)s FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE campaign_runs r SET driven_at = waypost_now() FROM due d JOIN tenants t ON t.id = d.tenant_id
WHERE r.tenant_id = d.tenant_id AND r.id = d.id
RETURNING r.tenant_id, r.id, t.placement, r.channel, r.number, r.kind
"""


async def due_runs(connection: Connection, *, again: timedelta, limit: int) -> list[DueRun]:
    """Runs whose time has come and that nobody asked Temporal about for `again`."""
    async with connection.cursor(row_factory=class_row(DueRun)) as cursor:
        await cursor.execute(_DUE, {"again": again, "limit": limit})
        return await cursor.fetchall()


_NOT_DRIVEN = "UPDATE campaign_runs SET driven_at = NULL WHERE tenant_id = %s AND id = %s"


async def not_driven(connection: Connection, run: DueRun) -> None:
    """Temporal could not be asked: ask again at the next look."""
    await connection.execute(_NOT_DRIVEN, (run.tenant_id, run.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNow:
    """Where a run is."""

    now: datetime
    state: str
    state_reason: str | None
    campaign_id: UUID
    audience: int | None
    shards: int | None
    open_cohort: int
    winner: int | None
    decide_at: datetime | None
    definition: dict[str, Any]


_NOW = """
SELECT waypost_now() AS now, state, state_reason, campaign_id, audience, shards, open_cohort, winner, decide_at,
       definition
FROM campaign_runs WHERE tenant_id = %s AND id = %s
"""


# A campaign's row before its run's, as everybody locks them.
_LOCK_CAMPAIGN = """
SELECT c.id FROM campaign_runs r JOIN campaigns c ON c.tenant_id = r.tenant_id AND c.id = r.campaign_id
WHERE r.tenant_id = %s AND r.id = %s FOR NO KEY UPDATE OF c
"""


async def lock_now(connection: Connection, *, tenant: UUID, run: UUID) -> RunNow | None:
    """Where a run is, locked FOR UPDATE: claims that are under way commit first, later ones see what is decided."""
    await connection.execute(_LOCK_CAMPAIGN, (tenant, run))
    async with connection.cursor(row_factory=class_row(RunNow)) as cursor:
        await cursor.execute(_NOW + "FOR UPDATE", (tenant, run))
        return await cursor.fetchone()


async def read_now(connection: Connection, *, tenant: UUID, run: UUID) -> RunNow | None:
    """Where a run is, without waiting for anybody who prepares or moves it."""
    async with connection.cursor(row_factory=class_row(RunNow)) as cursor:
        await cursor.execute(_NOW, (tenant, run))
        return await cursor.fetchone()


_OPEN_COHORT = """
WITH released AS (
    UPDATE campaign_runs SET open_cohort = 1, winner = %(winner)s, decide_at = NULL, released_at = waypost_now(),
           updated_at = waypost_now()
    WHERE tenant_id = %(tenant)s AND id = %(run)s AND open_cohort = 0 RETURNING id, shards
), told AS (
    INSERT INTO outbox (workflow_id, signal)
    SELECT 'campaign/' || id || '/shard-' || n, 'wake' FROM released, generate_series(0, shards - 1) AS n
)
SELECT pg_notify('waypost_outbox', '')
"""


async def release_rest(connection: Connection, *, tenant: UUID, run: UUID, winner: int | None) -> None:
    """Those who waited go out, with the winner's content where they waited for it; their shards are woken."""
    await connection.execute(_OPEN_COHORT, {"tenant": tenant, "run": run, "winner": winner})


_FIRST_SHARE_WAITING = """
SELECT count(*) FROM generate_series(0, %(shards)s - 1) AS s (shard) CROSS JOIN LATERAL (
    SELECT FROM messages m WHERE m.run_id = %(run)s AND m.shard = s.shard AND m.cohort = 0
      AND m.phase <> 'closed' AND m.phase <> 'held') m
"""


async def first_share_waiting(connection: Connection, *, run: UUID, shards: int) -> int:
    """How many of the first share have not been handed over yet, for whatever reason."""
    return await _count(connection, _FIRST_SHARE_WAITING, {"run": run, "shards": shards})


_PUT_OFF = """
UPDATE campaign_runs SET decide_at = waypost_now() + %(after)s, updated_at = waypost_now()
WHERE tenant_id = %(tenant)s AND id = %(run)s
"""


async def put_off_decision(connection: Connection, *, tenant: UUID, run: UUID, after: timedelta) -> None:
    """Decide so much later, for the first share is not out yet."""
    await connection.execute(_PUT_OFF, {"tenant": tenant, "run": run, "after": after})


_SET_STATE = """
WITH changed AS (
    UPDATE campaign_runs SET state = %(state)s, state_reason = %(reason)s, updated_at = waypost_now(),
           ended_at = CASE WHEN %(state)s IN ('completed', 'cancelled') THEN waypost_now() ELSE ended_at END
    WHERE tenant_id = %(tenant)s AND id = %(run)s RETURNING campaign_id, number
)
UPDATE campaigns c SET state = %(state)s, updated_at = waypost_now() FROM changed
WHERE c.tenant_id = %(tenant)s AND c.id = changed.campaign_id AND c.last_run = changed.number
"""


async def set_state(connection: Connection, *, tenant: UUID, run: UUID, state: str, reason: str | None) -> None:
    """Move a run, and its campaign with it where the run is its last. The caller holds the run's row."""
    await connection.execute(_SET_STATE, {"tenant": tenant, "run": run, "state": state, "reason": reason})


_ANY_OPEN = """
SELECT COALESCE((SELECT true FROM messages WHERE run_id = %s AND phase <> 'closed' LIMIT 1), false)
"""


async def any_open(connection: Connection, *, run: UUID) -> bool:
    """Whether a recipient of the run has no outcome yet."""
    await connection.execute("SET LOCAL statement_timeout = '60s'")  # campaign_open.patiently says why
    row = await (await connection.execute(_ANY_OPEN, (run,))).fetchone()
    assert row is not None
    return bool(row[0])


# What is left of cancelled runs, and of those of closing tenants. Rows that may have been sent are held and end by
# evidence; the claim checks the run's state, so nothing goes out meanwhile.
_END_ROWS = """
WITH runs AS (
    SELECT r.tenant_id, r.id, CASE WHEN t.state IN ('closing', 'closed') THEN 'tenant_closed'
                                   ELSE 'campaign_cancelled' END AS reason
    FROM campaign_runs r JOIN tenants t ON t.id = r.tenant_id
    WHERE r.state = 'cancelled' AND r.ended_at > waypost_now() - interval '2 days'
), found AS MATERIALIZED (
    SELECT m.tenant_id, m.id, r.reason FROM runs r CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM messages WHERE run_id = r.id AND phase <> 'closed' AND phase = 'ready'
        LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) m
    LIMIT %(limit)s
), ended AS (
    UPDATE messages m SET phase = 'closed', outcome = 'cancelled', outcome_reason = f.reason,
           outcome_at = waypost_now(), hold_reason = NULL
    FROM found f WHERE m.tenant_id = f.tenant_id AND m.id = f.id AND m.outcome IS NULL
    RETURNING m.id
)
SELECT count(*) FROM ended
"""


async def end_rows_of_cancelled(connection: Connection, *, limit: int) -> int:
    """Recipients of cancelled runs get that outcome; how many."""
    return await _count(connection, _END_ROWS, {"limit": limit})


_CANCEL_OF_CLOSED = """
WITH left_over AS MATERIALIZED (
    SELECT r.tenant_id, r.id, r.campaign_id FROM campaign_runs r JOIN tenants t ON t.id = r.tenant_id
    WHERE t.state IN ('closing', 'closed') AND r.state NOT IN ('completed', 'cancelled') LIMIT %(limit)s
), locked AS MATERIALIZED (
    SELECT l.tenant_id, l.id, l.campaign_id FROM left_over l
    JOIN campaigns c ON c.tenant_id = l.tenant_id AND c.id = l.campaign_id
    FOR NO KEY UPDATE OF c SKIP LOCKED
), gone AS (
    UPDATE campaign_runs r SET state = 'cancelled', state_reason = 'tenant_closed', ended_at = waypost_now(),
           updated_at = waypost_now()
    FROM locked l WHERE r.tenant_id = l.tenant_id AND r.id = l.id AND r.state NOT IN ('completed', 'cancelled')
    RETURNING r.tenant_id, r.campaign_id
), campaigns_gone AS (
    UPDATE campaigns c SET state = 'cancelled', updated_at = waypost_now() FROM gone g
    WHERE c.tenant_id = g.tenant_id AND c.id = g.campaign_id
)
SELECT count(*) FROM gone
"""


async def cancel_runs_of_closed_tenants(connection: Connection, *, limit: int) -> int:
    """Runs of tenants that are closing or closed end; how many."""
    return await _count(connection, _CANCEL_OF_CLOSED, {"limit": limit})


async def _count(connection: Connection, statement: str, values: dict[str, Any]) -> int:
    row = await (await connection.execute(statement, values)).fetchone()
    assert row is not None
    count: int = row[0]
    return count
