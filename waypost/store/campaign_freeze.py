"""Freezing an audience: one set-based statement makes a row of the ledger of every recipient (waypost_relay)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import class_row

from waypost.messaging.values import Channel

Connection = AsyncConnection[Any]

SHARD_SIZE = 10_000
MAX_SHARDS = 4
"""So many pages of a run are worked on at once: a small campaign finds room beside it, and memory has its bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunToPrepare:
    """A run as the freeze finds it, locked."""

    now: datetime
    state: str
    definition: dict[str, Any]
    channel: str
    kind: str
    based_on: UUID | None
    scheduled_at: datetime
    audience: int | None
    shards: int | None
    decide_at: datetime | None
    approved_at: datetime | None
    tenant_state: str
    approval_over: int | None
    time_zone: str


# A campaign's row before its run's, as everybody locks them.
_LOCK_CAMPAIGN = """
SELECT c.id FROM campaign_runs r JOIN campaigns c ON c.tenant_id = r.tenant_id AND c.id = r.campaign_id
WHERE r.tenant_id = %s AND r.id = %s FOR NO KEY UPDATE OF c
"""

_READ = """
SELECT waypost_now() AS now, r.state, r.definition, r.channel, r.kind, r.based_on,
       r.scheduled_at, r.audience, r.shards, r.decide_at, r.approved_at, t.state AS tenant_state, t.approval_over,
       t.time_zone
FROM campaign_runs r JOIN tenants t ON t.id = r.tenant_id
WHERE r.tenant_id = %s AND r.id = %s
"""
_LOCK = _READ + "FOR NO KEY UPDATE OF r"


async def lock_run(connection: Connection, *, tenant: UUID, run: UUID) -> RunToPrepare | None:
    """The run, locked against all who move it; rows that name it may be made meanwhile."""
    await connection.execute(_LOCK_CAMPAIGN, (tenant, run))
    async with connection.cursor(row_factory=class_row(RunToPrepare)) as cursor:
        await cursor.execute(_LOCK, (tenant, run))
        return await cursor.fetchone()


async def read_run(connection: Connection, *, tenant: UUID, run: UUID) -> RunToPrepare | None:
    """The run as it is, locked by nobody."""
    async with connection.cursor(row_factory=class_row(RunToPrepare)) as cursor:
        await cursor.execute(_READ, (tenant, run))
        return await cursor.fetchone()


# Whoever makes a run's rows holds this, and nothing of the run's that anybody else wants. Who comes second waits long.
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('waypost/freeze/' || %s::text, 0))"


async def freeze_alone(connection: Connection, *, run: UUID) -> None:
    """Wait until nobody else prepares the run; from here on the transaction may take as long as a million rows do."""
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    await connection.execute("SET LOCAL lock_timeout = 0")
    await connection.execute(_ALONE, (run,))
    await connection.execute("SET LOCAL lock_timeout TO DEFAULT")


_ZONES = """
SELECT DISTINCT time_zone FROM contacts WHERE tenant_id = %s AND time_zone IS NOT NULL
"""


