"""What an enrollment is told: rows that its next decision takes away, and the hint that makes it decide.

Inside the caller's transaction, which commits; tell the outbox's channel afterwards.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

Connection = AsyncConnection[Any]

_TELL = """
WITH told AS (
    INSERT INTO enrollment_inbox (tenant_id, enrollment_id, kind, detail)
    SELECT e.tenant_id, e.id, %(kind)s, %(detail)s
    FROM unnest(%(enrollments)s::uuid[]) AS o (id) JOIN enrollments e ON e.tenant_id = %(tenant)s AND e.id = o.id
    WHERE e.state = 'open'
    RETURNING enrollment_id
), woken AS (
    SELECT waypost_wake(array_agg(enrollment_id)) FROM told HAVING count(*) > 0
)
SELECT enrollment_id FROM told WHERE (SELECT count(*) FROM woken) >= 0
"""


async def tell(
    connection: Connection,
    *,
    tenant: UUID,
    enrollments: Sequence[UUID],
    kind: str,
    detail: Mapping[str, Any] | None = None,
) -> set[UUID]:
    """Tell open enrollments the same thing, and have them decide; those that were told."""
    values = {"tenant": tenant, "enrollments": list(enrollments), "kind": kind, "detail": Jsonb(dict(detail or {}))}
    return {row[0] for row in await (await connection.execute(_TELL, values)).fetchall()}
