from __future__ import annotations

from tests.api.running import Api, ok, problem

ANN = {
    "email": "ann@example.com",
    "phone": "+43 664 1234567",
    "time_zone": "Europe/Vienna",
    "locale": "de_at",
    "attributes": {"first_name": "Ann", "orders": [1, 2.5, None, {"id": "x"}]},
    "consent": {"email": True, "sms": False},
}


async def test_a_contact_is_put_read_replaced_and_forgotten(api: Api) -> None:
    tenant = await api.tenant()
    made = await ok(tenant.client.put("/v1/contacts/ann@example.com", json=ANN))
    assert made["external_id"] == "ann@example.com"
    assert (made["phone"], made["locale"]) == ("+436641234567", "de-AT")
    assert made["attributes"] == ANN["attributes"]
    assert made["consent"] == ANN["consent"]
    assert await ok(tenant.client.get("/v1/contacts/ann@example.com")) == made
    replaced = await ok(tenant.client.put("/v1/contacts/ann@example.com", json={"email": "a@example.com"}))
    assert (replaced["phone"], replaced["attributes"]) == (None, {})
    assert replaced["created_at"] == made["created_at"]
    assert replaced["updated_at"] > made["updated_at"]
    await ok(tenant.client.delete("/v1/contacts/ann@example.com"))
    await problem(tenant.client.get("/v1/contacts/ann@example.com"), 404, "not_found")
    await problem(tenant.client.delete("/v1/contacts/ann@example.com"), 404, "not_found")


async def test_a_contact_that_is_not_valid_names_every_field(api: Api) -> None:
    tenant = await api.tenant()
    body = {
        "email": "ann at example",
        "phone": "12",
        "time_zone": "Mars/Olympus",
        "locale": "!",
        "consent": {"post": True},
        "shoe_size": 38,
    }
    document = await problem(tenant.client.put("/v1/contacts/ann", json=body), 422, "validation_failed")
    assert {error["field"].split(".")[0] for error in document["errors"]} == set(body)
    assert "ann at example" not in str(document)


async def test_an_external_id_outside_of_its_pattern_is_refused(api: Api) -> None:
    tenant = await api.tenant()
    for external_id in ("a b", "%00", "-a", "a" * 129, "ä", "a%2Fb%20"):
        response = await tenant.client.put(f"/v1/contacts/{external_id}", json={})
        assert response.status_code in (404, 422), external_id


async def test_a_batch_gives_a_verdict_for_each(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/contacts/old", json=ANN))
    contacts = [
        {"external_id": "new", "email": "new@example.com"},
        {"external_id": "old", "email": "old@example.com"},
        {"external_id": "bad", "email": "bad"},
        {"external_id": "new"},
        {"email": "nobody@example.com"},
        {"external_id": "extra", "x": 1},
    ]
    answer = await ok(tenant.client.post("/v1/contacts/batch", json={"contacts": contacts}))
    verdicts = answer["verdicts"]
    assert [one["status"] for one in verdicts] == ["created", "updated", "refused", "refused", "refused", "refused"]
    assert [one["problem"]["errors"][0]["field"] for one in verdicts[2:]] == [
        "email",
        "external_id",
        "external_id",
        "x",
    ]
    assert (await ok(tenant.client.get("/v1/contacts/new")))["email"] == "new@example.com"
    await problem(tenant.client.get("/v1/contacts/bad"), 404, "not_found")


async def test_a_batch_over_its_bound_is_refused_naming_it(api: Api) -> None:
    tenant = await api.tenant()
    contacts = [{"external_id": f"c{n}"} for n in range(1001)]
    document = await problem(
        tenant.client.post("/v1/contacts/batch", json={"contacts": contacts}), 422, "validation_failed"
    )
    assert document["errors"][0]["bound"] == 1000
    answer = await ok(tenant.client.post("/v1/contacts/batch", json={"contacts": contacts[:1000]}))
    assert {one["status"] for one in answer["verdicts"]} == {"created"}


async def test_contacts_are_listed_page_by_page(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.post("/v1/contacts/batch", json={"contacts": [{"external_id": f"c{n}"} for n in range(7)]}))
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = await ok(tenant.client.get("/v1/contacts", params=params))
        seen += [row["external_id"] for row in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == [f"c{n}" for n in range(7)]


async def test_attributes_are_bounded_in_size_and_depth(api: Api) -> None:
    tenant = await api.tenant()
    deep: object = 1
    for _ in range(40):
        deep = {"a": deep}
    for attributes in ({"text": "x" * 40_000}, {"deep": deep}):
        document = await problem(
            tenant.client.put("/v1/contacts/c", json={"attributes": attributes}), 422, "validation_failed"
        )
        assert document["errors"][0]["field"] == "attributes"
        assert document["errors"][0]["code"] == "invalid_label"
