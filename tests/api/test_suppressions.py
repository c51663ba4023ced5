from __future__ import annotations

from uuid import uuid4

from tests.api.running import Api, ok, problem


async def test_an_address_is_suppressed_found_and_let_go_again(api: Api) -> None:
    tenant = await api.tenant()
    body = {"channel": "email", "address": "Ann@Example.com", "note": "asked by phone"}
    made = await ok(tenant.client.post("/v1/suppressions", json=body))
    assert (made["address"], made["reason"], made["note"]) == ("ann@example.com", "manual", "asked by phone")
    again = await ok(tenant.client.post("/v1/suppressions", json={**body, "reason": "unsubscribed", "note": None}))
    assert (again["id"], again["reason"], again["note"]) == (made["id"], "unsubscribed", None)
    other = await ok(tenant.client.post("/v1/suppressions", json={"channel": "sms", "address": "+43 664 1234567"}))
    assert (await ok(tenant.client.get("/v1/suppressions")))["data"] == [again, other]
    only = {"channel": "email", "address": "ANN@example.com"}
    assert (await ok(tenant.client.get("/v1/suppressions", params=only)))["data"] == [again]
    assert (await ok(tenant.client.get("/v1/suppressions", params={"channel": "sms"})))["data"] == [other]
    path = f"/v1/suppressions/{made['id']}"
    assert await ok(tenant.client.get(path)) == again
    await ok(tenant.client.delete(path))
    await problem(tenant.client.get(path), 404, "not_found")
    await problem(tenant.client.delete(path), 404, "not_found")


async def test_an_address_must_be_one_of_its_channel(api: Api) -> None:
    tenant = await api.tenant()
    body = {"channel": "sms", "address": "ann@example.com"}
    document = await problem(tenant.client.post("/v1/suppressions", json=body), 422, "invalid_address")
    assert document["errors"][0]["field"] == "address"
    await problem(tenant.client.get("/v1/suppressions", params={"address": "a@b.example"}), 422, "validation_failed")
    await problem(tenant.client.get(f"/v1/suppressions/{uuid4()}"), 404, "not_found")
