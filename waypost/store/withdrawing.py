"""Messages that are not to go out any more: of a contact that is deleted, or of an enrollment that is left.

Inside the caller's transaction, which commits.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, LiteralString

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]


class Withdrawal(StrEnum):
    """Whose, and so why: the outcome's reason."""

    CONTACT_DELETED = "contact_deleted"
    JOURNEY_LEFT = "journey_left"


# The rows first, primary before fallback as the send path locks them: a claim that is under way holds the lock, and the
# next statement's snapshot then shows its attempt.
_LOCK: LiteralString = """
SELECT m.id FROM messages m WHERE m.tenant_id = %(tenant)s AND m.outcome IS NULL AND {whose}
ORDER BY m.primary_id IS NOT NULL, m.id FOR UPDATE
"""

# Rows that are rows end here. Where an execution is open, or an attempt may be out there, the mark forbids the next
# claim, and the gate says why.
_WITHDRAW: LiteralString = """
WITH open AS (
    SELECT m.id, m.phase IN ('ready', 'waiting') AND NOT EXISTS (
               SELECT FROM attempts a WHERE a.tenant_id = m.tenant_id AND a.message_id = m.id
               AND a.month = waypost_month(m.created_at)
               AND a.state IN ('in_flight', 'unknown', 'accepted', 'assumed_sent', 'abandoned')) AS ours
    FROM messages m WHERE m.tenant_id = %(tenant)s AND m.outcome IS NULL AND {whose}
), closed AS (
    UPDATE messages m SET phase = 'closed', outcome = 'cancelled', outcome_reason = %(reason)s,
           outcome_at = waypost_now(), hold_reason = NULL, due_at = COALESCE(m.due_at, waypost_now())
    FROM open o WHERE m.tenant_id = %(tenant)s AND m.id = o.id AND o.ours RETURNING m.id
), marked AS (
    UPDATE messages m SET cancel_requested_at = COALESCE(m.cancel_requested_at, waypost_now())
    FROM open o WHERE m.tenant_id = %(tenant)s AND m.id = o.id AND NOT o.ours
)
INSERT INTO verdicts (tenant_id, message_id, verdict, reason, outcome)
SELECT %(tenant)s, id, 'refuse', %(reason)s, 'cancelled' FROM closed
"""

_WHOSE: Mapping[Withdrawal, LiteralString] = {
    Withdrawal.CONTACT_DELETED: "m.contact_id = %(contact)s",
    Withdrawal.JOURNEY_LEFT: "m.enrollment_id = %(enrollment)s"
    " AND (%(source)s::uuid IS NULL OR m.source_id = %(source)s)",
}


async def withdraw(connection: Connection, why: Withdrawal, **values: Any) -> None:
    """End what nobody has claimed, and forbid the rest. `values`: tenant, and `contact`, or `enrollment` and `source`
    (None: of all visits)."""
    whose = _WHOSE[why]
    values["reason"] = why.value
    await connection.execute(_LOCK.replace("{whose}", whose), values)
    await connection.execute(_WITHDRAW.replace("{whose}", whose), values)
