"""What the send path reads before it decides, and how a message goes back to its row or ends without a call.

Functions run inside the caller's transaction, as waypost_app for one tenant, and never commit.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb  # noqa: F401 - registers jsonb loading

from waypost.messaging.values import Outcome, Phase
from waypost.store.journey_rules import JourneyRules, load_rules

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedMessage:
    """One message with everything that the gate, the renderer and the claim need. Times are the database's."""

    now: datetime
    tenant_id: UUID
    id: UUID
    month: date
    """Its attempts' partition."""
    phase: str
    outcome: str | None
    part: str
    lane: str
    class_: str
    channel: str
    address: str
    payload: dict[str, Any] | None
    template_id: UUID | None
    template_version: int | None
    due_at: datetime | None
    meant_for: datetime
    """When it should have gone out, or was released though late: what is held after that gets late (again)."""
    expires_at: datetime
    cancel_requested_at: datetime | None
    fallback_after: timedelta | None
    fallback_id: UUID | None
    attempts: int
    unknown_policy: str
    tenant_name: str
    tenant_state: str
    tenant_weight: float
    late_policy: str
    late_after: timedelta
    enrollment_id: UUID | None
    """Of a journey's message."""
    topic_id: UUID | None
    account_id: UUID
    account_kind: str
    account_state: str
    account_feed: str
    from_address: str
    from_name: str | None
    sender_reply_to: str | None
    configuration_set: str | None
    messaging_service: str | None
    contact_id: UUID | None
    contact_external_id: str | None
    contact_email: str | None
    contact_phone: str | None
    contact_locale: str | None
    contact_time_zone: str | None
    contact_attributes: dict[str, Any] | None
    consent: bool | None
    contact_deleted: bool
    suppression: str | None
    primary_outcome: str | None
    primary_delivery: str | None
    primary_bounced: bool | None
    primary_undeliverable: bool | None
    open_attempt_id: UUID | None
    open_attempt_state: str | None
    open_attempt_claimed_at: datetime | None
    second_try_used: bool
    """Of a login code: its first try has been given up for a second one."""
    journey: JourneyRules | None = None
    """Of a journey's message."""


