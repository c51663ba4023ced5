"""What contacts did after a campaign wrote to them. Nothing here commits."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

WITHIN = timedelta(days=30)
"""After it was sent a message counts as the cause for so long."""

# Recipients in the order in which everybody locks them. A contact has few messages; their runs are looked up by key.
_CONVERT = """
WITH caused AS MATERIALIZED (
    SELECT m.tenant_id, m.id FROM contact_events e
    CROSS JOIN LATERAL (
        SELECT m.tenant_id, m.id FROM messages m
        JOIN campaign_runs r ON r.tenant_id = m.tenant_id AND r.id = m.run_id
        WHERE m.tenant_id = e.tenant_id AND m.contact_id = e.contact_id AND m.run_id IS NOT NULL AND NOT m.converted
          AND m.outcome IN ('sent', 'maybe_sent') AND m.outcome_at BETWEEN e.occurred_at - %(within)s AND e.occurred_at
          AND r.definition -> 'definition' ->> 'conversion_event' = e.name) m
    WHERE e.tenant_id = %(tenant)s AND e.id = ANY(%(events)b)
), locked AS MATERIALIZED (
    SELECT m.tenant_id, m.id FROM messages m
    WHERE (m.tenant_id, m.id) IN (SELECT tenant_id, id FROM caused) ORDER BY m.tenant_id, m.id FOR NO KEY UPDATE
)
UPDATE messages m SET converted = true FROM locked l WHERE m.tenant_id = l.tenant_id AND m.id = l.id
"""


async def note_conversions(connection: AsyncConnection[Any], *, tenant: UUID, events: Sequence[UUID]) -> None:
    """Recipients whose run waits for one of these events have converted, once each."""
    if events:
        await connection.execute(_CONVERT, {"tenant": tenant, "events": list(events), "within": WITHIN})
