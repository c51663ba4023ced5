from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import orjson
import psycopg
import pytest
from segment.analytics.client import Client

from api.app import create_app
from tests.api.running import Api, Tenant, app_settings, ok, problem
from tests.api.serving import serving
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


@pytest.fixture(scope="module")
def rows(module_database: Database) -> Rows:
    return Rows(module_database)


@pytest.fixture(scope="module")
def base_url(module_database: Database) -> Iterator[str]:
    with serving(create_app(app_settings(module_database))) as url:
        yield url


async def _contact(tenant: Tenant, external_id: str) -> Any:
    return await ok(tenant.client.get(f"/v1/contacts/{external_id}"))


async def _post(tenant: Tenant, call: str, body: Any) -> Any:
    """As a client of the protocol does: the key is the user, there is no password."""
    headers = {"Authorization": httpx.BasicAuth(tenant.key, "")._auth_header}
    return await tenant.client.post(f"/v1/{call}", json=body, headers=headers)


@pytest.mark.parametrize("gzipped", [False, True])
async def test_the_unmodified_python_client_delivers_identify_track_and_batch(
    api: Api, base_url: str, rows: Rows, gzipped: bool
) -> None:
    tenant = await api.tenant(scopes=("*",))
    happened = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)

    def deliver() -> list[Any]:
        failed: list[Any] = []

        def note(error: Any, batch: Any) -> None:
            failed.append((error, batch))

        client = Client(tenant.key, host=base_url, gzip=gzipped, on_error=note, upload_interval=0.1)
        client.identify("ann", {"email": "Ann@Example.com", "plan": "pro", "seats": 3})
        client.track("ann", "Order Placed", {"total": 19.9}, timestamp=happened, message_id="order-1")
        client.track("ann", "Order Placed", {"total": 19.9}, timestamp=happened, message_id="order-1")
        client.page("ann", "Docs", "Home", {"url": "https://example.com/"})
        client.screen("ann", name="Cart")
        client.group("ann", "acme", {"industry": "anvils"})
        client.track(anonymous_id="4d1f", event="Looked")
        client.alias("4d1f", "ann")
        for number in range(250):
            client.track(f"u{number}", "Signed Up", {"number": number})
        client.shutdown()
        return failed

    assert await asyncio.to_thread(deliver) == []
    ann = await _contact(tenant, "ann")
    assert ann["email"] == "Ann@example.com"
    assert ann["attributes"] == {"plan": "pro", "seats": 3, "groups": {"acme": {"industry": "anvils"}}}
    events = rows.events(tenant.id, "ann")
    assert sorted(name for name, _, _ in events) == ["Looked", "Order Placed", "page", "screen"]
    assert ("Order Placed", {"total": 19.9}, happened) in events
    (page,) = [properties for name, properties, _ in events if name == "page"]
    assert page == {"name": "Home", "category": "Docs", "url": "https://example.com/"}
    for number in (0, 101, 249):
        ((name, properties, _),) = rows.events(tenant.id, f"u{number}")
        assert (name, properties) == ("Signed Up", {"number": number})


async def test_the_client_in_its_synchronous_mode_is_told_of_a_wrong_key(api: Api, base_url: str) -> None:
    tenant = await api.tenant()

    def deliver(key: str) -> None:
        Client(key, host=base_url, sync_mode=True).track("ann", "Looked")

    await asyncio.to_thread(deliver, tenant.key)
    with pytest.raises(Exception, match="401"):
        await asyncio.to_thread(deliver, tenant.key[:-1] + "x")


