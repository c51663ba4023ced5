"""Releasing what became late under a tenant's `late_policy` ask: it is due now and late no more."""

from uuid import UUID

from waypost.messaging.errors import MessageNotFoundError, MessageNotHeldError
from waypost.messaging.gate import LATE_NEEDS_APPROVAL
from waypost.store.database import Database

# The fallback is approved with its primary: its own lateness counts from here, and its `after`.
_RELEASE = """
WITH target AS (
    SELECT id, outcome, late_approved_at, phase = 'ready' AND hold_reason = %(reason)s AS waits
    FROM messages WHERE tenant_id = %(tenant)s AND mode = %(mode)s AND id = %(message)s FOR UPDATE
), released AS (
    UPDATE messages m SET late_approved_at = waypost_now(),
           due_at = CASE WHEN m.id = t.id THEN waypost_now() ELSE m.due_at END,
           hold_reason = CASE WHEN m.id = t.id THEN NULL ELSE m.hold_reason END
    FROM target t
    WHERE t.waits AND m.tenant_id = %(tenant)s AND (m.id = t.id OR m.primary_id = t.id) AND m.outcome IS NULL
)
SELECT waits OR (late_approved_at IS NOT NULL AND outcome IS NULL) FROM target
"""


async def release(database: Database, *, tenant: UUID, mode: str, message: UUID) -> None:
    """Send a message of this mode though it is late; released again, nothing changes.

    Raises MessageNotFoundError, MessageNotHeldError.
    """
    values = {"tenant": tenant, "mode": mode, "message": message, "reason": LATE_NEEDS_APPROVAL}
    async with database.transaction(tenant) as connection:
        cursor = await connection.execute(_RELEASE, values)
    row = await cursor.fetchone()
    if row is None:
        raise MessageNotFoundError
    if not row[0]:
        raise MessageNotHeldError
