"""What the ledger knows when a provider denies a message: is it alone in that, or does nothing get through?

Runs as waypost_relay inside the caller's transaction: an account is shared, so other tenants' attempts count.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]

_RECENT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denials:
    """How a denied message stands beside the others of its account."""

    earlier: int = 0
    """Attempts of this message that ended in the same denial before."""
    others_accepted: bool = True
    """The account got a message through within the last five minutes."""
    others_accepted_since: bool = False
    """It did so after this message was denied the last time."""


_LOOK = """
WITH denied AS (
    SELECT count(*) AS earlier, max(claimed_at) AS last FROM attempts
    WHERE tenant_id = %(tenant)s AND message_id = %(message)s AND state = 'void' AND code = %(code)s
), accepted AS (
    SELECT claimed_at FROM attempts
    WHERE account_id = %(account)s AND state = 'accepted' AND claimed_at > waypost_now() - %(recent)s
    ORDER BY claimed_at DESC LIMIT 1
)
SELECT d.earlier, a.claimed_at IS NOT NULL AS others_accepted,
       COALESCE(a.claimed_at > d.last, false) AS others_accepted_since
FROM denied d LEFT JOIN accepted a ON true
"""


async def denials(connection: Connection, *, tenant: UUID, message: UUID, account: UUID, code: str | None) -> Denials:
    """Look at a message that was denied with this code, and at its account."""
    values = {"tenant": tenant, "message": message, "account": account, "code": code, "recent": _RECENT}
    async with connection.cursor(row_factory=class_row(Denials)) as cursor:
        await cursor.execute(_LOOK, values)
        return await cursor.fetchone() or Denials()