# Each join is a LATERAL with LIMIT 1: a plan made while the tables were small stays a look-up by the whole key. The
# message comes first, MATERIALIZED, for lower() of a joined column would keep row security from using the index. A
# journey's message says by send_at alone when it was meant for: also its fallback, once that is dated.
_LOAD = """
WITH m AS MATERIALIZED (
    SELECT *, waypost_month(created_at) AS month,
           CASE channel WHEN 'email' THEN lower(address) ELSE address END AS address_key
    FROM messages WHERE tenant_id = %s AND id = %s
)
SELECT waypost_now() AS now, m.tenant_id, m.id, m.month, m.phase, m.outcome, m.part, m.lane, m.class AS class_,
       m.channel, m.address, m.payload, m.template_id, m.template_version, m.due_at, m.expires_at,
       CASE WHEN m.enrollment_id IS NULL
            THEN GREATEST(m.send_at, m.created_at, m.late_approved_at) + COALESCE(p.fallback_after, interval '0')
            ELSE GREATEST(COALESCE(m.send_at, m.created_at), m.late_approved_at) END AS meant_for,
       m.cancel_requested_at, m.fallback_after, m.attempts,
       COALESCE(m.unknown_policy, t.unknown_policy) AS unknown_policy,
       t.name AS tenant_name, t.state AS tenant_state, t.weight AS tenant_weight, t.late_policy, t.late_after,
       m.enrollment_id, m.topic_id, m.account_id, a.kind AS account_kind,
       a.state AS account_state, a.feed AS account_feed,
       s.address AS from_address, s.name AS from_name, s.reply_to AS sender_reply_to,
       s.configuration_set, s.messaging_service,
       m.contact_id, c.external_id AS contact_external_id, c.email AS contact_email, c.phone AS contact_phone,
       c.locale AS contact_locale, c.time_zone AS contact_time_zone, c.attributes AS contact_attributes,
       (c.consent ->> m.channel)::boolean AS consent,
       m.contact_id IS NOT NULL AND c.id IS NULL AS contact_deleted,
       x.reason AS suppression,
       p.outcome AS primary_outcome, p.delivery AS primary_delivery, p.bounced AS primary_bounced,
       p.undeliverable AS primary_undeliverable,
       CASE WHEN m.fallback_after IS NOT NULL THEN
           (SELECT f.id FROM messages f WHERE f.tenant_id = m.tenant_id AND f.source = m.source
               AND f.source_id = m.source_id AND f.part = 'fallback') END AS fallback_id,
       o.id AS open_attempt_id, o.state AS open_attempt_state, o.claimed_at AS open_attempt_claimed_at,
       CASE WHEN m.class = 'login_code' AND m.attempts > 0 THEN
           COALESCE((SELECT true FROM attempts g WHERE g.tenant_id = m.tenant_id AND g.message_id = m.id
               AND g.month = m.month
               AND (g.state = 'abandoned' OR g.resolution = 'login_code_retry') LIMIT 1), false)
           ELSE false END AS second_try_used
FROM m
JOIN tenants t ON t.id = m.tenant_id
JOIN LATERAL (SELECT * FROM senders WHERE tenant_id = m.tenant_id AND id = m.sender_id LIMIT 1) s ON true
JOIN provider_accounts a ON a.id = m.account_id
LEFT JOIN LATERAL (SELECT * FROM contacts WHERE tenant_id = m.tenant_id AND id = m.contact_id LIMIT 1) c ON true
LEFT JOIN LATERAL (
    SELECT reason FROM suppressions
    WHERE tenant_id = m.tenant_id AND channel = m.channel AND address = m.address_key LIMIT 1) x ON true
LEFT JOIN LATERAL (
    SELECT outcome, delivery, bounced, undeliverable, fallback_after FROM messages
    WHERE tenant_id = m.tenant_id AND id = m.primary_id LIMIT 1) p ON true
LEFT JOIN LATERAL (
    SELECT id, state, claimed_at FROM attempts
    WHERE tenant_id = m.tenant_id AND message_id = m.id AND month = m.month
      AND state IN ('in_flight', 'unknown', 'accepted', 'assumed_sent') LIMIT 1) o ON true
"""


async def load(connection: Connection, *, tenant: UUID, message: UUID) -> LoadedMessage | None:
    """Everything about one message in one statement (of a journey's in two); None: the tenant has no such message."""
    async with connection.cursor(row_factory=class_row(LoadedMessage)) as cursor:
        await cursor.execute(_LOAD, (tenant, message))
        loaded = await cursor.fetchone()
    if loaded is None or loaded.enrollment_id is None:
        return loaded
    return replace(loaded, journey=await load_rules(connection, tenant=tenant, message=message))


_TEMPLATE_CONTENT = """
SELECT content FROM template_versions WHERE tenant_id = %s AND template_id = %s AND version = %s
"""


async def template_content(connection: Connection, *, tenant: UUID, template: UUID, version: int) -> dict[str, Any]:
    """The immutable content of a template's version. Raises LookupError where there is none."""
    cursor = await connection.execute(_TEMPLATE_CONTENT, (tenant, template, version))
    row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"template {template} has no version {version}")
    content: dict[str, Any] = row[0]
    return content


# The row waits, not the execution. `due_at` is in the future, so that this execution has closed before the next starts;
# where the wait is a length of time it counts from now, for the message may have been loaded many seconds ago. Here and
# in the refusal `attempts` is what was loaded: a claim since then means that another run has the message in hand.
# A journey's message that its own execution comes back to stays `waiting`, out of the dispatcher's sight.
_PUT_BACK = """
WITH back AS (
    UPDATE messages SET phase = %(phase)s, hold_reason = %(reason)s, dispatched_at = NULL,
           due_at = GREATEST(COALESCE(%(until)s, waypost_now() + %(wait)s), waypost_now() + interval '200 ms')
    WHERE tenant_id = %(tenant)s AND id = %(message)s AND outcome IS NULL
      AND (phase || '') IN ('ready', 'dispatched', 'waiting') AND attempts = %(attempts)s
    RETURNING tenant_id, id, due_at
), told AS (
    INSERT INTO verdicts (tenant_id, message_id, verdict, reason, until)
    SELECT tenant_id, id, 'defer', %(reason)s, due_at FROM back
)
SELECT due_at FROM back
"""


