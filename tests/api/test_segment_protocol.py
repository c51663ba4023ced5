from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from segment.analytics.client import Client

from api.app import create_app
from tests.api.running import Api, Tenant, app_settings, ok, problem
from tests.api.segment_fixtures import Rows, contact_of, post
from tests.api.serving import serving
from tests.services import Database
from waypost.messaging import ids


@pytest.fixture(scope="module")
def rows(module_database: Database) -> Rows:
    return Rows(module_database)


@pytest.fixture(scope="module")
def base_url(module_database: Database) -> Iterator[str]:
    with serving(create_app(app_settings(module_database))) as url:
        yield url


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
    ann = await contact_of(tenant, "ann")
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
    assert (await post(tenant, "identify", {"userId": "u", "traits": first})).json() == {"success": True}
    second = {
        "plan": "pro",
        "age": None,
        "tags": {"b": 2},
        "phone": None,
        "timezone": "Europe/Vienna",
        "locale": "de_at",
    }
    await ok(post(tenant, "identify", {"userId": "u", "traits": second}))
    contact = await contact_of(tenant, "u")
    assert (contact["email"], contact["phone"]) == ("a@example.com", None)
    assert (contact["time_zone"], contact["locale"]) == ("Europe/Vienna", "de-AT")
    assert contact["attributes"] == {"plan": "pro", "tags": {"b": 2}}


async def test_an_identify_that_changes_nothing_writes_nothing(api: Api) -> None:
    tenant = await api.tenant()
    call = {"userId": "u", "traits": {"plan": "pro", "paid": 1, "big": 1e20}}
    await ok(post(tenant, "identify", call))
    before = await contact_of(tenant, "u")
    await ok(post(tenant, "identify", call))
    assert await contact_of(tenant, "u") == before
    await ok(post(tenant, "identify", {"userId": "u", "traits": {"paid": True}}))
    after = await contact_of(tenant, "u")
    assert after["attributes"]["paid"] is True
    assert after["updated_at"] > before["updated_at"]


async def test_what_the_library_says_of_its_machine_fills_gaps_alone(api: Api) -> None:
    tenant = await api.tenant()
    context = {"locale": "fr-FR", "timezone": "Europe/Paris", "ip": "203.0.113.9"}
    traits = {"timezone": "Europe/Vienna"}
    await ok(post(tenant, "identify", {"userId": "u", "traits": traits, "context": context}))
    contact = await contact_of(tenant, "u")
    assert (contact["time_zone"], contact["locale"], contact["attributes"]) == ("Europe/Vienna", "fr-FR", {})
    await ok(post(tenant, "identify", {"userId": "u", "context": {"locale": "it", "timezone": "nowhere"}}))
    assert (await contact_of(tenant, "u"))["locale"] == "fr-FR"


async def test_a_field_that_is_none_is_left_out_and_named(api: Api) -> None:
    tenant = await api.tenant()
    traits = {"email": "not an address", "phone": 123, "plan": "pro", "timezone": "Mars/Olympus"}
    answer = await ok(post(tenant, "identify", {"userId": "u", "traits": traits}))
    assert answer["success"] is True
    (found,) = answer["problems"]
    assert (found["index"], found["taken"], found["code"]) == (0, True, "invalid_address")
    assert {one["field"] for one in found["errors"]} == {"traits.email", "traits.phone", "traits.timezone"}
    assert "not an address" not in str(answer)
    contact = await contact_of(tenant, "u")
    assert (contact["email"], contact["attributes"]) == (None, {"plan": "pro"})


async def test_attributes_stay_within_their_bound_however_many_calls_add_to_them(api: Api) -> None:
    tenant = await api.tenant()
    calls = [{"type": "identify", "userId": "u", "traits": {f"t{n}": "x" * 12_000}} for n in range(4)]
    answer = await ok(post(tenant, "batch", {"batch": calls}))
    assert [(one["index"], one["taken"], one["code"]) for one in answer["problems"]] == [
        (2, False, "invalid_label"),
        (3, False, "invalid_label"),
    ]
    assert sorted((await contact_of(tenant, "u"))["attributes"]) == ["t0", "t1"]
    await problem(post(tenant, "identify", {"userId": "u", "traits": {"t": "x" * 12_000}}), 422, "invalid_label")


