"""What follows from applied events beside the ledger itself: suppressions, soft bounces, fallbacks, receipts, probes.

Run in the transaction that applies the events, so that either all of it is true or none.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.addresses import address_key
from waypost.messaging.evidence import LedgerMessage
from waypost.messaging.ids import suppression_id
from waypost.messaging.values import ARRIVED, Channel, EventKind, Outcome, SuppressionReason

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One message before and after a batch of events, and the events themselves."""

    tenant_id: UUID
    message_id: UUID
    channel: Channel
    address: str = field(repr=False)
    source: str
    source_id: UUID
    has_fallback: bool
    before: LedgerMessage
    after: LedgerMessage
    happened: tuple[tuple[EventKind, bool, datetime], ...]
    """(kind, permanent, occurred_at) of each event."""
    enrollment_id: UUID | None = None
    visit: int | None = None
    """Of a journey's primary message: which visit of its enrollment it is of."""
    machine_opened: bool = False
    """A mail provider's proxy fetched its images, which tells nothing of the reader."""

    @property
    def message_changed(self) -> bool:
        """Whether the message's own row differs."""
        before, after = self.before, self.after
        return (before.outcome, before.outcome_reason, before.status) != (
            after.outcome,
            after.outcome_reason,
            after.status,
        )

    @property
    def became_sent(self) -> bool:
        """Whether these events are what made it sent."""
        return self.after.outcome is Outcome.SENT and self.before.outcome is not Outcome.SENT

    @property
    def became_lost(self) -> bool:
        """Whether it is known by these events that it will not arrive."""
        before, after = self.before.status, self.after.status
        return (after.bounced or after.undeliverable) and not (before.bounced or before.undeliverable)

    @property
    def receipts(self) -> list[str]:
        """What its enrollment is told: kinds of journeys' receipts, a delivery before what took it back."""
        before, after = self.before.status, self.after.status
        told = {
            "delivered": after.delivery in ARRIVED and before.delivery not in ARRIVED,
            "bounced": after.bounced and not before.bounced,
            "failed": after.undeliverable and not before.undeliverable,
        }
        return [kind for kind, is_new in told.items() if is_new]

    @property
    def address_key(self) -> str:
        """The address as suppressions know it."""
        return address_key(self.channel, self.address)


async def apply_effects(connection: Connection, changes: Sequence[Change], *, signal: str) -> bool:
    """All that follows from a batch; statements run only where there is need for them. True: hints were written."""
    await _note_machine_opens(connection, changes)
    await suppress(connection, [found for change in changes for found in _suppressions(change)])
    await _count_soft_bounces(connection, changes)
    await _clear_soft_bounces(connection, changes)
    fallbacks = await _tell_fallbacks(connection, changes, signal=signal)
    return await _tell_enrollments(connection, changes) or fallbacks


_MACHINE_OPENED = """
UPDATE messages m SET machine_opened = true FROM unnest(%b::uuid[], %b::uuid[]) AS e (tenant_id, id)
WHERE m.tenant_id = e.tenant_id AND m.id = e.id AND NOT m.machine_opened
"""