async def put_back(
    connection: Connection,
    *,
    tenant: UUID,
    message: UUID,
    attempts: int,
    reason: str,
    until: datetime | None = None,
    wait: timedelta | None = None,
    phase: Phase = Phase.READY,
) -> datetime | None:
    """Give the message back to its row until a time or for a while, and store the verdict; when it is due again.

    None when it is not ours to give back any more. `phase` waiting: who drives it now will do so again.
    """
    values = {
        "tenant": tenant,
        "message": message,
        "attempts": attempts,
        "until": until,
        "wait": wait,
        "reason": reason,
        "phase": phase,
    }
    row = await (await connection.execute(_PUT_BACK, values)).fetchone()
    return row[0] if row else None


# A fallback whose primary ends without being sent is due at once. A journey's is the dispatcher's from then on, for its
# enrollment's execution does not wait for it.
_REFUSE = """
WITH refused AS (
    UPDATE messages SET phase = 'closed', outcome = %(outcome)s, outcome_reason = %(reason)s,
           outcome_at = waypost_now(), hold_reason = NULL, due_at = COALESCE(due_at, waypost_now())
    WHERE tenant_id = %(tenant)s AND id = %(message)s AND outcome IS NULL AND phase <> 'held'
      AND attempts = %(attempts)s
    RETURNING tenant_id, id
), due AS (
    UPDATE messages f SET due_at = waypost_now(),
           phase = CASE WHEN f.enrollment_id IS NULL THEN f.phase ELSE 'ready' END,
           send_at = CASE WHEN f.enrollment_id IS NULL THEN f.send_at ELSE waypost_now() END
    FROM refused r
    WHERE f.tenant_id = r.tenant_id AND f.primary_id = r.id AND f.phase = 'waiting' AND f.outcome IS NULL
)
INSERT INTO verdicts (tenant_id, message_id, verdict, reason, outcome)
SELECT tenant_id, id, 'refuse', %(reason)s, %(outcome)s FROM refused
RETURNING message_id
"""


async def refuse(
    connection: Connection, *, tenant: UUID, message: UUID, attempts: int, outcome: Outcome, reason: str
) -> bool:
    """Set the outcome of a message that nothing was sent for, and store the verdict; False: not ours any more."""
    values = {"tenant": tenant, "message": message, "attempts": attempts, "outcome": outcome, "reason": reason}
    return await (await connection.execute(_REFUSE, values)).fetchone() is not None


# An attempt is out there and nobody knows how it ended: evidence, a void or the horizon decides. The attempt is locked
# first, as the record does it: one that has just been voided has given its message back, and nobody would end a message
# that is held without an open attempt.
_HOLD = """
WITH out_there AS (
    SELECT tenant_id, message_id FROM attempts
    WHERE tenant_id = %s AND id = %s AND month = %s AND (state || '') IN ('in_flight', 'unknown')
    FOR NO KEY UPDATE
)
UPDATE messages m SET phase = 'held', hold_reason = 'attempt_unknown', dispatched_at = NULL
FROM out_there o
WHERE m.tenant_id = o.tenant_id AND m.id = o.message_id AND m.outcome IS NULL
RETURNING m.id
"""


async def hold(connection: Connection, *, tenant: UUID, attempt: UUID, month: date) -> bool:
    """The attempt's message waits for evidence; False when it is known by now how the attempt ended."""
    return await (await connection.execute(_HOLD, (tenant, attempt, month))).fetchone() is not None
