"""What came of a tenant's enrollments, for those who tell it: messages, what the gate said of them, whose they are.

Inside the caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitMessage:
    """A message of a visit, sent or not."""

    id: UUID
    enrollment_id: UUID
    visit: int
    part: str
    channel: str
    message_class: str
    address: str | None = field(repr=False)
    template: str
    template_version: int
    topic: str | None
    meant_for: datetime | None
    due_at: datetime | None
    hold_reason: str | None
    outcome: str | None
    outcome_reason: str | None
    outcome_at: datetime | None


_MESSAGES = """
SELECT m.id, m.enrollment_id, (m.metadata ->> 'visit')::integer AS visit, m.part, m.channel,
       m.class AS message_class, m.address, t.key AS template, m.template_version,
       (SELECT p.key FROM topics p WHERE p.tenant_id = m.tenant_id AND p.id = m.topic_id) AS topic,
       m.send_at AS meant_for, m.due_at, m.hold_reason, m.outcome, m.outcome_reason, m.outcome_at
FROM messages m JOIN templates t ON t.tenant_id = m.tenant_id AND t.id = m.template_id
WHERE m.tenant_id = %(tenant)s AND m.enrollment_id = ANY(%(enrollments)s::uuid[])
ORDER BY m.created_at, m.part DESC, m.id
"""


async def messages_of(connection: Connection, *, tenant: UUID, enrollments: Sequence[UUID]) -> list[VisitMessage]:
    """All messages of these enrollments, in the order in which they were asked for."""
    async with connection.cursor(row_factory=class_row(VisitMessage)) as cursor:
        await cursor.execute(_MESSAGES, {"tenant": tenant, "enrollments": list(enrollments)})
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """The gate did not let a message go yet."""

    message_id: UUID
    at: datetime
    reason: str
    until: datetime | None


_PUT_OFF = """
SELECT message_id, at, reason, until FROM verdicts
WHERE tenant_id = %(tenant)s AND message_id = ANY(%(messages)s::uuid[]) AND verdict = 'defer' ORDER BY id
"""


async def put_off(connection: Connection, *, tenant: UUID, messages: Sequence[UUID]) -> list[PutOff]:
    """When and why messages were put off."""
    async with connection.cursor(row_factory=class_row(PutOff)) as cursor:
        await cursor.execute(_PUT_OFF, {"tenant": tenant, "messages": list(messages)})
        return await cursor.fetchall()


_UNSENT = "SELECT count(*) FROM messages WHERE tenant_id = %s AND source = 'journey' AND outcome IS NULL"


async def count_unsent(connection: Connection, *, tenant: UUID) -> int:
    """How many messages of journeys may still be sent."""
    row = await (await connection.execute(_UNSENT, (tenant,))).fetchone()
    return row[0] if row is not None else 0


_WHOSE = """
SELECT a.id, v.step, m.part FROM attempts a
JOIN messages m ON m.tenant_id = a.tenant_id AND m.id = a.message_id
JOIN enrollment_visits v ON v.tenant_id = m.tenant_id AND v.enrollment_id = m.enrollment_id
     AND v.number = (m.metadata ->> 'visit')::integer
WHERE a.tenant_id = %s AND a.id = ANY(%s::uuid[])
"""


async def steps_of_attempts(
    connection: Connection, *, tenant: UUID, attempts: Sequence[UUID]
) -> dict[UUID, tuple[str, str]]:
    """The step and part that attempts to send are of."""
    rows = await (await connection.execute(_WHOSE, (tenant, list(attempts)))).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}
