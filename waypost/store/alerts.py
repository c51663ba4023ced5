"""Alerts: what a person should look at, since when, on what evidence, and what to do (role waypost_relay).

A subject that is found again keeps its alert; one that is not found any more ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from waypost.messaging.values import Lane
from waypost.store.alert_rules import ADVICE, QUERIES, Bounds, Rule

Connection = AsyncConnection[Any]
Found = tuple[str, dict[str, Any]]
"""(subject, evidence)."""

_RAISE = """
INSERT INTO alerts (rule, subject, evidence, advice)
SELECT %(rule)s, f.subject, f.evidence, %(advice)s
FROM unnest(%(subjects)s::text[], %(evidence)s::jsonb[]) AS f (subject, evidence)
ORDER BY f.subject
ON CONFLICT (rule, subject) WHERE ended_at IS NULL
    DO UPDATE SET seen_at = waypost_now(), evidence = excluded.evidence, advice = excluded.advice
"""

_END = """
UPDATE alerts SET ended_at = waypost_now()
WHERE rule = %(rule)s AND ended_at IS NULL AND NOT subject = ANY(%(subjects)s::text[])
"""


async def evaluate(connection: Connection, rule: Rule, bounds: Bounds) -> int:
    """Raise, refresh and end the alerts of one rule that is a query; how many hold now."""
    cursor = await connection.execute(QUERIES[rule], bounds.values())
    found = [(row[0], row[1]) for row in await cursor.fetchall()]
    await settle(connection, rule, found)
    return len(found)


async def settle(connection: Connection, rule: Rule, found: Sequence[Found]) -> None:
    """The alerts of a rule are these, and no others."""
    subjects = [subject for subject, _ in found]
    if found:
        values = {
            "rule": rule.value,
            "advice": ADVICE[rule],
            "subjects": subjects,
            "evidence": [Jsonb(evidence) for _, evidence in found],
        }
        await connection.execute(_RAISE, values)
    await connection.execute(_END, {"rule": rule.value, "subjects": subjects})


# The pairs of lane, tenant and account with ready rows, by a loose scan of the index; the oldest due row of each.
_LANES = """
WITH RECURSIVE pairs AS (
    (SELECT lane, tenant_id, account_id FROM messages WHERE phase = 'ready' AND run_id IS NULL
     ORDER BY lane, tenant_id, account_id LIMIT 1)
    UNION ALL
    SELECT n.lane, n.tenant_id, n.account_id FROM pairs p CROSS JOIN LATERAL (
        SELECT lane, tenant_id, account_id FROM messages
        WHERE phase = 'ready' AND run_id IS NULL AND (lane, tenant_id, account_id) > (p.lane, p.tenant_id, p.account_id)
        ORDER BY lane, tenant_id, account_id LIMIT 1) n
), due AS (
    SELECT p.lane, p.tenant_id, o.due_at,
           CASE p.lane WHEN 'fast' THEN t.window_fast ELSE t.window_bulk END AS width
    FROM pairs p
    JOIN tenants t ON t.id = p.tenant_id AND t.state = 'active'
    JOIN provider_accounts a ON a.id = p.account_id AND a.state = 'open'
    CROSS JOIN LATERAL (
        SELECT due_at FROM messages
        WHERE phase = 'ready' AND run_id IS NULL AND lane = p.lane AND tenant_id = p.tenant_id
          AND account_id = p.account_id ORDER BY due_at LIMIT 1) o
    WHERE o.due_at < waypost_now()
), judged AS (
    SELECT lane, tenant_id, due_at, due_at < waypost_now() - %(stalled)s AND width > (
               SELECT count(*) FROM messages d
               WHERE d.phase = 'dispatched' AND d.lane = due.lane AND d.tenant_id = due.tenant_id) AS stalled
    FROM due
)
SELECT lane, extract(epoch FROM waypost_now() - min(due_at))::float8,
       COALESCE((array_agg(DISTINCT tenant_id) FILTER (WHERE stalled))[1:10], '{}')
FROM judged GROUP BY lane
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePressure:
    """What waits in a lane, of active tenants and open accounts."""

    lane: Lane
    oldest_s: float
    """Seconds that the oldest due message has waited."""
    stalled: tuple[UUID, ...]
    """Tenants, ten at most, with room in their window whose due messages nobody starts."""


async def lanes(connection: Connection, bounds: Bounds) -> list[LanePressure]:
    """The lanes in which due messages wait."""
    rows = await (await connection.execute(_LANES, bounds.values())).fetchall()
    return [LanePressure(lane=Lane(row[0]), oldest_s=row[1], stalled=tuple(row[2])) for row in rows]


async def settle_lanes(connection: Connection, found: Sequence[LanePressure], bounds: Bounds) -> dict[Rule, int]:
    """Raise, refresh and end the alerts of lanes; how many of each hold now."""
    stalled = [_stalled(each) for each in found if each.stalled]
    old = [_old(each) for each in found if timedelta(seconds=each.oldest_s) > bounds.age(each.lane)]
    await settle(connection, Rule.DISPATCHER_STALLED, stalled)
    await settle(connection, Rule.OLDEST_AGE, old)
    return {Rule.DISPATCHER_STALLED: len(stalled), Rule.OLDEST_AGE: len(old)}


def _stalled(each: LanePressure) -> Found:
    tenants = [str(tenant) for tenant in each.stalled]
    return each.lane.value, {"lane": each.lane.value, "tenant_ids": tenants, "seconds": round(each.oldest_s)}


def _old(each: LanePressure) -> Found:
    return each.lane.value, {"lane": each.lane.value, "seconds": round(each.oldest_s)}
