"""Lists that a journey's steps put its contact on. Inside the caller's transaction, as waypost_app for one tenant."""

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging import ids

Connection = AsyncConnection[Any]

_JOIN = """
WITH list AS (
    SELECT id FROM lists WHERE tenant_id = %(tenant)s AND id = %(list)s FOR KEY SHARE
), joined AS (
    INSERT INTO list_members (tenant_id, list_id, contact_id)
    SELECT %(tenant)s, id, %(contact)s FROM list ON CONFLICT DO NOTHING
)
SELECT id FROM list
"""

_LEAVE = "DELETE FROM list_members WHERE tenant_id = %(tenant)s AND list_id = %(list)s AND contact_id = %(contact)s"


async def join_list(connection: Connection, *, tenant: UUID, contact: UUID, key: str) -> bool:
    """Put the contact on a list; False where there is no such list."""
    values = {"tenant": tenant, "contact": contact, "list": ids.list_id(tenant=tenant, key=key)}
    return await (await connection.execute(_JOIN, values)).fetchone() is not None


async def leave_list(connection: Connection, *, tenant: UUID, contact: UUID, key: str) -> None:
    """Take the contact off a list."""
    values = {"tenant": tenant, "contact": contact, "list": ids.list_id(tenant=tenant, key=key)}
    await connection.execute(_LEAVE, values)
