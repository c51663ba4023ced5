"""What a journey's steps do to its contact. Inside the caller's transaction, as waypost_app for one tenant."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from waypost.messaging import ids

Connection = AsyncConnection[Any]

MAX_ATTRIBUTES_BYTES = 65_536
"""What a contact's attributes may come to by journeys; the API bounds what it is given by itself."""

_CHANGE = """
UPDATE contacts SET attributes = (attributes || %(set)s) - %(remove)s::text[], updated_at = waypost_now()
WHERE tenant_id = %(tenant)s AND id = %(contact)s AND octet_length((attributes || %(set)s)::text) <= %(most)s
RETURNING id
"""


async def change_attributes(
    connection: Connection, *, tenant: UUID, contact: UUID, changes: Mapping[str, Any], remove: Sequence[str]
) -> bool:
    """Lay attributes over, null takes one away; False where they would become too large."""
    given = {name: value for name, value in changes.items() if value is not None}
    values = {
        "tenant": tenant,
        "contact": contact,
        "set": Jsonb(given),
        "remove": [*remove, *(name for name, value in changes.items() if value is None)],
        "most": MAX_ATTRIBUTES_BYTES,
    }
    return await (await connection.execute(_CHANGE, values)).fetchone() is not None


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