async def test_identify_merges_and_null_takes_away(api: Api) -> None:
    tenant = await api.tenant()
    first = {"email": "a@example.com", "phone": "+43 664 1234567", "plan": "free", "tags": {"a": 1}, "age": 31}
    assert (await _post(tenant, "identify", {"userId": "u", "traits": first})).json() == {"success": True}
    second = {
        "plan": "pro",
        "age": None,
        "tags": {"b": 2},
        "phone": None,
        "timezone": "Europe/Vienna",
        "locale": "de_at",
    }
    await ok(_post(tenant, "identify", {"userId": "u", "traits": second}))
    contact = await _contact(tenant, "u")
    assert (contact["email"], contact["phone"]) == ("a@example.com", None)
    assert (contact["time_zone"], contact["locale"]) == ("Europe/Vienna", "de-AT")
    assert contact["attributes"] == {"plan": "pro", "tags": {"b": 2}}


async def test_an_identify_that_changes_nothing_writes_nothing(api: Api) -> None:
    tenant = await api.tenant()
    call = {"userId": "u", "traits": {"plan": "pro", "paid": 1, "big": 1e20}}
    await ok(_post(tenant, "identify", call))
    before = await _contact(tenant, "u")
    await ok(_post(tenant, "identify", call))
    assert await _contact(tenant, "u") == before
    await ok(_post(tenant, "identify", {"userId": "u", "traits": {"paid": True}}))
    after = await _contact(tenant, "u")
    assert after["attributes"]["paid"] is True
    assert after["updated_at"] > before["updated_at"]


async def test_what_the_library_says_of_its_machine_fills_gaps_alone(api: Api) -> None:
    tenant = await api.tenant()
    context = {"locale": "fr-FR", "timezone": "Europe/Paris", "ip": "203.0.113.9"}
    traits = {"timezone": "Europe/Vienna"}
    await ok(_post(tenant, "identify", {"userId": "u", "traits": traits, "context": context}))
    contact = await _contact(tenant, "u")
    assert (contact["time_zone"], contact["locale"], contact["attributes"]) == ("Europe/Vienna", "fr-FR", {})
    await ok(_post(tenant, "identify", {"userId": "u", "context": {"locale": "it", "timezone": "nowhere"}}))
    assert (await _contact(tenant, "u"))["locale"] == "fr-FR"


async def test_a_field_that_is_none_is_left_out_and_named(api: Api) -> None:
    tenant = await api.tenant()
    traits = {"email": "not an address", "phone": 123, "plan": "pro", "timezone": "Mars/Olympus"}
    answer = await ok(_post(tenant, "identify", {"userId": "u", "traits": traits}))
    assert answer["success"] is True
    (found,) = answer["problems"]
    assert (found["index"], found["taken"], found["code"]) == (0, True, "invalid_address")
    assert {one["field"] for one in found["errors"]} == {"traits.email", "traits.phone", "traits.timezone"}
    assert "not an address" not in str(answer)
    contact = await _contact(tenant, "u")
    assert (contact["email"], contact["attributes"]) == (None, {"plan": "pro"})


async def test_attributes_stay_within_their_bound_however_many_calls_add_to_them(api: Api) -> None:
    tenant = await api.tenant()
    calls = [{"type": "identify", "userId": "u", "traits": {f"t{n}": "x" * 12_000}} for n in range(4)]
    answer = await ok(_post(tenant, "batch", {"batch": calls}))
    assert [(one["index"], one["taken"], one["code"]) for one in answer["problems"]] == [
        (2, False, "invalid_label"),
        (3, False, "invalid_label"),
    ]
    assert sorted((await _contact(tenant, "u"))["attributes"]) == ["t0", "t1"]
    await problem(_post(tenant, "identify", {"userId": "u", "traits": {"t": "x" * 12_000}}), 422, "invalid_label")


