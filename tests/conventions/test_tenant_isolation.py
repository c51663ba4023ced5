"""No tenant learns of another: every route asked with the other's ids, and row security asked without our SQL.

What tenant B owns carries a canary in every text; tenant A, who knows B's ids and keys, must never see one, and what B
owns must be the same afterwards. The app runs under waypost_app and waypost_relay, as everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest_asyncio
from psycopg import sql

from tests.api.running import Api, Tenant, ok, running
from tests.services import Database

CANARY = "canary7f3e9a1c5d2b8e4f6a0c"
KEY = "bs-own"
EMAIL = f"{CANARY}@example.com"

TEMPLATE = {"channel": "email", "default_locale": "en", "locales": {"en": {"subject": CANARY, "text": CANARY}}}

HARMLESS = {"channel": "email", "default_locale": "en", "locales": {"en": {"subject": "Mine", "text": "Mine"}}}

RULE = {"kind": "field", "name": "external_id", "is": {"op": "exists"}}

CAMPAIGN = {"name": "Mine", "channel": "email", "template": KEY, "sender": KEY, "audience": {"list": KEY}}

_ENDS = {"timeout": "P1D", "on_timeout": "b", "on_reject": "b", "next": "b"}

JOURNEY = {
    "journey": KEY,
    "name": "Mine",
    "entry": {"kind": "api"},
    "start": "a",
    "steps": {
        "a": {"kind": "approval", "question": "Well?", **_ENDS},
        "b": {"kind": "add_to_list", "list": KEY, "next": "end"},
    },
}

BODIES: Mapping[tuple[str, str], Any] = {
    ("post", "/v1/messages"): {"to": {"contact": KEY}, "template": {"key": KEY}, "sender": KEY},
    ("post", "/v1/messages/batch"): {
        "messages": [{"to": {"email": "a@example.com"}, "template": {"key": KEY}, "sender": KEY}]
    },
    ("post", "/v1/messages/{message_id}/cancel"): None,
    ("put", "/v1/contacts/{external_id}"): {"email": "mine@example.com"},
    ("post", "/v1/imports"): {},
    ("post", "/v1/contacts/batch"): {"contacts": [{"external_id": KEY, "email": "mine@example.com"}]},
    ("put", "/v1/templates/{key}"): HARMLESS,
    ("post", "/v1/templates/{key}/preview"): {"contact": KEY},
    ("put", "/v1/lists/{key}"): {"name": "Mine"},
    ("post", "/v1/lists/{key}/members"): {"external_ids": [KEY]},
    ("post", "/v1/lists/{key}/members/remove"): {"external_ids": [KEY]},
    ("put", "/v1/segments/{key}"): {"name": "Mine", "rule": RULE},
    ("post", "/v1/segments/preview"): {"rule": RULE},
    ("post", "/v1/events"): {"id": KEY, "contact": KEY, "name": "mine"},
    ("post", "/v1/events/batch"): {"events": [{"id": KEY, "contact": KEY, "name": "mine"}]},
    ("post", "/v1/track"): {"userId": KEY, "event": "mine"},
    ("post", "/v1/identify"): {"userId": KEY, "traits": {"email": "mine@example.com"}},
    ("post", "/v1/page"): {"userId": KEY},
    ("post", "/v1/screen"): {"userId": KEY},
    ("post", "/v1/group"): {"userId": KEY, "groupId": "mine"},
    ("post", "/v1/alias"): {"previousId": KEY, "userId": "mine"},
    ("post", "/v1/batch"): {"batch": [{"type": "alias", "previousId": KEY, "userId": "mine"}]},
    ("post", "/v1/import"): {"batch": [{"type": "track", "userId": KEY, "event": "mine"}]},
    ("post", "/v1/suppressions"): {"channel": "email", "address": "mine@example.com"},
    ("put", "/v1/topics/{key}"): {"name": "Mine"},
    ("put", "/v1/contacts/{external_id}/topics/{key}"): {"confirmed": True},
    ("patch", "/v1/settings"): {"double_opt_in_template": KEY},
    ("put", "/v1/campaigns/{key}"): CAMPAIGN,
    ("post", "/v1/campaigns/{key}/duplicate"): {"key": "a-copy"},
    ("post", "/v1/campaigns/{key}/choose-winner"): {"variant": "A"},
    ("post", "/v1/campaigns/{key}/send-test"): {"to": [{"contact": KEY}]},
    ("put", "/v1/journeys/{key}"): JOURNEY,
    ("post", "/v1/journeys/{key}/resume"): {"policy": "shift"},
    ("post", "/v1/journeys/{key}/archive"): {"remove": True},
    ("post", "/v1/journeys/{key}/migrate"): {"from": 1, "to": 2},
    ("post", "/v1/journeys/{key}/enrollments"): {"contact": KEY},
    ("post", "/v1/enrollments/{enrollment_id}/skip-wait"): {"step": "a"},
    ("post", "/v1/enrollments/{enrollment_id}/move"): {"step": "b"},
    ("post", "/v1/enrollments/{enrollment_id}/answer"): {"step": "a", "approved": True},
    ("put", "/v1/senders/{key}"): {"channel": "email", "address": "mine@example.com", "account": "shared"},
}
"""What A sends, naming B's rows. A new route that takes a body or changes something belongs here."""


