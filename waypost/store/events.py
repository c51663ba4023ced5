"""Provider events: stored raw and at once, then applied to attempts and messages set-wise.

Both functions run as waypost_relay inside the caller's transaction and never commit. Locks are taken in one order by
everybody: attempts by (tenant, message, number), then messages by (tenant, id).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.evidence import Evidence, LedgerAttempt, LedgerMessage, Resolution, weigh
from waypost.messaging.provider import ProviderEvent
from waypost.messaging.status import DeliveryStatus
from waypost.messaging.values import AttemptState, Channel, Delivery, EventKind, Outcome
from waypost.store.event_effects import Change, apply_effects, tell_probes

Connection = AsyncConnection[Any]
Key = tuple[UUID, UUID]
"""(tenant id, message id)."""

UNPARSABLE = "unparsable"
"""The kind of what came through a feed and could not be read; kept for a person to look at, never applied."""

# Within a month the constraint keeps an event once. One that is dated by its coming (Twilio's) may come again in the
# next month: it is looked for in the month before too. Most attempts are of this month or the last: the others are
# looked into where the attempt was not found there. The account is compared outside: inside, statistics from before a
# large campaign led to reading every entry of its account in an index, for each event.
#
# Sorted by the unique key, so that two processes that store the same copies wait for each other and don't deadlock.
# `raw` goes over in binary (%b): escaping its quotes in an array's text form cost as much CPU as everything else.
_STORE = """
INSERT INTO provider_events (account_id, event_id, kind, tenant_id, message_id, attempt_id, provider_message_id,
                             recipient, permanent, machine, code, occurred_at, raw, month, applied_at)
SELECT e.account_id, e.event_id, e.kind, a.tenant_id, a.message_id, e.attempt_id, e.provider_message_id,
       e.recipient, e.permanent, e.machine, e.code, e.occurred_at, e.raw,
       waypost_month(e.occurred_at), CASE WHEN %s THEN waypost_now() END
FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::uuid[], %b::text[], %b::text[], %b::bool[], %b::bool[], %b::text[],
            %b::timestamptz[], %b::text[])
    AS e (account_id, event_id, kind, attempt_id, provider_message_id, recipient, permanent, machine, code,
          occurred_at, raw)
LEFT JOIN LATERAL (
    SELECT tenant_id, message_id, account_id FROM attempts
    WHERE id = e.attempt_id AND month >= waypost_month(waypost_now() - interval '31 days')
    UNION ALL
    SELECT tenant_id, message_id, account_id FROM attempts
    WHERE id = e.attempt_id AND month < waypost_month(waypost_now() - interval '31 days')
    LIMIT 1) a ON a.account_id = e.account_id
WHERE NOT EXISTS (
    SELECT FROM provider_events o WHERE o.account_id = e.account_id AND o.event_id = e.event_id
      AND o.month = (waypost_month(e.occurred_at) - interval '1 month')::date)
