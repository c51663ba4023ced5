"""What an audit reads of the ledger, and counts of it for drills and demos (role waypost_relay)."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.audit import Acceptance, AuditedAttempt, Comparison, LedgerAudit
from waypost.messaging.values import AttemptState, Outcome

Connection = AsyncConnection[Any]

_ATTEMPTS = """
SELECT a.id, a.message_id, a.state, a.resolution, a.provider_message_id, m.address, m.outcome
FROM attempts a JOIN messages m ON m.tenant_id = a.tenant_id AND m.id = a.message_id
"""


# A large ledger takes longer than any statement of a running process may, and so does comparing it. The cursor is
# declared in SQL, for a pipeline has no other on the server's side.
_AUDIT_PATIENCE = """
SELECT set_config('statement_timeout', '30min', true), set_config('idle_in_transaction_session_timeout', '30min', true)
"""
_DECLARE = "DECLARE ledger NO SCROLL CURSOR FOR " + _ATTEMPTS
_FETCH = "FETCH 5000 FROM ledger"
_CLOSE = "CLOSE ledger"


async def audited_attempts(connection: Connection) -> AsyncIterator[AuditedAttempt]:
    """Every attempt of the ledger, of all tenants, as of one moment; read piece by piece.

    The transaction's statements may take 30 minutes from here on.
    """
    await connection.execute(_AUDIT_PATIENCE)
    await connection.execute(_DECLARE)
    while rows := await (await connection.execute(_FETCH)).fetchall():
        for identity, message, state, resolution, provider_id, address, outcome in rows:
            yield AuditedAttempt(
                id=identity,
                message_id=message,
                state=AttemptState(state),
                resolution=resolution,
                provider_message_id=provider_id,
                address=address,
                outcome=Outcome(outcome) if outcome else None,
            )
    await connection.execute(_CLOSE)


async def probe_ids(connection: Connection) -> frozenset[UUID]:
    """The probes that quiet accounts made: in a provider's log, and of no message."""
    cursor = await connection.execute("SELECT id FROM probes")
    return frozenset(row[0] for row in await cursor.fetchall())


async def compare(connection: Connection, entries: Iterable[Acceptance]) -> LedgerAudit:
    """The whole ledger against a provider's log, read before; probes are of no message and are left out."""
    probes = await probe_ids(connection)
    comparison = Comparison([entry for entry in entries if entry.attempt_id not in probes])
    async for attempt in audited_attempts(connection):
        comparison.add(attempt)
    return comparison.result()


async def claim_count(connection: Connection) -> int:
    """How many attempts were ever claimed."""
    row = await (await connection.execute("SELECT count(*) FROM attempts")).fetchone()
    assert row is not None
    count: int = row[0]
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """The ledger in numbers."""

    messages: int
    without_outcome: int
    held: int
    claims: int
    """Attempts ever claimed."""
    undecided: int
    """Attempts in flight or unknown."""
    dup_accepts: int
    outcomes: Mapping[str, int]


_COUNTS = """
SELECT (SELECT jsonb_object_agg(COALESCE(outcome, ''), n) FROM
            (SELECT outcome, count(*) AS n FROM messages GROUP BY outcome) o),
       (SELECT count(*) FROM messages WHERE phase = 'held'),
       (SELECT count(*) FROM attempts),
       (SELECT count(*) FROM attempts WHERE state IN ('in_flight', 'unknown')),
       (SELECT count(*) FROM attempts WHERE dup_accept)
"""


async def ledger_counts(connection: Connection) -> LedgerCounts:
    """Count everything; scans the tables, so it is not for a loop over a large ledger."""
    row = await (await connection.execute(_COUNTS)).fetchone()
    assert row is not None
    outcomes: dict[str, int] = dict(row[0] or {})
    messages = sum(outcomes.values())
    without = outcomes.pop("", 0)
    return LedgerCounts(
        messages=messages,
        without_outcome=without,
        held=row[1],
        claims=row[2],
        undecided=row[3],
        dup_accepts=row[4],
        outcomes=outcomes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageStates:
    """Some messages in numbers."""

    held: int
    unknown: int
    """With an attempt whose result is not known."""
    tried_again: int
    """With more than one attempt."""
    outcomes: Mapping[str, int]


_STATES = """
WITH these AS (
    SELECT m.*, EXISTS (SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
                        AND a.state = 'unknown') AS unknown
    FROM messages m WHERE m.id = ANY(%s)
)
SELECT (SELECT count(*) FROM these WHERE phase = 'held'), (SELECT count(*) FROM these WHERE unknown),
       (SELECT count(*) FROM these WHERE attempts > 1),
       (SELECT jsonb_object_agg(COALESCE(outcome, 'none'), n) FROM
            (SELECT outcome, count(*) AS n FROM these GROUP BY outcome) o)
"""


async def message_states(connection: Connection, messages: Sequence[UUID]) -> MessageStates:
    """Count these messages."""
    row = await (await connection.execute(_STATES, (list(messages),))).fetchone()
    assert row is not None
    return MessageStates(held=row[0], unknown=row[1], tried_again=row[2], outcomes=row[3] or {})


_UNSETTLED = """
SELECT concat(m.phase, '/' || m.hold_reason, ': attempt ' || a.state, ' ' || a.code),
       count(*), max(extract(epoch FROM waypost_now() - COALESCE(a.claimed_at, m.dispatched_at, m.due_at)))::float8
FROM messages m LEFT JOIN attempts a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
    AND a.state IN ('in_flight', 'unknown')
WHERE m.outcome IS NULL GROUP BY 1 ORDER BY 2 DESC
"""


async def unsettled(connection: Connection) -> dict[str, str]:
    """What messages without an outcome wait for: how many, and the age in seconds of the oldest."""
    rows = await (await connection.execute(_UNSETTLED)).fetchall()
    return {row[0]: f"{row[1]} ({row[2]:.0f} s)" for row in rows}


_ALERTS = "SELECT rule, subject, since FROM alerts ORDER BY since"


async def alerts_fired(connection: Connection) -> list[tuple[str, str, datetime]]:
    """Every alert that was ever raised: its rule, what it is about, and since when it held."""
    return [(row[0], row[1], row[2]) for row in await (await connection.execute(_ALERTS)).fetchall()]


async def database_time(connection: Connection) -> datetime:
    """The database's clock, to compare what it dates with."""
    row = await (await connection.execute("SELECT waypost_now()")).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


_EXECUTIONS = "SELECT id FROM messages WHERE phase = 'dispatched'"


async def dispatched_messages(connection: Connection) -> list[UUID]:
    """The messages that an execution should be open for."""
    return [row[0] for row in await (await connection.execute(_EXECUTIONS)).fetchall()]
