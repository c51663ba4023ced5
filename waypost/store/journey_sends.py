"""The messages of visits: made with the decision that takes the step, taken back when the enrollment leaves.

As waypost_app for one tenant, inside the caller's transaction, which commits and holds the enrollment's lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.messaging import ids
from waypost.messaging.values import Channel, Part
from waypost.store.withdrawing import Withdrawal, withdraw

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One message that a visit asks for. Without `sender` it is the default of channel and mode."""

    part: Part
    channel: Channel
    template: str
    sender: str | None
    topic: str | None
    message_class: str
    data: Mapping[str, Any] = field(repr=False)
    expires_in: timedelta
    meant_for: datetime
    fallback_after: timedelta | None = None
    late_policy: str | None = None
    """Instead of the journey's and the tenant's."""


# Sender, account, template and address as they are now. What lacks one of them says so and is not made. A primary
# waits for the enrollment's own execution, `waiting` and due; a fallback waits for its primary, or is ready where that
# was not made: then nobody would start its clock.
_POST = """
WITH asked AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(parts)s::jsonb) AS asked (
        id uuid, part text, class text, channel text, sender_id uuid, template_id uuid, topic_id uuid, payload jsonb,
        metadata jsonb, fallback_after double precision, expires_in double precision, meant_for timestamptz)
), resolved AS MATERIALIZED (
    SELECT asked.*, contact.address, sender.id AS from_id, sender.account_id, template.current_version,
           CASE WHEN template.current_version IS NULL THEN 'no_template' WHEN sender.id IS NULL THEN 'no_sender'
                WHEN contact.address IS NULL THEN 'no_address' END AS problem
    FROM asked
    LEFT JOIN LATERAL (
        SELECT CASE asked.channel WHEN 'email' THEN c.email ELSE c.phone END AS address
        FROM contacts c WHERE c.tenant_id = %(tenant)s AND c.id = %(contact)s LIMIT 1) contact ON true
    LEFT JOIN LATERAL (
        SELECT t.current_version FROM templates t
        WHERE t.tenant_id = %(tenant)s AND t.id = asked.template_id AND t.channel = asked.channel LIMIT 1
    ) template ON true
    LEFT JOIN LATERAL (
        SELECT s.id, s.account_id FROM senders s JOIN provider_accounts a ON a.id = s.account_id
        WHERE s.tenant_id = %(tenant)s AND s.channel = asked.channel AND a.mode = %(mode)s
          AND CASE WHEN asked.sender_id IS NULL THEN s.is_default AND s.mode = %(mode)s ELSE s.id = asked.sender_id END
        LIMIT 1) sender ON true
), first AS (
    SELECT id FROM resolved WHERE part = 'primary' AND problem IS NULL
), made AS (
    INSERT INTO messages (tenant_id, id, source, source_id, part, primary_id, lane, class, mode, channel, contact_id,
        address, sender_id, account_id, template_id, template_version, payload, metadata, fallback_after, phase, due_at,
        send_at, expires_at, enrollment_id, topic_id)
    SELECT %(tenant)s, r.id, 'journey', %(visit)s, r.part, CASE r.part WHEN 'fallback' THEN (SELECT id FROM first) END,
           'bulk', r.class, %(mode)s, r.channel, %(contact)s, r.address, r.from_id, r.account_id, r.template_id,
           r.current_version, r.payload, r.metadata, make_interval(secs => r.fallback_after),
           CASE WHEN r.part = 'primary' OR EXISTS (SELECT FROM first) THEN 'waiting' ELSE 'ready' END,
           CASE WHEN r.part = 'primary' OR NOT EXISTS (SELECT FROM first) THEN waypost_now() END,
           r.meant_for, waypost_now() + make_interval(secs => r.expires_in), %(enrollment)s, r.topic_id
    FROM resolved r WHERE r.problem IS NULL
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT r.part, r.problem FROM resolved r WHERE r.problem IS NOT NULL AND (SELECT count(*) FROM made) >= 0
"""


