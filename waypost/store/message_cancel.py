"""Cancelling: at once where a message is only its row, by a mark that the claim obeys where an execution is open."""

from enum import StrEnum
from uuid import UUID

from waypost.messaging.errors import MessageNotFoundError, MessageTooLateError
from waypost.messaging.values import Outcome
from waypost.store.database import Database


class Cancellation(StrEnum):
    """What a cancellation came to: the outcome is set, or the execution sets it when it next looks."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"


# The rows first, primary before fallback as the send path locks them: a claim that is under way holds the lock, and the
# next statement's snapshot then shows its attempt.
_LOCK = """
SELECT id FROM messages
WHERE tenant_id = %(tenant)s AND mode = %(mode)s AND (id = %(message)s OR primary_id = %(message)s)
ORDER BY id <> %(message)s FOR UPDATE
"""

# Whatever an attempt may have handed over is out of our hands; a message without one is ours to end.
_CANCEL = """
WITH target AS (
    SELECT m.id, m.phase, m.outcome, m.cancel_requested_at,
           EXISTS (SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
               AND a.month = waypost_month(m.created_at)
               AND a.state IN ('in_flight', 'unknown', 'accepted', 'assumed_sent', 'abandoned')) AS out_there
    FROM messages m
    WHERE m.tenant_id = %(tenant)s AND m.mode = %(mode)s AND (m.id = %(message)s OR m.primary_id = %(message)s)
), allowed AS (
    SELECT FROM target WHERE id = %(message)s AND outcome IS NULL AND NOT out_there
), closed AS (
    UPDATE messages m SET phase = 'closed', outcome = 'cancelled', outcome_reason = 'cancelled_by_caller',
           outcome_at = waypost_now(), cancel_requested_at = COALESCE(m.cancel_requested_at, waypost_now()),
           hold_reason = NULL, due_at = COALESCE(m.due_at, waypost_now())
    FROM target t, allowed
    WHERE m.tenant_id = %(tenant)s AND m.id = t.id AND t.outcome IS NULL AND NOT t.out_there
        AND t.phase IN ('ready', 'waiting')
    RETURNING m.id
), marked AS (
    UPDATE messages m SET cancel_requested_at = COALESCE(m.cancel_requested_at, waypost_now())
    FROM target t, allowed
    WHERE m.tenant_id = %(tenant)s AND m.id = t.id AND t.outcome IS NULL AND NOT t.out_there
        AND t.phase NOT IN ('ready', 'waiting')
    RETURNING m.id
)
SELECT t.outcome, EXISTS (SELECT FROM closed WHERE id = t.id), EXISTS (SELECT FROM marked WHERE id = t.id)
FROM target t WHERE t.id = %(message)s
"""


async def cancel(database: Database, *, tenant: UUID, mode: str, message: UUID) -> Cancellation:
    """Cancel a message of this mode and the fallback that waits for it.

    Raises MessageNotFoundError, MessageTooLateError.
    """
    values = {"tenant": tenant, "mode": mode, "message": message}
    async with database.transaction(tenant) as connection:
        await connection.execute(_LOCK, values)
        cursor = await connection.execute(_CANCEL, values)
    row = await cursor.fetchone()
    if row is None:
        raise MessageNotFoundError
    outcome, closed, marked = row
    if closed or outcome == Outcome.CANCELLED:
        return Cancellation.CANCELLED
    if marked:
        return Cancellation.CANCELLING
    raise MessageTooLateError