@dataclass(frozen=True)
class TwoTenants:
    """A asks; B owns."""

    api: Api
    a: Tenant
    b: Tenant
    ids: Mapping[str, str]
    database: Database

    def operations(self) -> Iterator[tuple[str, str, Any]]:
        """Every operation that takes a tenant's key; those that delete come last."""
        paths = self.api.app.openapi()["paths"]
        found = [(method, path, one) for path, operations in paths.items() for method, one in operations.items()]
        ours = [(method, path, one) for method, path, one in found if {"TenantKey": []} in one.get("security", [])]
        assert len(ours) > 15
        yield from sorted(ours, key=lambda operation: operation[0] == "delete")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tenants(module_database: Database) -> AsyncIterator[TwoTenants]:
    async with running(module_database) as api:
        await api.account("shared")
        a, b = await api.tenant(), await api.tenant()
        ids = await _own(b)
        yield TwoTenants(api=api, a=a, b=b, ids=ids, database=module_database)


async def _own(b: Tenant) -> Mapping[str, str]:
    """A row of everything, canaries in it."""
    contact = {"email": EMAIL, "attributes": {CANARY: CANARY}}
    await ok(b.client.put(f"/v1/contacts/{KEY}", json=contact))
    await ok(b.client.put(f"/v1/templates/{KEY}", json=TEMPLATE))
    sender = {"channel": "email", "address": EMAIL, "name": CANARY, "account": "shared", "is_default": True}
    await ok(b.client.put(f"/v1/senders/{KEY}", json=sender))
    await ok(b.client.put(f"/v1/topics/{KEY}", json={"name": CANARY, "description": CANARY}))
    await ok(b.client.put(f"/v1/contacts/{KEY}/topics/{KEY}"))
    file = {"sha256": "0" * 64, "file_name": CANARY}
    imported = await ok(b.client.post("/v1/imports", params=file, content=f"external_id\n{CANARY} {CANARY}\n"))
    suppressed = {"channel": "email", "address": f"x{EMAIL}", "note": CANARY}
    suppression = await ok(b.client.post("/v1/suppressions", json=suppressed))
    message = {"to": {"contact": KEY}, "template": {"key": KEY}, "tags": [CANARY], "metadata": {"m": CANARY}}
    accepted = await ok(b.client.post("/v1/messages", json=message, headers={"Idempotency-Key": CANARY}))
    await ok(b.client.put(f"/v1/lists/{KEY}", json={"name": CANARY}))
    await ok(b.client.post(f"/v1/lists/{KEY}/members", json={"external_ids": [KEY]}))
    await ok(b.client.put(f"/v1/segments/{KEY}", json={"name": CANARY, "rule": RULE}))
    done = {"id": KEY, "contact": KEY, "name": CANARY, "properties": {CANARY: CANARY}}
    await ok(b.client.post("/v1/events", json=done))
    await ok(b.client.put(f"/v1/campaigns/{KEY}", json={**CAMPAIGN, "name": CANARY, "data": {CANARY: CANARY}}))
    await ok(b.client.post(f"/v1/campaigns/{KEY}/schedule"))
    await ok(b.client.put(f"/v1/journeys/{KEY}", json={**JOURNEY, "name": CANARY}))
    await ok(b.client.post(f"/v1/journeys/{KEY}/publish"))
    carried = {"contact": KEY, "data": {CANARY: CANARY}}
    enrollment = await ok(b.client.post(f"/v1/journeys/{KEY}/enrollments", json=carried))
    cursor = (await ok(b.client.get("/v1/contacts", params={"limit": 1})))["next_cursor"]
    return {
        "key": KEY,
        "external_id": KEY,
        "message_id": accepted["id"],
        "enrollment_id": enrollment["id"],
        "number": "1",
        "import_id": imported["id"],
        "suppression_id": suppression["id"],
        "cursor": cursor or "",
    }


async def test_no_route_shows_or_changes_what_another_tenant_owns(tenants: TwoTenants) -> None:
    before = _owned(tenants.database, tenants.b.id)
    assert CANARY in str(before)
    for method, path, operation in tenants.operations():
        response = await _ask(tenants, method, path, operation)
        _assert_nothing_leaks(tenants, method, path, response)
    assert _owned(tenants.database, tenants.b.id) == before