async def test_a_message_id_that_comes_twice_is_one_event(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    odd = "müde id with spaces " + "x" * 200
    for message in ("one", odd, "one", odd):
        await ok(post(tenant, "track", {"userId": "u", "event": "e", "messageId": message}))
    assert len(rows.events(tenant.id, "u")) == 2
    for _ in range(2):
        await ok(post(tenant, "track", {"userId": "u", "event": "e"}))
    assert len(rows.events(tenant.id, "u")) == 4


@pytest.mark.parametrize("said", ["yesterday", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", None, 1e300])
async def test_a_time_that_cannot_be_is_the_time_of_arrival(api: Api, rows: Rows, said: Any) -> None:
    tenant = await api.tenant()
    await ok(post(tenant, "track", {"userId": "u", "event": "e", "timestamp": said}))
    ((_, _, at),) = rows.events(tenant.id, "u")
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)


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
    answer = await ok(post(tenant, "batch", {"batch": batch, "sentAt": "2026-11-24T00:00:00Z", "writeKey": "x"}))
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
    document = await problem(post(tenant, "track", large), 413, "body_too_large")
    assert document["errors"][0]["bound"] == 32_768
    bomb = gzip.compress(b'{"batch": [' + b" " * 50_000_000 + b"]}")
    assert len(bomb) < 100_000
    document = await problem(_gzipped(tenant, bomb), 413, "body_too_large")
    assert document["errors"][0]["bound"] == 512_000
    await problem(post(tenant, "batch", {"batch": [{}] * 2_501}), 422, "validation_failed")
    assert await ok(post(tenant, "batch", {"batch": []})) == {"success": True}
    for body in (b"no gzip", bomb[:100], b""):
        await problem(_gzipped(tenant, body), 400, "bad_request")
    await problem(_gzipped(tenant, b"x", encoding="br"), 400, "bad_request")
    await problem(_gzipped(tenant, gzip.compress(b"{")), 400, "invalid_json")


def _gzipped(tenant: Tenant, body: bytes, *, encoding: str = "gzip") -> Any:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return tenant.client.post("/v1/batch", content=body, headers=headers)


async def test_a_key_needs_the_scope_and_nothing_else(api: Api) -> None:
    tenant = await api.tenant(scopes=("tracking:write",))
    assert (await post(tenant, "track", {"userId": "u", "event": "e"})).status_code == 200
    await problem(tenant.client.get("/v1/contacts/u"), 403, "missing_scope")
    other = await api.key(tenant.id, scopes=("events:write",))
    await problem(post(other, "track", {"userId": "u", "event": "e"}), 403, "missing_scope")
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
    await ok(post(tenant, "import", {"batch": batch}))
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
    assert await ok(post(tenant, "batch", {"batch": batch})) == {"success": True}
    assert rows.execute("SELECT count(*) FROM contact_events WHERE tenant_id = %s", tenant.id) == [(2_500,)]


async def test_what_a_contact_did_begins_its_journey_with_what_its_event_carries(api: Api, rows: Rows) -> None:
    tenant = await api.tenant()
    journey = {
        "journey": "onboarding",
        "name": "Onboarding",
        "entry": {"kind": "event", "event": "Signed Up", "expects": ["plan"]},
        "reentry": "once",
        "start": "days",
        "steps": {"days": {"kind": "wait", "for": "P2D", "next": "end"}},
    }
    await ok(tenant.client.put("/v1/journeys/onboarding", json=journey))
    await ok(tenant.client.post("/v1/journeys/onboarding/publish"))
    calls = [
        {"type": "identify", "userId": "u", "anonymousId": "a", "traits": {"email": "u@example.com"}},
        {"type": "track", "anonymousId": "a", "event": "Signed Up", "properties": {"plan": "pro"}},
        {"type": "track", "userId": "u", "event": "signed up"},
    ]
    assert await ok(post(tenant, "batch", {"batch": calls})) == {"success": True}
    entered = rows.execute("SELECT contact_id, source, data FROM enrollments WHERE tenant_id = %s", tenant.id)
    assert entered == [(ids.contact_id(tenant=tenant.id, external_id="u"), "event", {"plan": "pro"})]
