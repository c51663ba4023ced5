"""Contacts that changed while their tenant has journeys which watch them (waypost_relay). Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A contact that changed, and when it first did of what is not looked at yet."""

    contact: UUID
    at: datetime


# From tenant to tenant along the index, however much of one waits. A suspended tenant's changes wait with it.
_TENANTS = """
WITH RECURSIVE found AS (
    (SELECT tenant_id FROM contact_changes ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.tenant_id FROM contact_changes c WHERE c.tenant_id > f.tenant_id ORDER BY c.tenant_id LIMIT 1)
    FROM found f WHERE f.tenant_id IS NOT NULL
)
SELECT t.id FROM found f JOIN tenants t ON t.id = f.tenant_id WHERE t.state <> 'suspended'
"""


async def tenants_with_changes(connection: Connection) -> list[UUID]:
    """Tenants of which contacts wait to be looked at."""
    return [row[0] for row in await (await connection.execute(_TENANTS)).fetchall()]


_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('waypost/entries/' || %s::text, 0))"


async def lock_entries(connection: Connection, *, tenant: UUID) -> bool:
    """Be the only one who brings the tenant's watched contacts in, until the transaction ends; False: another is.

    What one finds of a contact is then never older than what another has written of it.
    """
    row = await (await connection.execute(_LOCK, (tenant,))).fetchone()
    return row is not None and bool(row[0])


_TAKE = """
WITH taken AS (
    DELETE FROM contact_changes WHERE id IN (
        SELECT id FROM contact_changes WHERE tenant_id = %(tenant)s ORDER BY id LIMIT %(limit)s)
    RETURNING contact_id, at
)
SELECT contact_id, min(at), count(*) FROM taken GROUP BY contact_id ORDER BY contact_id
"""


async def take_changes(connection: Connection, *, tenant: UUID, limit: int) -> tuple[list[Changed], bool]:
    """The oldest changes, each contact once; whether there may be more."""
    rows = await (await connection.execute(_TAKE, {"tenant": tenant, "limit": limit})).fetchall()
    return [Changed(contact=row[0], at=row[1]) for row in rows], sum(row[2] for row in rows) >= limit


# Enrollments are locked before it is read what they await, as event_routing does it.
_LOOK = """
WITH found AS MATERIALIZED (
    SELECT e.id FROM unnest(%(contacts)s::uuid[]) AS g (contact)
    CROSS JOIN LATERAL (
        SELECT id, version_id FROM enrollments
        WHERE tenant_id = %(tenant)s AND contact_id = g.contact AND state = 'open' OFFSET 0) e
    JOIN journey_versions v ON v.tenant_id = %(tenant)s AND v.id = e.version_id AND v.conditions
), locked AS MATERIALIZED (
    SELECT e.id, e.awaits_any FROM enrollments e
    WHERE e.tenant_id = %(tenant)s AND e.id IN (SELECT id FROM found) AND e.state = 'open' ORDER BY e.id FOR SHARE
), told AS (
    INSERT INTO enrollment_inbox (tenant_id, enrollment_id, kind)
    SELECT %(tenant)s, id, 'look' FROM locked WHERE awaits_any RETURNING enrollment_id
), woken AS MATERIALIZED (
    SELECT waypost_wake(array_agg(enrollment_id)), count(*) AS n FROM told HAVING count(*) > 0
)
SELECT COALESCE((SELECT n FROM woken), 0)
"""


async def have_looked(connection: Connection, *, tenant: UUID, contacts: Sequence[UUID]) -> int:
    """Wake the enrollments of these contacts that any change may move; how many."""
    row = await (await connection.execute(_LOOK, {"tenant": tenant, "contacts": list(contacts)})).fetchone()
    assert row is not None
    woken: int = row[0]
    return woken