async def test_the_owner_is_shown_what_the_other_was_not(tenants: TwoTenants) -> None:
    """The control: the same requests with B's key do find the canaries."""
    for path in (
        "/v1/contacts/{external_id}",
        "/v1/templates/{key}",
        "/v1/senders/{key}",
        "/v1/messages/{message_id}",
        "/v1/campaigns/{key}",
        "/v1/journeys/{key}",
        "/v1/enrollments/{enrollment_id}",
    ):
        response = await tenants.b.client.get(path.format(**tenants.ids))
        assert CANARY in response.text, path


async def test_an_idempotency_key_belongs_to_its_tenant(tenants: TwoTenants) -> None:
    body = {"to": {"email": "a@example.com"}, "content": {"channel": "email", "subject": "Mine", "text": "Mine"}}
    sender = {"channel": "email", "address": "mine@example.com", "account": "shared", "is_default": True}
    await ok(tenants.a.client.put("/v1/senders/mine", json=sender))
    answer = await ok(tenants.a.client.post("/v1/messages", json=body, headers={"Idempotency-Key": CANARY}))
    assert answer["id"] != tenants.ids["message_id"]


async def test_both_at_once_see_their_own(tenants: TwoTenants) -> None:
    """Connections are shared: the tenant of one transaction must be gone in the next."""

    async def seen(tenant: Tenant) -> bool:
        return CANARY in (await tenant.client.get("/v1/contacts")).text

    asked = [tenants.a, tenants.b] * 20
    answers = await asyncio.gather(*(seen(tenant) for tenant in asked))
    assert answers == [tenant is tenants.b for tenant in asked]


async def test_row_security_shows_the_app_one_tenant_and_without_one_nothing(tenants: TwoTenants) -> None:
    with psycopg.connect(tenants.database.app_url) as connection:
        tables = _tenant_tables(connection)
        assert {"contacts", "messages", "senders", "api_keys", "attempts"} <= tables
        for tenant, expected in ((tenants.a.id, {tenants.a.id}), (None, set())):
            with connection.transaction():
                connection.execute("SELECT set_config('app.tenant', %s, true)", (str(tenant or ""),))
                for table in tables:
                    query = sql.SQL("SELECT DISTINCT tenant_id FROM {}").format(sql.Identifier(table))
                    assert {row[0] for row in connection.execute(query)} <= expected, table


async def _ask(tenants: TwoTenants, method: str, path: str, operation: Any) -> httpx.Response:
    named = {one["name"]: one for one in operation.get("parameters", [])}
    takes_body = "requestBody" in operation
    assert not takes_body or (method, path) in BODIES, f"give {method} {path} a body that names B's rows"
    params = {"contact": KEY, "tag": CANARY, "cursor": tenants.ids["cursor"]}
    query = {name: value for name, value in params.items() if value and named.get(name, {}).get("in") == "query"}
    body = {"json": BODIES[method, path]} if takes_body else {}
    return await tenants.a.client.request(method, path.format(**tenants.ids), params=query, **body)


def _assert_nothing_leaks(tenants: TwoTenants, method: str, path: str, response: httpx.Response) -> None:
    where = (method, path, response.status_code, response.text)
    assert response.status_code not in (401, 403, 429), where
    assert response.status_code < 500, where
    assert CANARY not in response.text, where
    assert str(tenants.b.id) not in response.text, where
    if "{" in path and method in ("get", "post"):
        # A's own rows of the same keys are made by PUT, and go before they are asked for again.
        # Campaigns cannot be deleted: what A's own one forbids is a conflict.
        stateful = path.startswith(("/v1/campaigns/", "/v1/journeys/"))
        allowed = (200, 404, 409) if stateful else (200, 404)
        assert response.status_code in allowed, where
        if path.startswith(("/v1/messages/", "/v1/suppressions/", "/v1/enrollments/")):
            assert response.status_code == 404, where


def _owned(database: Database, tenant: UUID) -> dict[str, list[str]]:
    """All rows of a tenant as the owner of the tables sees them."""
    with psycopg.connect(database.owner_url) as connection:
        found = {}
        for table in sorted(_tenant_tables(connection)):
            query = sql.SQL("SELECT t::text FROM {} t WHERE tenant_id = %s ORDER BY 1").format(sql.Identifier(table))
            found[table] = [row[0] for row in connection.execute(query, (tenant,))]
        return found


def _tenant_tables(connection: psycopg.Connection[Any]) -> set[str]:
    """Tables with a tenant that this role may read."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace"
        " AND has_table_privilege(c.oid, 'SELECT')"
    )
    return {row[0] for row in rows}
