"""The claim and the record: the two commits around a provider call, in plain SQL with names.

Both run as waypost_app for one tenant; the caller's transaction commits them.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.ids import attempt_id
from waypost.messaging.values import AttemptState, Outcome, Phase

Connection = AsyncConnection[Any]

# The claim. It commits before any byte leaves, and only where the message is still ours to send. KEY SHARE on the
# tenant's row conflicts with the closer's and suspender's FOR UPDATE: no claim commits after theirs. The partial unique
# index attempts_one_open is what makes a second open attempt impossible, whoever tries. A claimed row is `dispatched`,
# for what is `ready` or `waiting` the sweeps may expire or cancel.
#
# (phase || ''), (state || ''), here and wherever a row is looked up by its key: no partial index is about that, so the
# key's own index is taken. A partial index of open rows looks smaller than it is: to statistics it is all but empty,
# and while a long transaction keeps vacuum away it holds an entry for whatever was sent meanwhile.
#
# An attempt's month is its message's: the constraint holds within a month, and so for every message. Whoever says the
# month when an attempt is looked up by its id has only that month's partition read.
_CLAIM = """
WITH owner AS (
    SELECT id FROM tenants WHERE id = %(tenant)s AND state = 'active' FOR KEY SHARE
), mine AS (
    UPDATE messages m SET attempts = m.attempts + 1, phase = 'dispatched',
           dispatched_at = COALESCE(m.dispatched_at, waypost_now())
    FROM owner, provider_accounts a
    WHERE m.tenant_id = owner.id AND m.id = %(message)s AND (m.phase || '') IN ('ready', 'dispatched', 'waiting')
      AND m.attempts = %(number)s - 1 AND m.outcome IS NULL AND m.cancel_requested_at IS NULL
      AND m.expires_at > waypost_now() AND a.id = m.account_id AND a.state = 'open'
    RETURNING m.tenant_id, m.id, m.account_id, m.created_at
)
INSERT INTO attempts (tenant_id, id, message_id, number, account_id, claimed_at, content_hash, process, month)
SELECT tenant_id, %(attempt)s, id, %(number)s, account_id, waypost_now(), %(content_hash)s, %(process)s,
       waypost_month(created_at)
FROM mine
ON CONFLICT DO NOTHING
RETURNING id
"""


async def claim(
    connection: Connection, *, tenant: UUID, message: UUID, number: int, content_hash: bytes, process: str
) -> UUID | None:
    """Open attempt `number` of a message; its id, or None when the message may not be sent (any more)."""
    cursor = await connection.execute(
        _CLAIM,
        {
            "tenant": tenant,
            "message": message,
            "number": number,
            "attempt": attempt_id(message=message, number=number),
            "content_hash": content_hash,
            "process": process,
        },
    )
    row = await cursor.fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a provider call came to, for the attempt and for its message."""

    state: AttemptState
    phase: Phase
    code: str | None = None
    provider_message_id: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    """The outcome's reason, or why the message waits."""
    retry_after: timedelta | None = None
    """With phase ready: how long the row waits."""
    starts_fallback: bool = False
    """The fallback's clock starts now (it is out there), or it is due at once (`outcome` failed)."""


# The record. Evidence may have come first: an accepted attempt stays accepted, an outcome is set once. A login code's
# first attempt that was given up may still come back: its message is the second attempt's by then, so only an
# acceptance moves it, and beside another open attempt it keeps its state (evidence.py says the same of events).
# A row that waits again does so a moment at least, so that its execution has closed before the next one starts.
_RECORD = """
WITH before AS (
    SELECT tenant_id, id, message_id, state FROM attempts
    WHERE tenant_id = %(tenant)s AND id = %(attempt)s AND month = %(month)s
      AND (state || '') IN ('in_flight', 'unknown', 'abandoned')
    FOR NO KEY UPDATE
), others AS (
    SELECT count(*) FILTER (WHERE o.state IN ('in_flight', 'unknown', 'accepted', 'assumed_sent')) > 0 AS any_open,
           count(*) FILTER (WHERE o.state = 'accepted') > 0 AS any_accepted
    FROM before b JOIN attempts o ON o.tenant_id = b.tenant_id AND o.message_id = b.message_id AND o.id <> b.id
    WHERE b.state = 'abandoned' AND o.month = %(month)s
), ended AS (
    UPDATE attempts a SET recorded_at = waypost_now(), code = %(code)s,
           provider_message_id = COALESCE(%(provider_message_id)s, a.provider_message_id),
           state = CASE WHEN b.state = 'abandoned' AND (%(state)s IN ('unknown', 'assumed_sent')
                        OR %(state)s = 'accepted' AND o.any_open) THEN 'abandoned' ELSE %(state)s END,
           resolution = CASE WHEN b.state <> 'abandoned' OR %(state)s <> 'accepted' THEN a.resolution
                        WHEN o.any_accepted THEN 'allowed_duplicate' ELSE 'evidence' END
    FROM before b, others o WHERE a.tenant_id = b.tenant_id AND a.id = b.id AND a.month = %(month)s
    RETURNING a.tenant_id, a.message_id, b.state <> 'abandoned' OR %(state)s = 'accepted' AS decides
), moved AS (
    UPDATE messages m SET phase = %(phase)s, outcome = %(outcome)s,
           outcome_reason = CASE WHEN %(outcome)s::text IS NULL THEN NULL ELSE %(reason)s END,
           outcome_at = CASE WHEN %(outcome)s::text IS NULL THEN NULL ELSE waypost_now() END,
           hold_reason = CASE WHEN %(outcome)s::text IS NULL THEN %(reason)s END,
           due_at = CASE WHEN %(phase)s = 'ready'
                    THEN waypost_now() + GREATEST(%(retry_after)s, interval '200 ms') ELSE m.due_at END,
           dispatched_at = CASE WHEN %(phase)s = 'ready' THEN NULL ELSE m.dispatched_at END
    FROM ended e
    WHERE m.tenant_id = e.tenant_id AND m.id = e.message_id AND m.outcome IS NULL AND e.decides
    RETURNING m.tenant_id, m.id
)
SELECT EXISTS (SELECT FROM moved)
"""

