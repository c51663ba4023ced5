"""What the tests of the Segment protocol share: calls as its clients send them, and a look at the rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import psycopg

from tests.api.running import Tenant, ok
from tests.services import Database
from waypost.messaging import ids


class Rows:
    """What is in the database, past row security."""

    def __init__(self, database: Database) -> None:
        self._url = database.owner_url

    def events(self, tenant: UUID, external_id: str) -> list[tuple[str, dict[str, Any], datetime]]:
        contact = ids.contact_id(tenant=tenant, external_id=external_id)
        query = (
            "SELECT name, properties, occurred_at FROM contact_events WHERE tenant_id = %s AND contact_id = %s"
            " ORDER BY occurred_at, name"
        )
        with psycopg.connect(self._url) as connection:
            return connection.execute(query, (tenant, contact)).fetchall()

    def names(self, tenant: UUID, external_id: str) -> list[str]:
        return [name for name, _, _ in self.events(tenant, external_id)]

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


async def contact_of(tenant: Tenant, external_id: str) -> Any:
    return await ok(tenant.client.get(f"/v1/contacts/{external_id}"))


async def post(tenant: Tenant, call: str, body: Any) -> Any:
    """As a client of the protocol does: the key is the user, there is no password."""
    headers = {"Authorization": httpx.BasicAuth(tenant.key, "")._auth_header}
    return await tenant.client.post(f"/v1/{call}", json=body, headers=headers)
