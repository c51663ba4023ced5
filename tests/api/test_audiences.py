"""Lists, segments and events over the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.running import Api, Tenant, ok, problem

PRO = {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "pro"}}


async def _tenant(api: Api) -> Tenant:
    tenant = await api.tenant()
    contacts = [
        {
            "external_id": f"c{n}",
            "email": f"c{n}@example.com",
            "attributes": {"plan": "pro" if n % 2 else "free", "n": n},
        }
        for n in range(10)
    ]
    await ok(tenant.client.post("/v1/contacts/batch", json={"contacts": contacts}))
    return tenant


async def _put(tenant: Tenant, key: str, rule: Any) -> Any:
    return await ok(tenant.client.put(f"/v1/segments/{key}", json={"name": key, "rule": rule}))


async def test_a_list_takes_and_gives_back_contacts_with_a_verdict_for_each(api: Api) -> None:
    tenant = await _tenant(api)
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "Very important"}))
    body = {"external_ids": ["c1", "c2", "nobody", "c1"]}
    answer = await ok(tenant.client.post("/v1/lists/vip/members", json=body))
    assert [one["status"] for one in answer["verdicts"]] == ["added", "added", "unknown", "added"]
    answer = await ok(tenant.client.post("/v1/lists/vip/members", json={"external_ids": ["c1", "c3"]}))
    assert [one["status"] for one in answer["verdicts"]] == ["already", "added"]
    body = {"external_ids": ["c2", "c9", "nobody"]}
    answer = await ok(tenant.client.post("/v1/lists/vip/members/remove", json=body))
    assert [one["status"] for one in answer["verdicts"]] == ["removed", "absent", "unknown"]
    assert (await ok(tenant.client.get("/v1/lists/vip")))["members"] == 2
    first = await ok(tenant.client.get("/v1/lists/vip/members", params={"limit": 1}))
    second = await ok(tenant.client.get("/v1/lists/vip/members", params={"limit": 1, "cursor": first["next_cursor"]}))
    assert {first["data"][0]["external_id"], second["data"][0]["external_id"]} == {"c1", "c3"}
    assert second["next_cursor"] is None
    renamed = await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    assert renamed["name"] == "VIP"
    assert [one["key"] for one in (await ok(tenant.client.get("/v1/lists")))["data"]] == ["vip"]


async def test_members_are_bounded_and_need_a_list(api: Api) -> None:
    tenant = await _tenant(api)
    await problem(tenant.client.post("/v1/lists/no/members", json={"external_ids": ["c1"]}), 404, "not_found")
    await problem(tenant.client.get("/v1/lists/no/members"), 404, "not_found")
    many = {"external_ids": [f"x{n}" for n in range(1001)]}
    document = await problem(tenant.client.post("/v1/lists/no/members", json=many), 422, "validation_failed")
    assert document["errors"][0]["bound"] == 1000


async def test_forgetting_a_list_forgets_no_contact_and_waits_for_segments(api: Api) -> None:
    tenant = await _tenant(api)
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    await ok(tenant.client.post("/v1/lists/vip/members", json={"external_ids": ["c1"]}))
    await _put(tenant, "vips", {"kind": "not", "rule": {"kind": "all", "rules": [PRO, {"kind": "list", "key": "vip"}]}})
    await problem(tenant.client.delete("/v1/lists/vip"), 409, "referred_to")
    await ok(tenant.client.delete("/v1/segments/vips"))
    await ok(tenant.client.delete("/v1/lists/vip"))
    await problem(tenant.client.get("/v1/lists/vip"), 404, "not_found")
    await ok(tenant.client.get("/v1/contacts/c1"))


async def test_a_segment_is_put_read_previewed_and_forgotten(api: Api) -> None:
    tenant = await _tenant(api)
    made = await _put(tenant, "pros", PRO)
    assert made["rule"] == PRO
    assert made["version"] == 1
    assert (await _put(tenant, "pros", PRO))["version"] == 1
    preview = await ok(tenant.client.post("/v1/segments/pros/preview"))
    assert preview["count"] == 5
    assert set(preview["sample"]) == {"c1", "c3", "c5", "c7", "c9"}
    assert preview["cost"] > 0
    changed = await _put(tenant, "pros", {"kind": "attribute", "name": "n", "is": {"op": "lt", "value": 3}})
    assert changed["version"] == 2
    assert (await ok(tenant.client.post("/v1/segments/pros/preview")))["count"] == 3
    assert [one["key"] for one in (await ok(tenant.client.get("/v1/segments")))["data"]] == ["pros"]
    await ok(tenant.client.delete("/v1/segments/pros"))
    await problem(tenant.client.get("/v1/segments/pros"), 404, "not_found")
    await problem(tenant.client.post("/v1/segments/pros/preview"), 404, "not_found")


async def test_one_and_true_are_different_rules(api: Api) -> None:
    tenant = await _tenant(api)
    one, true = ({"kind": "attribute", "name": "n", "is": {"op": "eq", "value": value}} for value in (1, True))
    await _put(tenant, "odd", one)
    assert (await _put(tenant, "odd", true))["version"] == 2
    assert (await ok(tenant.client.get("/v1/segments/odd")))["rule"]["is"]["value"] is True
    await _put(tenant, "odd", {"kind": "any", "rules": [true, one]})
    answer = await ok(tenant.client.get("/v1/segments/odd/contacts/c1"))
    assert [rule["holds"] for rule in answer["rules"]] == [True, False, True]


async def test_a_rule_is_previewed_without_being_kept(api: Api) -> None:
    tenant = await _tenant(api)
    preview = await ok(tenant.client.post("/v1/segments/preview", json={"rule": {"kind": "not", "rule": PRO}}))
    assert preview["count"] == 5
    assert (await ok(tenant.client.get("/v1/segments")))["data"] == []
    unknown = {"kind": "list", "key": "nowhere"}
    await problem(tenant.client.post("/v1/segments/preview", json={"rule": unknown}), 422, "unknown_list")


async def test_membership_is_explained_rule_by_rule(api: Api) -> None:
    tenant = await _tenant(api)
    await _put(tenant, "pros", PRO)
    rule = {
        "kind": "all",
        "rules": [
            {"kind": "segment", "key": "pros"},
            {"kind": "not", "rule": {"kind": "attribute", "name": "n", "is": {"op": "gt", "value": 5}}},
        ],
    }
    await _put(tenant, "few", rule)
    answer = await ok(tenant.client.get("/v1/segments/few/contacts/c7"))
    assert answer["member"] is False
    assert [(one["path"], one["rule"]["kind"], one["holds"]) for one in answer["rules"]] == [
        ("", "all", False),
        ("rules.0", "segment", True),
        ("rules.0.rule", "attribute", True),
        ("rules.1", "not", False),
        ("rules.1.rule", "attribute", True),
    ]
    assert (await ok(tenant.client.get("/v1/segments/few/contacts/c3")))["member"] is True
    await problem(tenant.client.get("/v1/segments/few/contacts/nobody"), 404, "not_found")
    await problem(tenant.client.get("/v1/segments/no/contacts/c3"), 404, "not_found")


async def test_segments_refer_to_one_another_and_never_in_a_circle(api: Api) -> None:
    tenant = await _tenant(api)
    await _put(tenant, "a", PRO)
    await _put(tenant, "b", {"kind": "segment", "key": "a"})
    await _put(tenant, "c", {"kind": "not", "rule": {"kind": "segment", "key": "b"}})
    for rule in ({"kind": "segment", "key": "c"}, {"kind": "segment", "key": "a"}):
        body = {"name": "a", "rule": rule}
        document = await problem(tenant.client.put("/v1/segments/a", json=body), 422, "segment_cycle")
        assert document["errors"][0]["field"] == "rule"
    await problem(tenant.client.delete("/v1/segments/a"), 409, "referred_to")
    body = {"name": "d", "rule": {"kind": "segment", "key": "nowhere"}}
    await problem(tenant.client.put("/v1/segments/d", json=body), 422, "unknown_segment")
    assert (await ok(tenant.client.post("/v1/segments/c/preview")))["count"] == 5


async def test_a_rule_that_would_grow_beyond_its_bound_by_references_is_refused(api: Api) -> None:
    tenant = await _tenant(api)
    await _put(tenant, "s0", PRO)
    for n in range(2):
        below = {"kind": "segment", "key": f"s{n}"}
        await _put(tenant, f"s{n + 1}", {"kind": "any", "rules": [below] * 20})
    body = {"name": "x", "rule": {"kind": "any", "rules": [{"kind": "segment", "key": "s2"}] * 3}}
    await problem(tenant.client.put("/v1/segments/x", json=body), 422, "segment_too_large")


async def test_a_rule_that_is_not_valid_names_the_field(api: Api) -> None:
    tenant = await _tenant(api)
    deep: Any = PRO
    for _ in range(8):
        deep = {"kind": "not", "rule": deep}
    wide = {"kind": "any", "rules": [PRO] * 200}
    for rule, field in (
        ({"kind": "attribute", "name": "plan", "is": {"op": "like", "value": "x"}}, "rule.attribute.is"),
        ({"kind": "attribute", "name": "a..b", "is": {"op": "exists"}}, "rule.attribute.name"),
        (
            {"kind": "attribute", "name": "a", "is": {"op": "before", "moment": "soon"}},
            "rule.attribute.is.before.moment",
        ),
        ({"kind": "every", "rules": []}, "rule"),
        ({"kind": "all", "rules": []}, "rule.all.rules"),
        (deep, "rule"),
        (wide, "rule"),
    ):
        body = {"name": "x", "rule": rule}
        document = await problem(tenant.client.put("/v1/segments/x", json=body), 422, "validation_failed")
        assert document["errors"][0]["field"] == field, document


async def test_a_rule_over_the_cost_bound_is_refused_and_said_why(api: Api) -> None:
    tenant = await _tenant(api)
    services = api.app.state.services
    bound = services.settings.api.model_copy(update={"segment_max_cost": 0.001})
    object.__setattr__(services.settings, "api", bound)
    try:
        document = await problem(
            tenant.client.post("/v1/segments/preview", json={"rule": PRO}), 422, "segment_too_costly"
        )
    finally:
        object.__setattr__(services.settings, "api", bound.model_copy(update={"segment_max_cost": 5e6}))
    assert "WAYPOST_SEGMENT_MAX_COST" in document["detail"]


async def test_an_event_counts_once_and_needs_a_contact(api: Api) -> None:
    tenant = await _tenant(api)
    event = {"id": "order-1", "contact": "c1", "name": "bought", "properties": {"total": 12.5}}
    response = await tenant.client.post("/v1/events", json=event)
    assert (response.status_code, response.json()["status"]) == (201, "accepted")
    again = await tenant.client.post("/v1/events", json=event)
    assert (again.status_code, again.json()) == (200, {**response.json(), "status": "duplicate"})
    await problem(
        tenant.client.post("/v1/events", json={**event, "id": "x", "contact": "no"}), 422, "contact_not_found"
    )
    rule = {"kind": "event", "name": "bought", "where": [{"property": "total", "is": {"op": "gt", "value": 12}}]}
    for count, found in ((1, 1), (2, 0)):
        answer = await ok(tenant.client.post("/v1/segments/preview", json={"rule": {**rule, "at_least": count}}))
        assert answer["count"] == found


async def test_a_batch_of_events_gives_a_verdict_for_each(api: Api) -> None:
    tenant = await _tenant(api)
    events = [
        {"id": "1", "contact": "c1", "name": "came"},
        {"id": "2", "contact": "nobody", "name": "came"},
        {"id": "1", "contact": "c1", "name": "came"},
        {"id": "3", "contact": "c2", "name": "came", "occurred_at": "2026-01-01T00:00:00+02:00"},
    ]
    answer = await ok(tenant.client.post("/v1/events/batch", json={"events": events}))
    assert [one["status"] for one in answer["verdicts"]] == ["accepted", "refused", "duplicate", "accepted"]
    assert answer["verdicts"][1]["problem"]["code"] == "contact_not_found"
    again = await ok(tenant.client.post("/v1/events/batch", json={"events": events}))
    assert [one["status"] for one in again["verdicts"]] == ["duplicate", "refused", "duplicate", "duplicate"]
    rule = {"kind": "event", "name": "came", "within": "P1D"}
    assert (await ok(tenant.client.post("/v1/segments/preview", json={"rule": rule})))["sample"] == ["c1"]
    many = {"events": [events[0]] * 501}
    document = await problem(tenant.client.post("/v1/events/batch", json=many), 422, "validation_failed")
    assert document["errors"][0]["bound"] == 500


async def test_a_contact_that_is_forgotten_takes_its_memberships_and_events_along(api: Api) -> None:
    tenant = await _tenant(api)
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    await ok(tenant.client.post("/v1/lists/vip/members", json={"external_ids": ["c1", "c2"]}))
    await ok(tenant.client.post("/v1/events", json={"id": "1", "contact": "c1", "name": "came"}))
    await ok(tenant.client.delete("/v1/contacts/c1"))
    assert (await ok(tenant.client.get("/v1/lists/vip")))["members"] == 1


async def _name_in(tenant: Tenant, key: str, **audience: Any) -> None:
    body = {"name": key, "channel": "email", "template": "news", **audience}
    await ok(tenant.client.put(f"/v1/campaigns/{key}", json=body))


async def test_what_a_draft_is_sent_to_or_leaves_out_stays_until_the_draft_is_changed(api: Api) -> None:
    tenant = await _tenant(api)
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    await _put(tenant, "pros", PRO)
    ruled = {"kind": "any", "rules": [PRO, {"kind": "list", "key": "vip"}]}
    await _name_in(tenant, "spring", audience={"list": "vip"})
    await _name_in(tenant, "summer", audience={"rule": ruled}, exclude={"segment": "pros"})
    document = await problem(tenant.client.delete("/v1/lists/vip"), 409, "referred_to")
    assert "spring, summer" in document["detail"]
    document = await problem(tenant.client.delete("/v1/segments/pros"), 409, "referred_to")
    assert "summer" in document["detail"]
    assert "spring" not in document["detail"]
    await _name_in(tenant, "spring", audience={"all": True})
    await _name_in(tenant, "summer", audience={"all": True})
    await ok(tenant.client.delete("/v1/lists/vip"))
    await ok(tenant.client.delete("/v1/segments/pros"))


async def test_of_many_campaigns_an_answer_names_some(api: Api) -> None:
    tenant = await _tenant(api)
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    for number in range(6):
        await _name_in(tenant, f"c{number}", audience={"list": "vip"})
    document = await problem(tenant.client.delete("/v1/lists/vip"), 409, "referred_to")
    assert "c0, c1, c2, c3, c4 and others" in document["detail"]


async def test_an_event_of_the_future_is_refused_and_a_clock_that_is_a_little_fast_is_not(api: Api) -> None:
    tenant = await _tenant(api)
    now = datetime.now(UTC)
    soon, later = ((now + timedelta(hours=hours)).isoformat() for hours in (1, 25))
    event = {"id": "e1", "contact": "c1", "name": "ordered"}
    await ok(tenant.client.post("/v1/events", json=event | {"occurred_at": soon}))
    answer = await tenant.client.post("/v1/events", json=event | {"id": "e2", "occurred_at": later})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "occurred_at"
    assert "at most a day ahead" in answer.json()["errors"][0]["message"]