ORDER BY e.account_id, e.event_id
ON CONFLICT (account_id, event_id, month) DO NOTHING
RETURNING id, tenant_id, message_id, attempt_id, kind, provider_message_id, permanent, machine, occurred_at
"""


async def store_events(connection: Connection, arrivals: Sequence[tuple[UUID, ProviderEvent]]) -> list[int]:
    """Keep events as (account id, event), unique by the provider's event id; returns the ids of those that are new.

    Whose message an event is about is looked up here; an attempt of another account is not found.
    """
    return [event.id for event in await _store(connection, arrivals, applied=False)]


async def store_and_apply(
    connection: Connection, arrivals: Sequence[tuple[UUID, ProviderEvent]], *, signal: str
) -> "Applied":
    """`store_events` and `apply_events` of what is new, in one: rows are written once. `Applied.events` are the new.

    Where it fails, nothing is kept; `store_events` alone cannot fail for what an event would do to the ledger.
    """
    taken = await _store(connection, arrivals, applied=True)
    return Applied(len(taken), await _fold(connection, taken, signal=signal))


async def _store(
    connection: Connection, arrivals: Sequence[tuple[UUID, ProviderEvent]], *, applied: bool
) -> "list[Taken]":
    accounts = [account for account, _ in arrivals]
    events = [event for _, event in arrivals]
    columns = (
        accounts,
        [event.event_id for event in events],
        [event.kind.value for event in events],
        [event.attempt_id for event in events],
        [event.provider_message_id for event in events],
        [_storable(event.recipient) for event in events],
        [event.permanent for event in events],
        [event.machine for event in events],
        [event.code for event in events],
        [event.occurred_at for event in events],
        [_storable(event.raw) for event in events],
    )
    cursor = await connection.execute(_STORE, (applied, *columns), binary=True)
    return [_taken(*row) for row in await cursor.fetchall()]


_STORE_UNPARSABLE = """
INSERT INTO provider_events (account_id, event_id, kind, code, occurred_at, applied_at, raw, month)
VALUES (%s, %s, 'unparsable', %s, waypost_now(), waypost_now(), %s, waypost_month(waypost_now()))
ON CONFLICT (account_id, event_id, month) DO NOTHING
"""


async def store_unparsable(connection: Connection, *, account: UUID, event_id: str, code: str, raw: str) -> None:
    """Keep what a feed brought and nobody can read; `code` says why. It raises an alert and is never applied."""
    await connection.execute(_STORE_UNPARSABLE, (account, event_id, code, _storable(raw)))


def _storable(text: str | None) -> str | None:
    """PostgreSQL's text has no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if text and "\0" in text else text


_TAKE = """
SELECT id, tenant_id, message_id, attempt_id, kind, provider_message_id, permanent, machine, occurred_at
FROM provider_events WHERE applied_at IS NULL AND apply_error IS NULL
ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""

_TAKE_ONE = """
SELECT id, tenant_id, message_id, attempt_id, kind, provider_message_id, permanent, machine, occurred_at
FROM provider_events WHERE id = %s AND applied_at IS NULL AND apply_error IS NULL
FOR UPDATE SKIP LOCKED
"""

# All attempts of the messages, for evidence of one may concern another. Here and below the months come first
# (MATERIALIZED), so that of each message one partition is read.
_LOCK_ATTEMPTS = """
WITH k AS MATERIALIZED (
    SELECT g.tenant_id, g.message_id, m.month FROM unnest(%b::uuid[], %b::uuid[]) AS g (tenant_id, message_id)
    CROSS JOIN LATERAL (SELECT waypost_month(created_at) AS month FROM messages
                        WHERE tenant_id = g.tenant_id AND id = g.message_id LIMIT 1) m
)
SELECT a.tenant_id, a.message_id, a.id, a.number, a.state, a.resolution, a.dup_accept, a.send_event_at,
       a.provider_message_id
FROM k JOIN attempts a ON a.tenant_id = k.tenant_id AND a.message_id = k.message_id AND a.month = k.month
ORDER BY a.tenant_id, a.message_id, a.number
FOR NO KEY UPDATE OF a
"""

_LOCK_MESSAGES = """
SELECT m.tenant_id, m.id, m.channel, m.address, m.source, m.source_id, m.fallback_after, m.enrollment_id,
       CASE WHEN m.enrollment_id IS NOT NULL AND m.part = 'primary' THEN (m.metadata ->> 'visit')::integer END,
       m.outcome, m.outcome_reason, m.delivery, m.bounced, m.complained, m.undeliverable
FROM unnest(%b::uuid[], %b::uuid[]) AS k (tenant_id, id)
JOIN messages m ON m.tenant_id = k.tenant_id AND m.id = k.id
ORDER BY m.tenant_id, m.id
FOR NO KEY UPDATE OF m
"""

_WRITE_ATTEMPTS = """
WITH e AS MATERIALIZED (
    SELECT g.*, m.month
    FROM unnest(%b::uuid[], %b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::bool[], %b::timestamptz[], %b::text[])
        AS g (tenant_id, message_id, id, state, resolution, dup_accept, send_event_at, provider_message_id)
    CROSS JOIN LATERAL (SELECT waypost_month(created_at) AS month FROM messages
                        WHERE tenant_id = g.tenant_id AND id = g.message_id LIMIT 1) m
)
UPDATE attempts a SET state = e.state, resolution = e.resolution, dup_accept = e.dup_accept,
       send_event_at = e.send_event_at, provider_message_id = e.provider_message_id,
       resolved_at = CASE WHEN e.resolution IS DISTINCT FROM a.resolution THEN waypost_now() ELSE a.resolved_at END
