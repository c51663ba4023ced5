"""Reading messages: the whole story of one, and lists of many by cursor. As waypost_app, for one tenant."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.rows import class_row

from waypost.store.database import Database
from waypost.store.pages import Place

MAX_ATTEMPTS = 100
MAX_VERDICTS = 200
MAX_EVENTS = 500

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message as the ledger has it, with the names of what it refers to."""

    id: UUID
    source: str
    source_id: UUID
    part: str
    primary_id: UUID | None
    fallback_id: UUID | None
    enrollment_id: UUID | None
    class_: str
    mode: str
    channel: str
    contact: str | None = field(repr=False)
    address: str = field(repr=False)
    sender: str
    account_id: UUID
    account: str
    template: str | None
    template_version: int | None
    tags: list[str] | None
    metadata: dict[str, Any] | None = field(repr=False)
    fallback_after: timedelta | None
    unknown_policy: str | None
    phase: str
    hold_reason: str | None
    due_at: datetime | None
    send_at: datetime | None
    late_approved_at: datetime | None
    expires_at: datetime
    dispatched_at: datetime | None
    dispatches: int
    attempts: int
    cancel_requested_at: datetime | None
    outcome: str | None
    outcome_reason: str | None
    outcome_at: datetime | None
    delivery: str
    bounced: bool
    complained: bool
    undeliverable: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One try to hand the message to its provider."""

    id: UUID
    number: int
    state: str
    claimed_at: datetime
    recorded_at: datetime | None
    provider_message_id: str | None
    code: str | None
    resolution: str | None
    resolved_at: datetime | None
    dup_accept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """A verdict of the gate other than "send"."""

    at: datetime
    verdict: str
    reason: str
    outcome: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """What the provider reported."""

    attempt_id: UUID
    event_id: str
    kind: str
    occurred_at: datetime
    received_at: datetime
    permanent: bool
    machine: bool
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A message and all that happened to it, each list in order; the newest are kept where a bound was reached."""

    message: MessageRow
    attempts: Sequence[AttemptRow]
    verdicts: Sequence[VerdictRow]
    events: Sequence[EventRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages; None: any."""

    mode: str
    outcome: str | None = None
    phase: str | None = None
    hold_reason: str | None = None
    source: str | None = None
    tag: str | None = None
    contact_id: UUID | None = None
    enrollment_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


_COLUMNS = """
SELECT m.id, m.source, m.source_id, m.part, m.primary_id, m.enrollment_id, m.class AS class_, m.mode, m.channel,
       c.external_id AS contact, m.address, s.key AS sender, m.account_id, a.name AS account,
       t.key AS template, m.template_version, m.tags, m.metadata, m.fallback_after, m.unknown_policy, m.phase,
       m.hold_reason, m.due_at, m.send_at, m.late_approved_at, m.expires_at, m.dispatched_at, m.dispatches,
       m.attempts, m.cancel_requested_at, m.outcome, m.outcome_reason, m.outcome_at, m.delivery, m.bounced,
       m.complained, m.undeliverable, m.created_at,
       CASE WHEN m.fallback_after IS NOT NULL THEN
           (SELECT f.id FROM messages f WHERE f.tenant_id = m.tenant_id AND f.source = m.source
               AND f.source_id = m.source_id AND f.part = 'fallback') END AS fallback_id
FROM messages m
JOIN senders s ON s.tenant_id = m.tenant_id AND s.id = m.sender_id
JOIN provider_accounts a ON a.id = m.account_id
LEFT JOIN contacts c ON c.tenant_id = m.tenant_id AND c.id = m.contact_id
LEFT JOIN templates t ON t.tenant_id = m.tenant_id AND t.id = m.template_id
WHERE m.tenant_id = %(tenant)s AND """

_ONE = _COLUMNS + "m.id = %(message)s AND m.mode = %(mode)s"

# Each of these takes the newest within its bound, in order.
_ATTEMPTS = """
SELECT id, number, state, claimed_at, recorded_at, provider_message_id, code, resolution, resolved_at, dup_accept
FROM attempts WHERE tenant_id = %(tenant)s AND message_id = %(message)s ORDER BY number DESC LIMIT %(most)s
"""
_VERDICTS = """
SELECT at, verdict, reason, outcome, until
FROM verdicts WHERE tenant_id = %(tenant)s AND message_id = %(message)s ORDER BY id DESC LIMIT %(most)s
"""
_EVENTS = """
SELECT e.attempt_id, e.event_id, e.kind, e.occurred_at, e.received_at, e.permanent, e.machine, e.code
FROM provider_events e
WHERE e.tenant_id = %(tenant)s
  AND e.attempt_id IN (SELECT id FROM attempts WHERE tenant_id = %(tenant)s AND message_id = %(message)s)
ORDER BY e.occurred_at DESC, e.id DESC LIMIT %(most)s
"""


async def story(database: Database, *, tenant: UUID, mode: str, message: UUID) -> Story | None:
    """The whole story of a message in one round trip; None where the tenant has none of that id and mode."""
    which = {"tenant": tenant, "mode": mode, "message": message}
    async with database.transaction(tenant) as connection:
        one = await _ask(connection, MessageRow, _ONE, which)
        attempts = await _ask(connection, AttemptRow, _ATTEMPTS, {**which, "most": MAX_ATTEMPTS})
        verdicts = await _ask(connection, VerdictRow, _VERDICTS, {**which, "most": MAX_VERDICTS})
        events = await _ask(connection, EventRow, _EVENTS, {**which, "most": MAX_EVENTS})
    row = await one.fetchone()
    if row is None:
        return None
    return Story(
        message=row,
        attempts=(await attempts.fetchall())[::-1],
        verdicts=(await verdicts.fetchall())[::-1],
        events=(await events.fetchall())[::-1],
    )


async def page(
    database: Database, *, tenant: UUID, which: Filter, after: Place | None, limit: int
) -> tuple[list[MessageRow], Place | None]:
    """Messages, newest first, and where the next page starts. Messages that come meanwhile are on no later page."""
    conditions, values = _conditions(which, after)
    query = sql.SQL("{} {} ORDER BY m.created_at DESC, m.id DESC LIMIT %(limit)s").format(
        sql.SQL(_COLUMNS), sql.SQL(" AND ").join(conditions)
    )
    async with database.transaction(tenant) as connection:
        cursor = await _ask(connection, MessageRow, query, {**values, "tenant": tenant, "limit": limit + 1})
    rows = await cursor.fetchall()
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], Place(last.created_at, last.id) if last else None


def _conditions(which: Filter, after: Place | None) -> tuple[list[sql.SQL], dict[str, Any]]:
    asked: dict[str, tuple[Any, sql.SQL]] = {
        "mode": (which.mode, sql.SQL("m.mode = %(mode)s")),
        "outcome": (which.outcome, sql.SQL("m.outcome = %(outcome)s")),
        "phase": (which.phase, sql.SQL("m.phase = %(phase)s")),
        "hold_reason": (which.hold_reason, sql.SQL("m.hold_reason = %(hold_reason)s")),
        "source": (which.source, sql.SQL("m.source = %(source)s")),
        "tag": (which.tag, sql.SQL("m.tags @> ARRAY[%(tag)s::text]")),
        "contact": (which.contact_id, sql.SQL("m.contact_id = %(contact)s")),
        "enrollment": (which.enrollment_id, sql.SQL("m.enrollment_id = %(enrollment)s")),
        "from": (which.created_after, sql.SQL("m.created_at >= %(from)s")),
        "to": (which.created_before, sql.SQL("m.created_at < %(to)s")),
        "after": (after and after.created_at, sql.SQL("(m.created_at, m.id) < (%(after)s, %(after_id)s)")),
    }
    used = {name: pair for name, pair in asked.items() if pair[0] is not None}
    values = {name: value for name, (value, _) in used.items()}
    conditions = [condition for _, condition in used.values()]
    return [sql.SQL("true"), *conditions], {**values, "after_id": after and after.id}


async def _ask(connection: AsyncConnection[Any], row: type[R], query: Any, values: dict[str, Any]) -> AsyncCursor[R]:
    cursor = connection.cursor(row_factory=class_row(row))
    return await cursor.execute(query, values)
