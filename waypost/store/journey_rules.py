"""What the gate asks of a journey's message beside what it asks of every message: topic, hours, caps, pauses.

A statement of its own, so that messages that are of no journey cost nothing more. As waypost_app for one tenant.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyRules:
    """The rules around one message of a journey. `own_…` are the version's, beside the tenant's."""

    tenant_zone: str
    quiet_hours: dict[str, Any] | None
    frequency_caps: list[dict[str, Any]]
    own_zone: str | None
    own_quiet_hours: dict[str, Any] | None
    own_frequency_caps: list[dict[str, Any]] | None
    late_policy: str
    """The message's own, where a resume has set one; else the version's, else the tenant's."""
    own_late_after: str | None
    """An ISO 8601 duration."""
    held: bool
    """The journey is paused, or the enrollment has not taken note of a resume yet."""
    topic_opt_in: bool | None
    """None: on no topic."""
    subscription: str | None
    sent_at: list[datetime]
    """When the contact was written to on the message's channel; `sent_at_any`: on any."""
    sent_at_any: list[datetime]


# Each join is a look-up by the whole key, whatever the tables' sizes were when the plan was made. The definition is
# unpacked once.
_RULES = """
SELECT t.time_zone AS tenant_zone, t.quiet_hours, t.frequency_caps,
       d.time_zone AS own_zone, d.quiet_hours AS own_quiet_hours, d.frequency_caps AS own_frequency_caps,
       COALESCE(m.metadata ->> 'late_policy', d.late_policy, t.late_policy) AS late_policy,
       d.late_after AS own_late_after, COALESCE(e.held, false) AS held,
       CASE WHEN m.topic_id IS NOT NULL THEN COALESCE(p.opt_in, false) END AS topic_opt_in, s.state AS subscription,
       COALESCE(u.sent_at, '{}') AS sent_at, COALESCE(u.sent_at_any, '{}') AS sent_at_any
FROM messages m
JOIN tenants t ON t.id = m.tenant_id
LEFT JOIN LATERAL (
    SELECT e.version_id, j.state = 'paused'
           OR e.state = 'open' AND (e.paused_at IS NOT NULL OR e.pauses_seen < j.pauses) AS held
    FROM enrollments e CROSS JOIN LATERAL (
        SELECT state, pauses FROM journeys WHERE tenant_id = e.tenant_id AND id = e.journey_id LIMIT 1) j
    WHERE e.tenant_id = m.tenant_id AND e.id = m.enrollment_id LIMIT 1) e ON true
LEFT JOIN LATERAL (
    SELECT r.* FROM journey_versions v CROSS JOIN LATERAL jsonb_to_record(v.definition) AS r (
        time_zone text, quiet_hours jsonb, frequency_caps jsonb, late_policy text, late_after text)
    WHERE v.tenant_id = m.tenant_id AND v.id = e.version_id LIMIT 1) d ON true
LEFT JOIN LATERAL (SELECT opt_in FROM topics WHERE tenant_id = m.tenant_id AND id = m.topic_id LIMIT 1) p ON true
LEFT JOIN LATERAL (
    SELECT state FROM topic_subscriptions
    WHERE tenant_id = m.tenant_id AND topic_id = m.topic_id AND contact_id = m.contact_id LIMIT 1) s ON true
LEFT JOIN LATERAL (
    SELECT sent_at AS sent_at_any, ARRAY(SELECT o.at FROM unnest(sent_at, channels) AS o (at, channel)
                                         WHERE o.channel = m.channel) AS sent_at
    FROM cap_usage WHERE tenant_id = m.tenant_id AND contact_id = m.contact_id LIMIT 1) u ON true
WHERE m.tenant_id = %s AND m.id = %s
"""


async def load_rules(connection: Connection, *, tenant: UUID, message: UUID) -> JourneyRules | None:
    """The rules around a message of a journey; None when the tenant has no such message."""
    async with connection.cursor(row_factory=class_row(JourneyRules)) as cursor:
        await cursor.execute(_RULES, (tenant, message))
        return await cursor.fetchone()
