"""Contacts of the Segment protocol that turn out to be one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.running import Api, Tenant, ok, problem
from tests.api.segment_fixtures import Rows, contact_of, post
from tests.services import Database
from waypost.messaging import ids


@pytest.fixture(scope="module")
def rows(module_database: Database) -> Rows:
    return Rows(module_database)


async def test_who_is_anonymous_becomes_the_user_it_is_identified_as(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    await ok(post(tenant, "identify", {"anonymousId": "a1", "traits": {"source": "ad", "plan": "none"}}))
    await ok(post(tenant, "track", {"anonymousId": "a1", "event": "before"}))
    assert (await contact_of(tenant, "anon:a1"))["attributes"] == {"source": "ad", "plan": "none"}
    batch = [
        {"type": "track", "anonymousId": "a1", "event": "between"},
        {"type": "identify", "userId": "u", "anonymousId": "a1", "traits": {"plan": "pro"}},
        {"type": "track", "anonymousId": "a1", "event": "after"},
    ]
    assert await ok(post(tenant, "batch", {"batch": batch})) == {"success": True}
    assert (await contact_of(tenant, "u"))["attributes"] == {"source": "ad", "plan": "pro"}
    assert sorted(rows.names(tenant.id, "u")) == ["after", "before", "between"]
    await problem(tenant.client.get("/v1/contacts/anon:a1"), 404, "not_found")


async def test_an_alias_makes_one_contact_of_two(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    old = {
        "email": "old@example.com",
        "phone": "+436641234567",
        "attributes": {"a": 1, "b": 1},
        "consent": {"sms": False},
    }
    new = {"email": "new@example.com", "attributes": {"b": 2}}
    await ok(tenant.client.put("/v1/contacts/old", json=old))
    await ok(tenant.client.put("/v1/contacts/new", json=new))
    for topic in ("news", "tips"):
        await ok(tenant.client.put(f"/v1/topics/{topic}", json={"name": topic}))
        await ok(tenant.client.put(f"/v1/contacts/old/topics/{topic}", json={"confirmed": True}))
    await ok(tenant.client.delete("/v1/contacts/new/topics/tips"))
    await ok(tenant.client.put("/v1/lists/vips", json={"name": "VIPs"}))
    await ok(tenant.client.post("/v1/lists/vips/members", json={"external_ids": ["old"]}))
    await ok(post(tenant, "track", {"userId": "old", "event": "bought"}))
    usage = "INSERT INTO cap_usage VALUES (%s, %s, ARRAY[now() - %s * interval '1 hour'], ARRAY[%s])"
    for who, hours, channel in (("old", 2, "email"), ("new", 1, "sms")):
        contact = ids.contact_id(tenant=tenant.id, external_id=who)
        rows.execute(usage, tenant.id, contact, hours, channel)

    for _ in range(2):  # what comes twice changes nothing more
        assert await ok(post(tenant, "alias", {"previousId": "old", "userId": "new"})) == {"success": True}
    contact = await contact_of(tenant, "new")
    assert (contact["email"], contact["phone"]) == ("new@example.com", "+436641234567")
    assert (contact["attributes"], contact["consent"]) == ({"a": 1, "b": 2}, {"sms": False})
    assert rows.names(tenant.id, "new") == ["bought"]
    await problem(tenant.client.get("/v1/contacts/old"), 404, "not_found")
    words = rows.execute(
        "SELECT t.key, s.state FROM topic_subscriptions s"
        " JOIN topics t ON t.id = s.topic_id AND t.tenant_id = s.tenant_id"
        " WHERE s.tenant_id = %s AND s.contact_id = %s ORDER BY t.key",
        tenant.id,
        ids.contact_id(tenant=tenant.id, external_id="new"),
    )
    assert words == [("news", "subscribed"), ("tips", "unsubscribed")]
    members = await ok(tenant.client.get("/v1/lists/vips/members"))
    assert [one["external_id"] for one in members["data"]] == ["new"]
    assert rows.execute("SELECT channels FROM cap_usage WHERE tenant_id = %s", tenant.id) == [(["email", "sms"],)]


async def test_an_alias_of_nobody_makes_nobody(api: Api) -> None:
    tenant = await api.tenant()
    for body in ({"previousId": "gone", "userId": "u"}, {"previousId": "u", "userId": "u"}):
        await ok(post(tenant, "alias", body))
    await problem(tenant.client.get("/v1/contacts/u"), 404, "not_found")


async def test_an_alias_of_one_who_is_not_there_yet_is_a_new_name(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    batch = [
        {"type": "alias", "previousId": "a", "userId": "nobody"},
        {"type": "identify", "userId": "a", "traits": {"email": "a@example.com"}},
        {"type": "track", "userId": "a", "event": "one"},
        {"type": "alias", "previousId": "a", "userId": "b"},
        {"type": "track", "userId": "b", "event": "two"},
        {"type": "alias", "previousId": "b", "userId": "c"},
    ]
    assert await ok(post(tenant, "batch", {"batch": batch})) == {"success": True}
    contacts = await ok(tenant.client.get("/v1/contacts"))
    assert [(one["external_id"], one["email"]) for one in contacts["data"]] == [("c", "a@example.com")]
    assert sorted(rows.names(tenant.id, "c")) == ["one", "two"]


async def test_nothing_is_lost_of_what_somebody_does_while_it_is_identified(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    for number in range(10):
        who = f"a{number}"
        await ok(post(tenant, "track", {"anonymousId": who, "event": "first"}))
        track = {"anonymousId": who}
        calls = [
            _until_taken(tenant, "track", {**track, "event": f"e{n}", "messageId": f"{who}-{n}"}) for n in range(6)
        ]
        for place in (3, 5):
            calls.insert(place, _until_taken(tenant, "identify", {"userId": f"u{number}", "anonymousId": who}))
        await asyncio.gather(*calls)
        done = rows.names(tenant.id, f"u{number}") + rows.names(tenant.id, f"anon:{who}")
        assert sorted(done) == ["e0", "e1", "e2", "e3", "e4", "e5", "first"]


async def _until_taken(tenant: Tenant, call: str, body: Any) -> None:
    """As the libraries do: 503 is tried again."""
    for _ in range(10):
        answer = await post(tenant, call, body)
        if answer.status_code != 503:
            break
    assert answer.status_code == 200, answer.text