FROM e WHERE a.tenant_id = e.tenant_id AND a.id = e.id AND a.month = e.month
"""

_WRITE_MESSAGES = """
UPDATE messages m SET outcome = e.outcome, outcome_reason = e.outcome_reason, delivery = e.delivery,
       bounced = e.bounced, complained = e.complained, undeliverable = e.undeliverable,
       phase = CASE WHEN e.outcome IS NULL THEN m.phase ELSE 'closed' END,
       hold_reason = CASE WHEN e.outcome IS NULL THEN m.hold_reason END,
       outcome_at = CASE WHEN e.outcome IS DISTINCT FROM m.outcome THEN waypost_now() ELSE m.outcome_at END
FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::bool[], %b::bool[], %b::bool[])
    AS e (tenant_id, id, outcome, outcome_reason, delivery, bounced, complained, undeliverable)
WHERE m.tenant_id = e.tenant_id AND m.id = e.id
"""

_MARK_APPLIED = "UPDATE provider_events SET applied_at = waypost_now() WHERE id = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Taken:
    """One event that is being applied."""

    id: int
    tenant_id: UUID | None
    message_id: UUID | None
    attempt_id: UUID | None
    kind: EventKind
    provider_message_id: str | None
    permanent: bool
    machine: bool
    occurred_at: datetime

    def as_evidence(self) -> Evidence:
        """The event as the ledger's rules take it."""
        assert self.attempt_id is not None
        return Evidence(
            attempt_id=self.attempt_id,
            kind=self.kind,
            occurred_at=self.occurred_at,
            machine=self.machine,
            provider_message_id=self.provider_message_id,
        )


def _taken(
    identity: int, tenant: UUID | None, message: UUID | None, attempt: UUID | None, kind: str, *rest: Any
) -> Taken:
    return Taken(identity, tenant, message, attempt, EventKind(kind), *rest)


@dataclass(frozen=True, slots=True)
class Applied:
    """What one batch did. Zero `events`: nothing waits."""

    events: int
    hints: bool = False
    """Hints were written: tell the outbox."""


async def apply_events(connection: Connection, *, limit: int, signal: str, only: int | None = None) -> Applied:
    """Fold the oldest unapplied events into attempts and messages, and do all that follows from them.

    Any number of processes may run it. `signal` is what wakes an execution that waits with a fallback. `only` is the
    id of the one event to apply.
    """
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(*((_TAKE, (limit,)) if only is None else (_TAKE_ONE, (only,))))
        taken = [_taken(*row) for row in await cursor.fetchall()]
    if not taken:
        return Applied(0)
    hints = await _fold(connection, taken, signal=signal)
    await connection.execute(_MARK_APPLIED, ([event.id for event in taken],))
    return Applied(len(taken), hints)


async def _fold(connection: Connection, taken: Sequence[Taken], *, signal: str) -> bool:
    """What events do to the ledger. True: hints were written."""
    changes = await _weigh_all(connection, taken)
    await _write(connection, changes)
    await tell_probes(connection, [event.id for event in taken if _may_be_probe(event)])
    return await apply_effects(connection, changes, signal=signal)