async def _note_machine_opens(connection: Connection, changes: Sequence[Change]) -> None:
    opened = [change for change in changes if change.machine_opened]
    if opened:
        keys = ([change.tenant_id for change in opened], [change.message_id for change in opened])
        await connection.execute(_MACHINE_OPENED, keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """An address that must not be written to any more. `address` is its key."""

    tenant_id: UUID
    channel: Channel
    address: str = field(repr=False)
    reason: SuppressionReason
    message_id: UUID | None = None

    @property
    def id(self) -> UUID:
        """The row's id."""
        return suppression_id(tenant=self.tenant_id, channel=self.channel, address=self.address)


def _suppressions(change: Change) -> Iterable[Suppression]:
    for kind, permanent, _ in change.happened:
        reason = _reason(kind, permanent=permanent)
        if reason is not None:
            yield Suppression(
                tenant_id=change.tenant_id,
                channel=change.channel,
                address=change.address_key,
                reason=reason,
                message_id=change.message_id,
            )


def _reason(kind: EventKind, *, permanent: bool) -> SuppressionReason | None:
    match kind:
        case EventKind.BOUNCE | EventKind.REJECT if permanent:
            return SuppressionReason.BOUNCE
        case EventKind.COMPLAINT:
            return SuppressionReason.COMPLAINT
        case EventKind.STOP:
            return SuppressionReason.STOP
        case _:
            return None


# The stronger reason stays, whichever came first: what a person decided, what a recipient said, then what was found.
_SUPPRESS = """
INSERT INTO suppressions (tenant_id, id, channel, address, reason, message_id)
SELECT * FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::uuid[])
ON CONFLICT (tenant_id, channel, address) DO UPDATE SET reason = excluded.reason, message_id = excluded.message_id
WHERE array_position(ARRAY['unsubscribed', 'bounce', 'stop', 'complaint', 'manual'], excluded.reason)
    > array_position(ARRAY['unsubscribed', 'bounce', 'stop', 'complaint', 'manual'], suppressions.reason)
"""


async def suppress(connection: Connection, found: Sequence[Suppression]) -> None:
    """Suppress addresses; one that is suppressed already keeps the stronger reason."""
    strongest: dict[UUID, Suppression] = {}
    for each in sorted(found, key=lambda one: _RANK[one.reason]):
        strongest[each.id] = each
    if not strongest:
        return
    rows = [strongest[identity] for identity in sorted(strongest)]
    await connection.execute(
        _SUPPRESS,
        (
            [row.tenant_id for row in rows],
            [row.id for row in rows],
            [row.channel.value for row in rows],
            [row.address for row in rows],
            [row.reason.value for row in rows],
            [row.message_id for row in rows],
        ),
    )


_RANK = {
    SuppressionReason.UNSUBSCRIBED: 0,
    SuppressionReason.BOUNCE: 1,
    SuppressionReason.STOP: 2,
    SuppressionReason.COMPLAINT: 3,
    SuppressionReason.MANUAL: 4,
}

_COUNT_SOFT = """
WITH counted AS (
    INSERT INTO soft_bounces (tenant_id, channel, address, count, last_at)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %s::int[], %b::timestamptz[]) ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, channel, address) DO UPDATE
        SET count = soft_bounces.count + excluded.count, last_at = GREATEST(soft_bounces.last_at, excluded.last_at)
    RETURNING tenant_id, channel, address, count
)
SELECT c.tenant_id, c.channel, c.address FROM counted c
JOIN tenants t ON t.id = c.tenant_id AND c.count >= t.soft_bounce_limit
"""


async def _count_soft_bounces(connection: Connection, changes: Sequence[Change]) -> None:
    """Counts follow arrival: a delivery that comes late does not clear the bounces that happened after it."""
    bounces: defaultdict[tuple[UUID, str, str], list[datetime]] = defaultdict(list)
    for change in changes:
        for kind, permanent, occurred_at in change.happened:
            if kind is EventKind.BOUNCE and not permanent:
                bounces[change.tenant_id, change.channel.value, change.address_key].append(occurred_at)
    if not bounces:
        return
    rows = [(*key, len(times), max(times)) for key, times in bounces.items()]
    cursor = await connection.execute(_COUNT_SOFT, [list(column) for column in zip(*rows, strict=True)])
    await suppress(
        connection,
        [
            Suppression(tenant_id=tenant, channel=Channel(channel), address=address, reason=SuppressionReason.BOUNCE)
            for tenant, channel, address in await cursor.fetchall()
        ],
    )


_CLEAR_SOFT = """
DELETE FROM soft_bounces s
USING unnest(%b::uuid[], %b::text[], %b::text[], %b::timestamptz[]) AS e (tenant_id, channel, address, at)
WHERE s.tenant_id = e.tenant_id AND s.channel = e.channel AND s.address = e.address AND s.last_at < e.at
"""


async def _clear_soft_bounces(connection: Connection, changes: Sequence[Change]) -> None:
    delivered = [
        (change.tenant_id, change.channel.value, change.address_key, occurred_at)
        for change in changes
        for kind, _, occurred_at in change.happened
        if kind is EventKind.DELIVERY
    ]
    if delivered:
        await connection.execute(_CLEAR_SOFT, [list(column) for column in zip(*delivered, strict=True)])


# The clock of a fallback starts when its primary is known to be out there, and runs out when it is known not to arrive.
# One that is `ready` and untouched waits out its clock without an execution (so many a tenant may wait in one, and none
# of a journey's).
_TELL_FALLBACKS = """
WITH told AS (
    SELECT * FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[], %(sources)s::text[], %(source_ids)s::uuid[],
                         %(sent)s::bool[], %(lost)s::bool[])
        AS t (tenant_id, id, source, source_id, sent, lost)
), started AS (
    UPDATE messages f
    SET due_at = CASE WHEN t.lost THEN LEAST(f.due_at, waypost_now())
                      ELSE COALESCE(f.due_at, waypost_now() + p.fallback_after) END,
        send_at = CASE WHEN f.enrollment_id IS NULL THEN f.send_at WHEN t.lost THEN LEAST(f.due_at, waypost_now())
                       ELSE COALESCE(f.due_at, waypost_now() + p.fallback_after) END,
        phase = CASE WHEN f.enrollment_id IS NULL THEN f.phase ELSE 'ready' END
    FROM told t JOIN messages p ON p.tenant_id = t.tenant_id AND p.id = t.id
    WHERE (t.sent OR t.lost) AND f.tenant_id = t.tenant_id AND f.source = t.source AND f.source_id = t.source_id
      AND f.part = 'fallback' AND (f.phase = 'waiting' OR t.lost AND f.phase = 'ready' AND f.dispatches = 0)
)
INSERT INTO outbox (workflow_id, signal)
SELECT 'message/' || t.id, %(signal)s
FROM told t JOIN messages f ON f.tenant_id = t.tenant_id AND f.source = t.source AND f.source_id = t.source_id
WHERE f.part = 'fallback' AND f.phase = 'waiting' AND f.enrollment_id IS NULL
"""


async def _tell_fallbacks(connection: Connection, changes: Sequence[Change], *, signal: str) -> bool:
    told = [change for change in changes if change.has_fallback and change.message_changed]
    if not told:
        return False
    values = {
        "tenants": [change.tenant_id for change in told],
        "messages": [change.message_id for change in told],
        "sources": [change.source for change in told],
        "source_ids": [change.source_id for change in told],
        "sent": [change.became_sent for change in told],
        "lost": [change.became_lost for change in told],
        "signal": signal,
    }
    await connection.execute(_TELL_FALLBACKS, values)
    return True


# Nothing is locked: whoever decides about the enrollment looks into its inbox again after having said what it awaits.
_TELL_ENROLLMENTS = """
WITH told AS (
    INSERT INTO enrollment_inbox (tenant_id, enrollment_id, kind, detail)
    SELECT e.tenant_id, e.id, 'receipt', jsonb_build_object('visit', r.visit, 'kind', r.kind)
    FROM unnest(%(tenants)s::uuid[], %(enrollments)s::uuid[], %(visits)s::int[], %(kinds)s::text[]) WITH ORDINALITY
        AS r (tenant_id, id, visit, kind, place)
    CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM enrollments
        WHERE tenant_id = r.tenant_id AND id = r.id AND (state || '') = 'open' LIMIT 1) e
    ORDER BY r.place
    RETURNING tenant_id, enrollment_id
), awaiting AS (
    SELECT array_agg(DISTINCT e.id) AS ids FROM told t CROSS JOIN LATERAL (
        SELECT id FROM enrollments WHERE tenant_id = t.tenant_id AND id = t.enrollment_id AND awaits_any LIMIT 1) e
)
SELECT waypost_wake(ids) FROM awaiting WHERE ids IS NOT NULL
"""


async def _tell_enrollments(connection: Connection, changes: Sequence[Change]) -> bool:
    """Journeys hear of what became of their messages; those that may go on by it now are woken. True: some are."""
    told = [(change, kind) for change in changes if change.visit is not None for kind in change.receipts]
    if not told:
        return False
    values = {
        "tenants": [change.tenant_id for change, _ in told],
        "enrollments": [change.enrollment_id for change, _ in told],
        "visits": [change.visit for change, _ in told],
        "kinds": [kind for _, kind in told],
    }
    return await (await connection.execute(_TELL_ENROLLMENTS, values)).fetchone() is not None


_TELL_PROBES = """
UPDATE probes p SET state = 'accepted', send_event_at = LEAST(p.send_event_at, e.occurred_at)
FROM provider_events e WHERE e.id = ANY(%s) AND p.id = e.attempt_id AND p.account_id = e.account_id
"""


async def tell_probes(connection: Connection, events: Sequence[int]) -> None:
    """Write down which of our own probes the feed has brought back: ids of events that are of no attempt."""
    if events:
        await connection.execute(_TELL_PROBES, (list(events),))