async def post(
    connection: Connection,
    *,
    tenant: UUID,
    enrollment: UUID,
    contact: UUID,
    visit: int,
    mode: str,
    parts: tuple[Posted, ...],
) -> dict[Part, str]:
    """Make the messages of a visit; what could not be made, and why: no_template, no_sender, no_address."""
    source = ids.visit_id(enrollment=enrollment, number=visit)
    values = {
        "tenant": tenant,
        "enrollment": enrollment,
        "contact": contact,
        "visit": source,
        "mode": mode,
        "parts": orjson.dumps([_row(tenant, source, visit, part) for part in parts]).decode(),
    }
    rows = await (await connection.execute(_POST, values)).fetchall()
    return {Part(part): problem for part, problem in rows}


def _row(tenant: UUID, source: UUID, visit: int, one: Posted) -> dict[str, Any]:
    late = {"late_policy": one.late_policy} if one.late_policy else {}
    return {
        "id": ids.message_id(tenant=tenant, source_id=source, part=one.part),
        "part": one.part.value,
        "class": one.message_class,
        "channel": one.channel.value,
        "sender_id": ids.sender_id(tenant=tenant, key=one.sender) if one.sender else None,
        "template_id": ids.template_id(tenant=tenant, key=one.template),
        "topic_id": ids.topic_id(tenant=tenant, key=one.topic) if one.topic else None,
        "payload": {"data": dict(one.data)},
        "metadata": {"visit": visit, **late},
        "fallback_after": one.fallback_after.total_seconds() if one.fallback_after else None,
        "expires_in": one.expires_in.total_seconds(),
        "meant_for": one.meant_for,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Where a visit's message is."""

    id: UUID
    phase: str
    outcome: str | None
    outcome_reason: str | None
    due_at: datetime | None
    hold_reason: str | None


async def find_message(connection: Connection, *, tenant: UUID, enrollment: UUID, visit: int) -> Message | None:
    """The primary message of a visit; None: none could be made."""
    source = ids.visit_id(enrollment=enrollment, number=visit)
    key = ids.message_id(tenant=tenant, source_id=source, part=Part.PRIMARY)
    statement = (
        "SELECT id, phase, outcome, outcome_reason, due_at, hold_reason FROM messages WHERE tenant_id = %s AND id = %s"
    )
    async with connection.cursor(row_factory=class_row(Message)) as cursor:
        await cursor.execute(statement, (tenant, key))
        return await cursor.fetchone()


# The rows first, primary before fallback as the send path locks them: a claim that is under way holds the lock, and the
# next statement's snapshot then shows its attempt.
_LOCK = """
SELECT id FROM messages WHERE tenant_id = %(tenant)s AND enrollment_id = %(enrollment)s AND outcome IS NULL
ORDER BY primary_id IS NOT NULL, id FOR NO KEY UPDATE
"""


async def take_back(connection: Connection, *, tenant: UUID, enrollment: UUID, visit: int | None = None) -> None:
    """What was not sent yet, of all visits or of one, never will be."""
    source = None if visit is None else ids.visit_id(enrollment=enrollment, number=visit)
    await withdraw(connection, Withdrawal.JOURNEY_LEFT, tenant=tenant, enrollment=enrollment, source=source)


# Fallbacks whose clock runs come so much later; what the gate put off for the pause is due when it was, and what else
# it put off is asked about now. Lateness counts from when a message was meant for: a primary's stays, for the hours in
# which nothing may be sent are nobody's delay.
_RESUME = """
UPDATE messages SET
    due_at = CASE WHEN part = 'primary' THEN waypost_now()
                  WHEN hold_reason = 'journey_paused' THEN GREATEST(send_at + %(shift)s, waypost_now())
                  ELSE due_at + %(shift)s END,
    send_at = CASE WHEN part = 'primary' THEN send_at ELSE send_at + %(shift)s END,
    metadata = COALESCE(metadata, '{}') || jsonb_build_object('late_policy', %(late)s::text)
WHERE tenant_id = %(tenant)s AND enrollment_id = %(enrollment)s AND outcome IS NULL AND phase IN ('waiting', 'ready')
"""


async def resume_messages(
    connection: Connection, *, tenant: UUID, enrollment: UUID, shift: timedelta, skip_late: bool
) -> None:
    """What a resume does with the enrollment's messages that are still to be sent."""
    values = {
        "tenant": tenant,
        "enrollment": enrollment,
        "shift": shift,
        "late": "skip" if skip_late else "send",
    }
    await connection.execute(_LOCK, values)
    await connection.execute(_RESUME, values)