_OLDEST = """
SELECT id FROM provider_events WHERE applied_at IS NULL AND apply_error IS NULL
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""


async def oldest_waiting(connection: Connection) -> int | None:
    """The id of the oldest unapplied event that no other process is applying just now."""
    row = await (await connection.execute(_OLDEST)).fetchone()
    return row[0] if row else None


_MARK_FAILED = """
UPDATE provider_events SET apply_error = %s WHERE id = %s AND applied_at IS NULL AND apply_error IS NULL
"""


async def set_aside(connection: Connection, event: int, *, error: str) -> None:
    """Take an unapplied event out of the way, saying by `error` (a type, no text) why it cannot be applied."""
    await connection.execute(_MARK_FAILED, (error, event))


def _may_be_probe(event: Taken) -> bool:
    return event.tenant_id is None and event.attempt_id is not None


async def _weigh_all(connection: Connection, taken: Sequence[Taken]) -> list[Change]:
    events: defaultdict[Key, list[Taken]] = defaultdict(list)
    for event in taken:
        if event.tenant_id is not None and event.message_id is not None:
            events[event.tenant_id, event.message_id].append(event)
    if not events:
        return []
    keys = ([tenant for tenant, _ in events], [message for _, message in events])
    attempts = await _lock_attempts(connection, keys)
    return [
        _change(row, attempts[row[0], row[1]], events[row[0], row[1]]) for row in await _lock_messages(connection, keys)
    ]


async def _lock_attempts(
    connection: Connection, keys: tuple[list[UUID], list[UUID]]
) -> dict[Key, tuple[LedgerAttempt, ...]]:
    found: defaultdict[Key, tuple[LedgerAttempt, ...]] = defaultdict(tuple)
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_LOCK_ATTEMPTS, keys)
        for (
            tenant,
            message,
            identity,
            number,
            state,
            resolution,
            dup_accept,
            send_event_at,
            provider_id,
        ) in await cursor.fetchall():
            found[tenant, message] += (
                LedgerAttempt(
                    id=identity,
                    number=number,
                    state=AttemptState(state),
                    resolution=Resolution(resolution) if resolution else None,
                    dup_accept=dup_accept,
                    send_event_at=send_event_at,
                    provider_message_id=provider_id,
                ),
            )
    return found


async def _lock_messages(connection: Connection, keys: tuple[list[UUID], list[UUID]]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(_LOCK_MESSAGES, keys, binary=True)).fetchall()


def _change(row: tuple[Any, ...], attempts: tuple[LedgerAttempt, ...], events: Sequence[Taken]) -> Change:
    tenant, message, channel, address, source, source_id, fallback_after, enrollment, visit = row[:9]
    outcome, reason, *status = row[9:]
    before = LedgerMessage(
        outcome=Outcome(outcome) if outcome else None,
        outcome_reason=reason,
        status=DeliveryStatus(Delivery(status[0]), *status[1:]),
        attempts=attempts,
    )
    return Change(
        tenant_id=tenant,
        message_id=message,
        channel=Channel(channel),
        address=address,
        source=source,
        source_id=source_id,
        has_fallback=fallback_after is not None,
        enrollment_id=enrollment,
        visit=visit,
        before=before,
        after=weigh(before, [event.as_evidence() for event in events]),
        happened=tuple((event.kind, event.permanent, event.occurred_at) for event in events),
        machine_opened=any(event.machine and event.kind is EventKind.OPEN for event in events),
    )


async def _write(connection: Connection, changes: Sequence[Change]) -> None:
    attempts = [
        (change, after)
        for change in changes
        for before, after in zip(change.before.attempts, change.after.attempts, strict=True)
        if before != after
    ]
    if attempts:
        await connection.execute(_WRITE_ATTEMPTS, _attempt_columns(attempts))
    messages = [change for change in changes if change.message_changed]
    if messages:
        await connection.execute(_WRITE_MESSAGES, _message_columns(messages))


def _attempt_columns(attempts: Sequence[tuple[Change, LedgerAttempt]]) -> tuple[list[Any], ...]:
    return (
        [change.tenant_id for change, _ in attempts],
        [change.message_id for change, _ in attempts],
        [attempt.id for _, attempt in attempts],
        [attempt.state.value for _, attempt in attempts],
        [attempt.resolution.value if attempt.resolution else None for _, attempt in attempts],
        [attempt.dup_accept for _, attempt in attempts],
        [attempt.send_event_at for _, attempt in attempts],
        [attempt.provider_message_id for _, attempt in attempts],
    )


def _message_columns(changes: Sequence[Change]) -> tuple[list[Any], ...]:
    after = [change.after for change in changes]
    return (
        [change.tenant_id for change in changes],
        [change.message_id for change in changes],
        [message.outcome.value if message.outcome else None for message in after],
        [message.outcome_reason for message in after],
        [message.status.delivery.value for message in after],
        [message.status.bounced for message in after],
        [message.status.complained for message in after],
        [message.status.undeliverable for message in after],
    )