# Evidence that came before the record left the provider's id unknown; that much is still told.
_RECORD_LATE = """
UPDATE attempts SET recorded_at = waypost_now(),
       provider_message_id = COALESCE(provider_message_id, %(provider_message_id)s)
WHERE tenant_id = %(tenant)s AND id = %(attempt)s AND month = %(month)s AND recorded_at IS NULL
"""

# The fallback's clock starts. So many a tenant wait in their primary's execution; beyond that the row alone waits, for
# executions are bounded, and is dispatched on its own when it is due; so is a journey's, always. Its send_at says when
# it was due first.
_START_FALLBACK = """
UPDATE messages f SET
    due_at = waypost_now() + CASE WHEN p.outcome = 'failed' THEN interval '0' ELSE p.fallback_after END,
    send_at = CASE WHEN f.enrollment_id IS NULL THEN f.send_at ELSE
              waypost_now() + CASE WHEN p.outcome = 'failed' THEN interval '0' ELSE p.fallback_after END END,
    phase = CASE WHEN f.enrollment_id IS NOT NULL THEN 'ready'
                 WHEN (SELECT count(*) FROM (SELECT FROM messages w WHERE w.tenant_id = %(tenant)s
                       AND w.phase = 'waiting' AND w.due_at IS NOT NULL LIMIT 1000) waiting) < 1000
                 THEN 'waiting' ELSE 'ready' END
FROM messages p
WHERE p.tenant_id = %(tenant)s AND p.id = %(message)s AND f.tenant_id = p.tenant_id AND f.primary_id = p.id
  AND f.phase = 'waiting' AND f.due_at IS NULL
"""


async def start_fallback(connection: Connection, *, tenant: UUID, message: UUID) -> None:
    """The primary is out of our hands: date its fallback, unless that has been done."""
    await connection.execute(_START_FALLBACK, {"tenant": tenant, "message": message})


_FALLBACK = """
SELECT id, due_at FROM messages WHERE tenant_id = %s AND primary_id = %s AND phase = 'waiting' AND due_at IS NOT NULL
"""


async def waiting_fallback(connection: Connection, *, tenant: UUID, message: UUID) -> tuple[UUID, datetime] | None:
    """The fallback that an execution should wait for: its id and due time."""
    row = await (await connection.execute(_FALLBACK, (tenant, message))).fetchone()
    return (row[0], row[1]) if row else None


async def record(connection: Connection, *, tenant: UUID, attempt: UUID, month: date, ending: Ending) -> bool:
    """Write down how an attempt ended; False when the message had its outcome before, by evidence."""
    values = {
        "tenant": tenant,
        "attempt": attempt,
        "month": month,
        "state": ending.state,
        "code": ending.code,
        "provider_message_id": ending.provider_message_id,
        "phase": ending.phase,
        "outcome": ending.outcome,
        "reason": ending.reason,
        "retry_after": ending.retry_after or timedelta(),
    }
    row = await (await connection.execute(_RECORD, values)).fetchone()
    moved = row is not None and bool(row[0])
    if not moved:
        await connection.execute(_RECORD_LATE, values)
    return moved


# One written exception to "no blind retry": a login code is worthless late, so its first try is given up after about
# 20 seconds. It still matches evidence; a second acceptance is counted as an allowed duplicate.
_ABANDON = """
WITH given_up AS (
    UPDATE attempts SET state = 'abandoned', resolution = 'login_code_retry', resolved_at = waypost_now()
    WHERE tenant_id = %s AND id = %s AND month = %s AND (state || '') IN ('in_flight', 'unknown')
    RETURNING tenant_id, message_id
)
UPDATE messages m SET phase = 'dispatched' FROM given_up g
WHERE m.tenant_id = g.tenant_id AND m.id = g.message_id AND m.outcome IS NULL
RETURNING m.id
"""


async def abandon(connection: Connection, *, tenant: UUID, attempt: UUID, month: date) -> bool:
    """Give up an unknown attempt of a login code; False when it has been resolved meanwhile."""
    cursor = await connection.execute(_ABANDON, (tenant, attempt, month))
    return await cursor.fetchone() is not None