async def test_a_message_id_that_comes_twice_is_one_event(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    odd = "müde id with spaces " + "x" * 200
    for message in ("one", odd, "one", odd):
        await ok(_post(tenant, "track", {"userId": "u", "event": "e", "messageId": message}))
    assert len(rows.events(tenant.id, "u")) == 2
    for _ in range(2):
        await ok(_post(tenant, "track", {"userId": "u", "event": "e"}))
    assert len(rows.events(tenant.id, "u")) == 4


@pytest.mark.parametrize("said", ["yesterday", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", None, 1e300])
async def test_a_time_that_cannot_be_is_the_time_of_arrival(api: Api, rows: Rows, said: Any) -> None:
    tenant = await api.tenant()
    await ok(_post(tenant, "track", {"userId": "u", "event": "e", "timestamp": said}))
    ((_, _, at),) = rows.events(tenant.id, "u")
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_who_is_anonymous_becomes_the_user_it_is_identified_as(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    await ok(_post(tenant, "identify", {"anonymousId": "a1", "traits": {"source": "ad", "plan": "none"}}))
    await ok(_post(tenant, "track", {"anonymousId": "a1", "event": "before"}))
    assert (await _contact(tenant, "anon:a1"))["attributes"] == {"source": "ad", "plan": "none"}
    batch = [
        {"type": "track", "anonymousId": "a1", "event": "between"},
        {"type": "identify", "userId": "u", "anonymousId": "a1", "traits": {"plan": "pro"}},
        {"type": "track", "anonymousId": "a1", "event": "after"},
    ]
    assert await ok(_post(tenant, "batch", {"batch": batch})) == {"success": True}
    assert (await _contact(tenant, "u"))["attributes"] == {"source": "ad", "plan": "pro"}
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
    await ok(_post(tenant, "track", {"userId": "old", "event": "bought"}))
    usage = "INSERT INTO cap_usage VALUES (%s, %s, ARRAY[now() - %s * interval '1 hour'], ARRAY[%s])"
    for who, hours, channel in (("old", 2, "email"), ("new", 1, "sms")):
        contact = ids.contact_id(tenant=tenant.id, external_id=who)
        rows.execute(usage, tenant.id, contact, hours, channel)

    for _ in range(2):  # what comes twice changes nothing more
        assert await ok(_post(tenant, "alias", {"previousId": "old", "userId": "new"})) == {"success": True}
    contact = await _contact(tenant, "new")
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
        await ok(_post(tenant, "alias", body))
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
    assert await ok(_post(tenant, "batch", {"batch": batch})) == {"success": True}
    contacts = await ok(tenant.client.get("/v1/contacts"))
    assert [(one["external_id"], one["email"]) for one in contacts["data"]] == [("c", "a@example.com")]
    assert sorted(rows.names(tenant.id, "c")) == ["one", "two"]


async def test_a_batch_takes_what_it_can_and_names_the_rest(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    batch: list[Any] = [
        {"type": "track", "userId": "u", "event": "good", "surprise": {"any": 1}},
        {"type": "track", "userId": "u"},
        {"type": "delete", "userId": "u"},
        {"userId": "u", "event": "e"},
        {"type": "track", "event": "nobody's"},
        {"type": "track", "userId": "a/b", "event": "e"},
        {"type": "track", "userId": "u", "event": "big", "properties": {"p": "x" * 17_000}},
        {"type": "track", "userId": "u", "event": "bigger", "properties": {"p": "x" * 33_000}},
        {"type": "track", "userId": "u", "event": "nul", "properties": {"p": "\0"}},
        {"type": "group", "userId": "u"},
        {"type": "alias", "userId": "u"},
        {"type": "track", "userId": 7, "event": "seven"},
    ]
    answer = await ok(_post(tenant, "batch", {"batch": batch, "sentAt": "2026-11-24T00:00:00Z", "writeKey": "x"}))
    assert answer["success"] is True
    refused = {one["index"]: (one["code"], one["errors"][0]["field"]) for one in answer["problems"]}
    assert set(refused) == set(range(1, 11))
    assert refused[1] == ("validation_failed", "event")
    assert refused[2] == refused[3] == ("validation_failed", "type")
    assert refused[6] == ("validation_failed", "properties")
    assert refused[7] == ("body_too_large", "body")
    assert rows.names(tenant.id, "u") == ["good"]
    assert rows.names(tenant.id, "7") == ["seven"]


async def test_bodies_are_bounded_also_once_they_are_unpacked(api: Api) -> None:
    tenant = await api.tenant()
    large = {"userId": "u", "event": "e", "context": {"x": "x" * 33_000}}
    document = await problem(_post(tenant, "track", large), 413, "body_too_large")
    assert document["errors"][0]["bound"] == 32_768
    bomb = gzip.compress(b'{"batch": [' + b" " * 50_000_000 + b"]}")
    assert len(bomb) < 100_000
    document = await problem(_gzipped(tenant, bomb), 413, "body_too_large")
    assert document["errors"][0]["bound"] == 512_000
    await problem(_post(tenant, "batch", {"batch": [{}] * 2_501}), 422, "validation_failed")
    assert await ok(_post(tenant, "batch", {"batch": []})) == {"success": True}
    for body in (b"no gzip", bomb[:100], b""):
        await problem(_gzipped(tenant, body), 400, "bad_request")
    await problem(_gzipped(tenant, b"x", encoding="br"), 400, "bad_request")
    await problem(_gzipped(tenant, gzip.compress(b"{")), 400, "invalid_json")


def _gzipped(tenant: Tenant, body: bytes, *, encoding: str = "gzip") -> Any:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return tenant.client.post("/v1/batch", content=body, headers=headers)


async def test_a_key_needs_the_scope_and_nothing_else(api: Api) -> None:
    tenant = await api.tenant(scopes=("tracking:write",))
    assert (await _post(tenant, "track", {"userId": "u", "event": "e"})).status_code == 200
    await problem(tenant.client.get("/v1/contacts/u"), 403, "missing_scope")
    other = await api.key(tenant.id, scopes=("events:write",))
    await problem(_post(other, "track", {"userId": "u", "event": "e"}), 403, "missing_scope")
    for header in ("Basic !!!", "Basic " + "w6Q6", "Basic Og==", "Basic", "Digest x"):
        answer = tenant.client.post("/v1/track", json={}, headers={"Authorization": header})
        await problem(answer, 401, "unauthorized")


async def test_a_key_as_basic_user_is_good_for_the_protocol_alone(api: Api) -> None:
    tenant = await api.tenant()
    basic = httpx.BasicAuth(tenant.key, "")
    await problem(tenant.client.get("/v1/contacts", auth=basic), 401, "unauthorized")


async def test_what_became_of_calls_is_counted(api: Api) -> None:
    tenant = await api.tenant()
    before = await _counts(api)
    batch = [
        {"type": "track", "userId": "u", "event": "e"},
        {"type": "identify", "userId": "u", "traits": {"email": "x"}},
        {"type": "track"},
        {},
    ]
    await ok(_post(tenant, "import", {"batch": batch}))
    after = await _counts(api)
    grown = {result: after[result] - before.get(result, 0) for result in after}
    assert grown == {"taken": 1.0, "incomplete": 1.0, "refused": 2.0}


async def _counts(api: Api) -> dict[str, float]:
    text = (await api.admin.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("waypost_api_segment_calls_total{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


async def test_a_full_batch_is_taken_in_one_request(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    batch = [{"type": "track", "userId": f"u{n % 50}", "event": "e", "messageId": f"m{n}"} for n in range(2_500)]
    assert len(orjson.dumps(batch)) < 500_000
    assert await ok(_post(tenant, "batch", {"batch": batch})) == {"success": True}
    assert rows.execute("SELECT count(*) FROM contact_events WHERE tenant_id = %s", tenant.id) == [(2_500,)]


async def test_nothing_is_lost_of_what_somebody_does_while_it_is_identified(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    for number in range(10):
        who = f"a{number}"
        await ok(_post(tenant, "track", {"anonymousId": who, "event": "first"}))
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
        answer = await _post(tenant, call, body)
        if answer.status_code != 503:
            break
    assert answer.status_code == 200, answer.text