async def zones_of(connection: Connection, *, tenant: UUID) -> list[str]:
    """Every zone that a contact of the tenant is in."""
    return [row[0] for row in await (await connection.execute(_ZONES, (tenant,))).fetchall()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """What decides of each recipient: when it is due, which variant it gets, whether it waits for a decision."""

    due_at: datetime
    """Where a contact's zone has no time of its own below."""
    due_by_zone: Mapping[str, datetime]
    spread: timedelta
    expires_in: timedelta
    first_share: float
    """Of the audience, what is in cohort 0."""
    weights: tuple[int, ...]
    rest_has_variant: bool
    """Cohort 1 gets its variant at once (a canary), or waits for the winner."""
    templates: tuple[tuple[UUID, int], ...]
    """(template, version) by variant."""


# The audience, one row an address (the oldest contact's), each with two even fractions of its own that are the same
# whenever they are made: for the cohort and variant, and for the spread. The row's id is made of run and contact
# (UUIDv8), and (tenant, 'campaign', run, contact) is the ledger's own unique key.
_INSERT = """
WITH chosen AS MATERIALIZED (
    SELECT DISTINCT ON ({key}) c.id, {address} AS address, c.time_zone,
           hashtextextended(c.id::text, {seed}) AS h, hashtextextended(c.id::text, {seed} + 1) AS g
    FROM contacts c
    WHERE c.tenant_id = {tenant} AND {address} IS NOT NULL AND c.id IN ({audience}) {exclude}
    ORDER BY {key}, c.created_at, c.id
), size AS (
    SELECT GREATEST(1, LEAST({max_shards}, ceil(count(*) / {shard_size}::float8)))::int AS shards FROM chosen
), placed AS (
    SELECT c.id, c.address, ((c.h >> 40) & 1048575) % s.shards AS shard,
           ((c.h & 1048575) / 1048576.0) AS lot, ((c.g & 1048575) / 1048576.0) AS draw,
           COALESCE(z.due_at, {due_at}) + {spread} * (((c.g >> 32) & 1048575) / 1048576.0) AS due_at
    FROM chosen c CROSS JOIN size s
    LEFT JOIN unnest({zones}::text[], {dues}::timestamptz[]) AS z (zone, due_at) ON z.zone = c.time_zone
), drawn AS (
    SELECT p.*, CASE WHEN p.lot < {first_share} THEN 0 ELSE 1 END AS cohort,
           (SELECT min(w.place) - 1 FROM unnest({bounds}::float8[]) WITH ORDINALITY AS w (bound, place)
            WHERE p.draw < w.bound) AS variant
    FROM placed p
), made AS (
    INSERT INTO messages (tenant_id, id, source, source_id, part, lane, class, mode, channel, contact_id, address,
        sender_id, account_id, template_id, template_version, phase, due_at, send_at, expires_at, run_id, shard, cohort,
        variant)
    SELECT {tenant},
           overlay(overlay(md5({run_text} || d.id::text) placing '8' from 13) placing '8' from 17)::uuid,
           'campaign', r.id, d.id::text, 'bulk', 'marketing', r.mode, r.channel, d.id, d.address, r.sender_id,
           r.account_id, t.template_id, t.version, 'ready', d.due_at, d.due_at, d.due_at + {expires_in}, r.id,
           d.shard, d.cohort,
           CASE WHEN d.cohort = 1 AND NOT {rest_has_variant} THEN -1 ELSE d.variant END
    FROM drawn d
    JOIN campaign_runs r ON r.tenant_id = {tenant} AND r.id = {run}
    LEFT JOIN unnest({templates}::uuid[], {versions}::int[]) WITH ORDINALITY AS t (template_id, version, place)
        ON t.place = d.variant + 1 AND (d.cohort = 0 OR {rest_has_variant})
    ON CONFLICT DO NOTHING
    RETURNING shard
)
SELECT count(*), COALESCE(max(shard), 0) + 1 FROM made
"""

RESEND = "resend"

# Who a run did not reach: what may be tried again without writing to anybody twice.
_NOT_REACHED = """
SELECT f.contact_id FROM messages f
WHERE f.tenant_id = {} AND f.run_id = {} AND f.outcome <> 'sent' AND f.outcome IN ('failed', 'expired')
"""


def not_reached(*, tenant: UUID, run: UUID) -> sql.Composed:
    """A query of the contacts whose message of a run failed or expired."""
    return sql.SQL(_NOT_REACHED).format(sql.Literal(tenant), sql.Literal(run))


_EXCLUDE = "AND NOT EXISTS (SELECT FROM ({excluded}) AS e (id) WHERE e.id = c.id)"


async def freeze(
    connection: Connection,
    *,
    tenant: UUID,
    run: UUID,
    channel: Channel,
    audience: sql.Composable,
    exclude: sql.Composable | None,
    how: Freeze,
) -> tuple[int, int]:
    """Make the recipients' rows; how many, in how many shards. `audience` selects ids of the tenant's contacts.

    The caller is `freeze_alone`, and holds neither the campaign's row nor the run's.
    """
    email = channel is Channel.EMAIL
    total = sum(how.weights)
    bounds = [sum(how.weights[: place + 1]) / total for place in range(len(how.weights))]
    bounds[-1] = 2.0  # the last takes what rounding leaves
    literal = sql.Literal
    statement = sql.SQL(_INSERT).format(
        key=sql.SQL("lower(c.email)" if email else "c.phone"),
        address=sql.SQL("c.email" if email else "c.phone"),
        seed=literal(run.int & 0x7FFFFFFFFFFF),
        tenant=literal(tenant),
        run=literal(run),
        run_text=literal(str(run)),
        audience=audience,
        exclude=sql.SQL("") if exclude is None else sql.SQL(_EXCLUDE).format(excluded=exclude),
        max_shards=literal(MAX_SHARDS),
        shard_size=literal(SHARD_SIZE),
        due_at=literal(how.due_at),
        spread=literal(how.spread),
        zones=literal(list(how.due_by_zone)),
        dues=literal(list(how.due_by_zone.values())),
        first_share=literal(how.first_share),
        bounds=literal(bounds),
        expires_in=literal(how.expires_in),
        rest_has_variant=literal(how.rest_has_variant),
        templates=literal([template for template, _ in how.templates]),
        versions=literal([version for _, version in how.templates]),
    )
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return row[0], row[1]


_PREPARED = """
UPDATE campaign_runs SET audience = %(audience)s, shards = %(shards)s, state = %(state)s, state_reason = %(reason)s,
       prepared_at = waypost_now(), started_at = CASE WHEN %(state)s = 'sending' THEN waypost_now() END,
       decide_at = waypost_now() + %(decide_after)s, updated_at = waypost_now()
WHERE tenant_id = %(tenant)s AND id = %(run)s
"""

_CAMPAIGN = """
UPDATE campaigns c SET state = %(state)s, updated_at = waypost_now() FROM campaign_runs r
WHERE r.tenant_id = %(tenant)s AND r.id = %(run)s AND c.tenant_id = r.tenant_id AND c.id = r.campaign_id
  AND c.last_run = r.number
"""


async def set_prepared(
    connection: Connection,
    *,
    tenant: UUID,
    run: UUID,
    audience: int,
    shards: int,
    state: str,
    reason: str | None,
    decide_after: timedelta | None,
) -> None:
    """The rows are there: the run sends, or waits for somebody's word."""
    values = {
        "tenant": tenant,
        "run": run,
        "audience": audience,
        "shards": shards,
        "state": state,
        "reason": reason,
        "decide_after": decide_after,
    }
    await connection.execute(_PREPARED, values)
    await connection.execute(_CAMPAIGN, values)
