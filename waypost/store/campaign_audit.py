"""What an audit reads of campaign runs, for drills and benches (role waypost_relay). Scans; not for a loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

_PATIENCE = "SELECT set_config('statement_timeout', '10min', true)"

_RUN_OF_ATTEMPTS = """
SELECT a.id, m.run_id FROM messages m JOIN attempts a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
WHERE m.run_id = ANY(%s)
"""


async def run_of_attempts(connection: Connection, runs: Sequence[UUID]) -> dict[UUID, UUID]:
    """Every attempt of these runs, with its run."""
    await connection.execute(_PATIENCE)
    return dict(await (await connection.execute(_RUN_OF_ATTEMPTS, (list(runs),))).fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSum:
    """A run's recipients, counted from their rows."""

    state: str
    audience: int
    """As it was frozen."""
    rows: int
    outcomes: Mapping[str, int]
    reasons: Mapping[str, int]
    """Of those who were not sent to."""

    @property
    def with_outcome(self) -> int:
        """Recipients with one."""
        return sum(self.outcomes.values())


_SUM = """
SELECT r.state, COALESCE(r.audience, 0),
       (SELECT count(*) FROM messages WHERE run_id = r.id),
       (SELECT jsonb_object_agg(outcome, n) FROM (
            SELECT outcome, count(*) AS n FROM messages
            WHERE run_id = r.id AND outcome IS NOT NULL GROUP BY outcome) o),
       (SELECT jsonb_object_agg(outcome_reason, n) FROM (
            SELECT outcome_reason, count(*) AS n FROM messages
            WHERE run_id = r.id AND outcome IS NOT NULL AND outcome <> 'sent' GROUP BY outcome_reason) o)
FROM campaign_runs r WHERE r.id = %s
"""


async def run_sum(connection: Connection, run: UUID) -> RunSum:
    """Sum up one run. Raises LookupError where there is none."""
    await connection.execute(_PATIENCE)
    row = await (await connection.execute(_SUM, (run,))).fetchone()
    if row is None:
        raise LookupError(f"no run {run}")
    return RunSum(state=row[0], audience=row[1], rows=row[2], outcomes=row[3] or {}, reasons=row[4] or {})


_FORGET_DRIVEN = """
UPDATE campaign_runs SET driven_at = NULL WHERE id = ANY(%s) AND driven_at IS NOT NULL RETURNING id
"""


async def forget_driven(connection: Connection, runs: Sequence[UUID]) -> int:
    """As if nobody had ever asked for the runs' executions: the watchdog asks at its next look. How many."""
    return len(await (await connection.execute(_FORGET_DRIVEN, (list(runs),))).fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsAround:
    """The claims of a run around a moment."""

    in_flight: int
    """Recipients claimed before it, of whose calls nothing was recorded by then."""
    after: int
    """Recipients claimed after it."""


_AROUND = """
SELECT count(*) FILTER (WHERE a.claimed_at <= %(at)s AND (a.recorded_at IS NULL OR a.recorded_at > %(at)s)),
       count(*) FILTER (WHERE a.claimed_at > %(at)s)
FROM messages m JOIN attempts a ON a.tenant_id = m.tenant_id AND a.message_id = m.id WHERE m.run_id = %(run)s
"""


async def claims_around(connection: Connection, run: UUID, at: datetime) -> ClaimsAround:
    """What was under way at a moment, and what began after it."""
    await connection.execute(_PATIENCE)
    row = await (await connection.execute(_AROUND, {"run": run, "at": at})).fetchone()
    assert row is not None
    return ClaimsAround(in_flight=row[0], after=row[1])


_FEEDBACK = """
SELECT count(*), count(*) FILTER (WHERE delivery = 'none' AND NOT bounced)
FROM messages WHERE run_id = %s AND outcome = 'sent'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """How far the provider's events of a run have come."""

    sent: int
    without_delivery: int


async def feedback(connection: Connection, run: UUID) -> Feedback:
    """Recipients sent to, and those of them of whom no delivery or bounce is known."""
    await connection.execute(_PATIENCE)
    row = await (await connection.execute(_FEEDBACK, (run,))).fetchone()
    assert row is not None
    return Feedback(sent=row[0], without_delivery=row[1])
