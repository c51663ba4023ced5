from __future__ import annotations

from uuid import uuid4

from tests.api.running import Api, ok, problem


async def test_a_tenant_is_made_read_and_listed(api: Api) -> None:
    made = await ok(api.admin.post("/v1/tenants", json={"name": "Acme", "weight": 2, "late_after": "PT2H"}))
    assert made["state"] == "active"
    assert made["weight"] == 2
    assert made["late_after"] == "PT2H"
    assert await ok(api.admin.get(f"/v1/tenants/{made['id']}")) == made
    listed = await ok(api.admin.get("/v1/tenants", params={"limit": 200}))
    assert made in listed["data"]


async def test_a_list_is_read_page_by_page_to_its_end(api: Api) -> None:
    made = [(await ok(api.admin.post("/v1/tenants", json={"name": f"T{n}"})))["id"] for n in range(5)]
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = await ok(api.admin.get("/v1/tenants", params={"limit": 2} | ({"cursor": cursor} if cursor else {})))
        seen += [row["id"] for row in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert seen[-5:] == made
    assert len(seen) == len(set(seen))


async def test_a_page_over_the_bound_is_refused_naming_the_bound(api: Api) -> None:
    document = await problem(api.admin.get("/v1/tenants", params={"limit": 201}), 422, "validation_failed")
    assert document["errors"][0]["field"] == "query.limit"
    assert document["errors"][0]["bound"] == 200


async def test_a_cursor_of_somebody_elses_making_is_refused(api: Api) -> None:
    for cursor in ("x", "AAAA", "é", "%00", "////////////////////////////////"):
        await problem(api.admin.get("/v1/tenants", params={"cursor": cursor}), 422, "invalid_cursor")


async def test_a_change_leaves_the_rest_as_it_was(api: Api) -> None:
    tenant = await api.tenant(weight=3)
    changed = await ok(api.admin.patch(f"/v1/tenants/{tenant.id}", json={"window_bulk": 7}))
    assert (changed["weight"], changed["window_bulk"], changed["version"]) == (3, 7, 2)


async def test_suspending_and_resuming_move_the_state_and_its_time(api: Api) -> None:
    tenant = await api.tenant()
    suspended = await ok(api.admin.post(f"/v1/tenants/{tenant.id}/suspend"))
    again = await ok(api.admin.post(f"/v1/tenants/{tenant.id}/suspend"))
    assert suspended["state"] == "suspended"
    assert again["state_changed_at"] == suspended["state_changed_at"]
    resumed = await ok(api.admin.post(f"/v1/tenants/{tenant.id}/resume"))
    assert resumed["state"] == "active"
    assert resumed["version"] > suspended["version"]


async def test_a_tenant_nobody_made_is_not_found(api: Api) -> None:
    await problem(api.admin.get(f"/v1/tenants/{uuid4()}"), 404, "not_found")
    await problem(api.admin.post(f"/v1/tenants/{uuid4()}/suspend"), 404, "not_found")
    await problem(api.admin.get("/v1/tenants/not-a-uuid"), 422, "validation_failed")
