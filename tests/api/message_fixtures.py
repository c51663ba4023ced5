"""A tenant that can send: senders on test accounts, contacts, templates; and looks at the ledger as its owner."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.api.running import Api, ok
from tests.services import Database
from waypost.messaging import ids

_names = itertools.count(1)

RECEIPT = {
    "channel": "email",
    "default_locale": "en",
    "locales": {
        "en": {
            "channel": "email",
            "subject": "Receipt {{ data.order }}",
            "text": "Hello {{ contact.first_name | default: 'there' }}, {{ data.note | default: 'thanks' }}.",
        }
    },
}


@dataclass(frozen=True)
class Shop:
    """A tenant with what it needs to send, and its ledger."""

    id: UUID
    key: str
    client: httpx.AsyncClient
    database: Database

    async def send(self, body: dict[str, Any] | None = None, *, key: str | None = None) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.client.post("/v1/messages", json=body if body is not None else receipt(), headers=headers)

    async def sent(self, body: dict[str, Any] | None = None, *, key: str | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = await ok(self.send(body, key=key))
        return answer

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Read or write as the owner, past row security's policies."""
        with psycopg.connect(self.database.owner_url, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def message(self, message: str | UUID) -> dict[str, Any]:
        (row,) = self.rows("SELECT * FROM messages WHERE tenant_id = %s AND id = %s", self.id, message)
        return row

    def count(self) -> int:
        (row,) = self.rows("SELECT count(*) FROM messages WHERE tenant_id = %s", self.id)
        return int(row["count"])

    def template(self, key: str, content: dict[str, Any]) -> None:
        """A new version of a template."""
        template = ids.template_id(tenant=self.id, key=key)
        (row,) = self.rows(
            "INSERT INTO templates (tenant_id, id, key, channel, current_version) VALUES (%s, %s, %s, %s, 1) "
            "ON CONFLICT (tenant_id, key) DO UPDATE SET current_version = templates.current_version + 1 "
            "RETURNING current_version",
            *(self.id, template, key, content["channel"]),
        )
        self.rows(
            "INSERT INTO template_versions (tenant_id, template_id, version, content, content_hash) "
            "VALUES (%s, %s, %s, %s, '')",
            *(self.id, template, row["current_version"], Jsonb(content)),
        )

    def attempt(self, message: str, state: str, **columns: Any) -> UUID:
        """An attempt of a message, claimed now."""
        attempt = uuid4()
        row = {"tenant_id": self.id, "id": attempt, "message_id": message, "number": 1, "state": state, **columns}
        row["account_id"] = self.message(message)["account_id"]
        names = ", ".join(row)
        self.rows(
            f"INSERT INTO attempts ({names}, claimed_at, process, month) "  # noqa: S608 - column names of the test's own
            f"VALUES ({', '.join(['%s'] * len(row))}, waypost_now(), 'test', waypost_month(waypost_now()))",
            *row.values(),
        )
        return attempt

    def move(self, message: str, phase: str) -> None:
        self.rows("UPDATE messages SET phase = %s, due_at = waypost_now() WHERE id = %s", phase, message)


async def open_shop(api: Api, database: Database, *, mode: str = "test", **settings: Any) -> Shop:
    """A tenant with a default email and SMS sender on test accounts, the contact `ann` and the template `receipt`."""
    tenant = await api.tenant(mode=mode, **settings)
    shop = Shop(tenant.id, tenant.key, tenant.client, database)
    _add_sender(shop, "mail", "email", "ses", "shop@sender.test")
    _add_sender(shop, "text", "sms", "twilio", "+15005550006")
    shop.rows(
        "INSERT INTO contacts (tenant_id, id, external_id, email, phone) VALUES (%s, %s, 'ann', 'ann@reader.test', %s)",
        *(shop.id, ids.contact_id(tenant=shop.id, external_id="ann"), "+436641234567"),
    )
    shop.template("receipt", RECEIPT)
    return shop


def _add_sender(shop: Shop, key: str, channel: str, kind: str, address: str) -> None:
    account = uuid4()
    shop.rows(
        "INSERT INTO provider_accounts (id, name, kind, mode, credentials, feed) VALUES (%s, %s, %s, 'test', '{}', %s)",
        *(account, f"account-{next(_names)}", kind, "durable" if kind == "ses" else "lossy"),
    )
    shop.rows(
        "INSERT INTO senders (tenant_id, id, key, channel, address, account_id, mode, is_default) "
        "VALUES (%s, %s, %s, %s, %s, %s, 'test', true)",
        *(shop.id, ids.sender_id(tenant=shop.id, key=key), key, channel, address, account),
    )


def receipt(**changes: Any) -> dict[str, Any]:
    """The body of a plain message; None takes a field out."""
    body = {"to": {"contact": "ann"}, "template": {"key": "receipt"}, "data": {"order": "A-1"}, **changes}
    return {name: value for name, value in body.items() if value is not None}
