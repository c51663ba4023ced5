"""A run's counts: a trigger adds to them whenever a recipient changes, a loop folds, one look reads."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Recipients by outcome, and what was reported of them since."""

    sent: int = 0
    maybe_sent: int = 0
    failed: int = 0
    suppressed: int = 0
    skipped: int = 0
    expired: int = 0
    cancelled: int = 0
    delivered: int = 0
    opened: int = 0
    machine_opened: int = 0
    clicked: int = 0
    bounced: int = 0
    complained: int = 0
    undeliverable: int = 0
    unsubscribed: int = 0
    converted: int = 0

    @property
    def ended(self) -> int:
        """Recipients who have their outcome."""
        return (
            self.sent + self.maybe_sent + self.failed + self.suppressed + self.skipped + self.expired + self.cancelled
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCounts(Counts):
    """The counts of one variant; -1: who had none when it ended."""

    variant: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketCounts(VariantCounts):
    """What changed in the five minutes that begin at `bucket`."""

    bucket: datetime


_COLUMNS = [each.name for each in fields(Counts)]
_SUMS = ", ".join(f"COALESCE(sum({name}), 0)::bigint AS {name}" for name in _COLUMNS)
_LIST = ", ".join(_COLUMNS)

# One snapshot over both: a fold that commits meanwhile moves nothing between them for this statement.
_COUNTS = f"""
SELECT variant, {_SUMS} FROM (
    SELECT variant, {_LIST} FROM run_tallies WHERE run_id = %(run)s AND bucket = 'epoch' AND tenant_id = %(tenant)s
    UNION ALL
    SELECT variant, {_LIST} FROM run_tally_additions WHERE run_id = %(run)s AND tenant_id = %(tenant)s) both_of_them
GROUP BY variant ORDER BY variant
"""  # noqa: S608 - names of our own columns


async def counts_by_variant(connection: Connection, *, tenant: UUID, run: UUID) -> list[VariantCounts]:
    """A run's exact counts by variant, of this moment."""
    async with connection.cursor(row_factory=class_row(VariantCounts)) as cursor:
        await cursor.execute(_COUNTS, {"tenant": tenant, "run": run})
        return await cursor.fetchall()


def total(counts: list[VariantCounts]) -> Counts:
    """All variants together."""
    return Counts(**{name: sum(getattr(one, name) for one in counts) for name in _COLUMNS})


_SERIES = f"""
SELECT bucket, variant, {_SUMS} FROM (
    SELECT bucket, variant, {_LIST} FROM run_tallies
    WHERE run_id = %(run)s AND bucket > 'epoch' AND tenant_id = %(tenant)s
    UNION ALL
    SELECT date_bin('5 minutes', at, 'epoch'), variant, {_LIST} FROM run_tally_additions
    WHERE run_id = %(run)s AND tenant_id = %(tenant)s) both_of_them
GROUP BY bucket, variant ORDER BY bucket, variant LIMIT %(limit)s
"""  # noqa: S608 - names of our own columns


async def series(connection: Connection, *, tenant: UUID, run: UUID, limit: int) -> list[BucketCounts]:
    """A run's counts by five minutes and variant, the oldest first."""
    async with connection.cursor(row_factory=class_row(BucketCounts)) as cursor:
        await cursor.execute(_SERIES, {"tenant": tenant, "run": run, "limit": limit})
        return await cursor.fetchall()


_ADDED = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in _COLUMNS)

# One folder at a time: additions are deleted and added up in one transaction, so that a reader sees each of them once.
_FOLD_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('waypost/fold-tallies', 0))"
_FOLD = f"""
WITH taken AS (
    DELETE FROM run_tally_additions WHERE (run_id, id) IN (
        SELECT run_id, id FROM run_tally_additions ORDER BY run_id, id LIMIT %(limit)s)
    RETURNING *
), placed AS (
    SELECT tenant_id, run_id, variant, 'epoch'::timestamptz AS bucket, {_LIST} FROM taken
    UNION ALL
    SELECT tenant_id, run_id, variant, date_bin('5 minutes', at, 'epoch'), {_LIST} FROM taken
), folded AS (
    INSERT INTO run_tallies AS t (tenant_id, run_id, variant, bucket, {_LIST})
    SELECT tenant_id, run_id, variant, bucket, {_SUMS} FROM placed GROUP BY tenant_id, run_id, variant, bucket
    ON CONFLICT (run_id, bucket, variant) DO UPDATE SET {_ADDED}
)
SELECT count(*) FROM taken
"""  # noqa: S608 - names of our own columns


async def fold_tallies(connection: Connection, *, limit: int) -> int:
    """Fold additions into the totals; how many. None while another process does it."""
    locked = await (await connection.execute(_FOLD_LOCK)).fetchone()
    if locked is None or not locked[0]:
        return 0
    row = await (await connection.execute(_FOLD, {"limit": limit})).fetchone()
    assert row is not None
    count: int = row[0]
    return count
