"""Journeys over the API: drafts, versions, states, and people who are moved."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from api import journey_actions
from tests.api.journey_fixtures import (
    WAITS,
    YAML,
    document,
    enroll,
    have_sender,
    hints,
    inbox,
    owner,
    publish,
    put,
    rest_at,
    tenant_with,
)
from tests.api.running import Api, Tenant, ok, problem
from tests.journeys.examples import text_of
from tests.services import Database

RENAMED = WAITS.replace("next: b}", "next: later}").replace("  b: {", "  later: {")


async def test_a_draft_is_kept_as_it_was_written_in_yaml_or_json(api: Api) -> None:
    tenant = await api.tenant()
    text = f"# A remark\n{WAITS}"
    response = await tenant.client.put("/v1/journeys/tour", content=text, headers=YAML)
    assert response.status_code == 201
    made = response.json()
    assert (made["state"], made["version"], made["draft"], made["draft_revision"]) == ("draft", 0, text, 1)
    assert (await put(tenant, text))["draft_revision"] == 1
    body = {
        "journey": "tour",
        "name": "By machine",
        "entry": {"kind": "api"},
        "start": "a",
        "steps": {"a": {"kind": "wait", "for": "P1D", "next": "end"}},
    }
    changed = await ok(tenant.client.put("/v1/journeys/tour", json=body))
    assert (changed["name"], changed["draft_revision"]) == ("By machine", 2)
    assert orjson.loads(changed["draft"]) == body
    assert (await ok(tenant.client.get("/v1/journeys/tour")))["draft"] == changed["draft"]
    assert [one["key"] for one in (await ok(tenant.client.get("/v1/journeys")))["data"]] == ["tour"]


async def test_all_problems_of_a_draft_come_at_once_with_step_line_and_suggestion(api: Api) -> None:
    tenant = await api.tenant()
    text = document(
        """
        a: {kind: wait, for: P1D, next: bb}
        b: {kind: wait, for: "2 days", next: end}
        """
    )
    answer = await problem(tenant.client.put("/v1/journeys/tour", content=text, headers=YAML), 422, "journey_invalid")
    found = {(one["code"], one["step"], one["line"]) for one in answer["errors"]}
    assert {("unknown_step", "a", 6), ("bad_duration", "b", 7), ("unreachable", "b", 7)} <= found
    by_code = {one["code"]: one for one in answer["errors"]}
    assert by_code["unknown_step"]["suggestion"] == "did you mean b?"
    assert by_code["unknown_step"]["field"] == "steps.a.next"
    await problem(tenant.client.get("/v1/journeys/tour"), 404, "not_found")


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"- 1", b'{"journey": }', b"a: *b", b"\x00"])
async def test_what_is_no_document_is_refused(api: Api, body: bytes) -> None:
    tenant = await api.tenant()
    response = tenant.client.put("/v1/journeys/tour", content=body, headers=YAML)
    await problem(response, 422, "journey_invalid")


async def test_a_document_goes_to_the_path_of_its_key(api: Api) -> None:
    tenant = await api.tenant()
    response = tenant.client.put("/v1/journeys/other", content=WAITS, headers=YAML)
    answer = await problem(response, 422, "journey_invalid")
    assert answer["errors"][0]["code"] == "wrong_key"


async def test_publishing_looks_for_everything_that_is_named(api: Api) -> None:
    tenant = await tenant_with(api)
    await put(tenant, text_of("onboarding"), key="onboarding")
    answer = await problem(tenant.client.post("/v1/journeys/onboarding/publish"), 422, "journey_invalid")
    found = {(one["code"], one["step"]) for one in answer["errors"]}
    assert {("unknown_template", "welcome"), ("unknown_topic", "welcome"), ("unknown_template", "nudge")} <= found
    assert ("no_sender", "welcome") in found
    assert (await ok(tenant.client.get("/v1/journeys/onboarding")))["state"] == "draft"
    await have_sender(api, tenant)
    await _have_what_onboarding_names(tenant, reads="data.nobody")
    answer = await problem(tenant.client.post("/v1/journeys/onboarding/publish"), 422, "journey_invalid")
    assert {one["code"] for one in answer["errors"]} == {"missing_variable"}
    await _have_what_onboarding_names(tenant, reads="data.plan")
    published = await ok(tenant.client.post("/v1/journeys/onboarding/publish"))
    assert published == {"version": 1, "new": True, "draining": False, "moved": 0, "left": 0, "more": False}


async def _have_what_onboarding_names(tenant: Tenant, *, reads: str) -> None:
    await ok(tenant.client.put("/v1/topics/product-news", json={"name": "News"}))
    for key in ("welcome", "onboarding-tip", "onboarding-nudge"):
        content = {"en": {"subject": "Hello", "text": f"{{{{ {reads} }}}}"}}
        body = {"channel": "email", "default_locale": "en", "locales": content}
        await ok(tenant.client.put(f"/v1/templates/{key}", json=body))


async def test_what_a_published_journey_names_is_not_deleted(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    await ok(tenant.client.put("/v1/topics/news", json={"name": "News"}))
    rule = {"kind": "field", "name": "external_id", "is": {"op": "exists"}}
    for key in ("all", "some"):
        await ok(tenant.client.put(f"/v1/segments/{key}", json={"name": key, "rule": rule}))
    text = document(
        """
        a: {kind: add_to_list, list: vip, next: b}
        b: {kind: branch, choices: [{when: {kind: topic, key: news}, next: end}], else: end}
        """,
        head="entry: {kind: segment, segment: all}\nexits: [{reason: r, condition: {kind: segment, key: some}}]",
    )
    await put(tenant, text)
    published = await tenant.client.post("/v1/journeys/tour/publish")
    assert published.is_success, published.text
    for path in ("lists/vip", "topics/news", "segments/all", "segments/some"):
        answer = await problem(tenant.client.delete(f"/v1/{path}"), 409, "referred_to")
        assert "tour" in answer["detail"]
    await ok(tenant.client.post("/v1/journeys/tour/archive"))
    for path in ("lists/vip", "topics/news", "segments/all", "segments/some"):
        await ok(tenant.client.delete(f"/v1/{path}"))


async def test_publishing_twice_makes_one_version_and_a_change_makes_another(api: Api) -> None:
    tenant = await api.tenant()
    assert (await publish(tenant, WAITS))["version"] == 1
    again = await ok(tenant.client.post("/v1/journeys/tour/publish"))
    assert (again["version"], again["new"]) == (1, False)
    assert (await publish(tenant, f"# said otherwise\n{WAITS}"))["new"] is False
    assert (await publish(tenant, RENAMED))["version"] == 2
    versions = (await ok(tenant.client.get("/v1/journeys/tour/versions")))["data"]
    assert [(one["number"], one["open"]) for one in versions] == [(1, 0), (2, 0)]
    first = await ok(tenant.client.get("/v1/journeys/tour/versions/1"))
    assert first["source"] == WAITS
    assert set(first["definition"]["steps"]) == {"a", "b", "c"}
    await problem(tenant.client.get("/v1/journeys/tour/versions/3"), 404, "not_found")
    audit = (await ok(tenant.client.get("/v1/journeys/tour/audit")))["data"]
    assert [(one["action"], one["detail"]["version"]) for one in audit] == [("published", 1), ("published", 2)]


async def test_publishing_at_once_makes_one_version(api: Api) -> None:
    tenant = await api.tenant()
    await put(tenant, WAITS)
    asked = [ok(tenant.client.post("/v1/journeys/tour/publish")) for _ in range(3)]
    answers = await asyncio.gather(*asked)
    assert [one["version"] for one in answers] == [1, 1, 1]
    assert sum(one["new"] for one in answers) == 1


async def test_a_journey_of_the_other_mode_is_not_there(api: Api) -> None:
    tenant = await api.tenant()
    live = await api.key(tenant.id, mode="live")
    await publish(tenant, WAITS)
    await problem(live.client.get("/v1/journeys/tour"), 404, "not_found")
    await problem(live.client.post("/v1/journeys/tour/pause"), 404, "not_found")
    await problem(live.client.put("/v1/journeys/tour", content=WAITS, headers=YAML), 409, "name_taken")


async def test_a_draft_is_deleted_and_what_was_published_is_not(api: Api) -> None:
    tenant = await api.tenant()
    await put(tenant, WAITS)
    await ok(tenant.client.delete("/v1/journeys/tour"))
    await problem(tenant.client.get("/v1/journeys/tour"), 404, "not_found")
    await publish(tenant, WAITS)
    await problem(tenant.client.delete("/v1/journeys/tour"), 409, "journey_published")


async def test_a_draft_is_not_paused_resumed_or_archived(api: Api) -> None:
    tenant = await api.tenant()
    await put(tenant, WAITS)
    for action in ("pause", "resume", "archive"):
        await problem(tenant.client.post(f"/v1/journeys/tour/{action}"), 409, "journey_not_published")


async def test_pausing_and_resuming_are_said_once_however_often_they_are_asked_for(
    api: Api, module_database: Database
) -> None:
    tenant = await api.tenant()
    await publish(tenant, WAITS)
    for _ in range(2):
        assert (await ok(tenant.client.post("/v1/journeys/tour/pause")))["state"] == "paused"
    for _ in range(2):
        body = {"policy": "shift"}
        assert (await ok(tenant.client.post("/v1/journeys/tour/resume", json=body)))["state"] == "active"
    with owner(module_database) as connection:
        pauses = connection.execute(
            "SELECT number, resumed_at IS NOT NULL, policy, woken_until IS NOT NULL FROM journey_pauses"
            " WHERE tenant_id = %s",
            (tenant.id,),
        ).fetchall()
    assert pauses == [(1, True, "shift", True)]
    audit = (await ok(tenant.client.get("/v1/journeys/tour/audit")))["data"]
    assert [one["action"] for one in audit] == ["published", "paused", "resumed"]


async def test_publishing_a_paused_journey_leaves_it_paused(api: Api) -> None:
    tenant = await api.tenant()
    await publish(tenant, WAITS)
    await ok(tenant.client.post("/v1/journeys/tour/pause"))
    assert (await publish(tenant, RENAMED))["version"] == 2
    shown = await ok(tenant.client.get("/v1/journeys/tour"))
    assert (shown["state"], shown["version"]) == ("paused", 2)


async def test_an_archived_journey_lets_nobody_in_until_it_is_published_again(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with(api, "ann", "bob")
    await publish(tenant, WAITS)
    ann = (await enroll(tenant, "ann")).json()["id"]
    archived = await ok(tenant.client.post("/v1/journeys/tour/archive"))
    assert (archived["state"], archived["counts"]["open"]) == ("archived", 1)
    assert inbox(module_database, ann) == []
    await problem(enroll(tenant, "bob"), 409, "journey_archived")
    for action in ("pause", "resume"):
        await problem(tenant.client.post(f"/v1/journeys/tour/{action}"), 409, "journey_archived")
    again = await ok(tenant.client.post("/v1/journeys/tour/publish"))
    assert (again["version"], again["new"]) == (1, False)
    assert (await enroll(tenant, "bob")).status_code == 201


async def test_archiving_with_removal_takes_everybody_out_also_whom_a_pause_holds(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    ann = (await enroll(tenant, "ann")).json()["id"]
    await ok(tenant.client.post("/v1/journeys/tour/pause"))
    await ok(tenant.client.post("/v1/journeys/tour/archive", json={"remove": True}))
    assert inbox(module_database, ann) == [("remove", {})]
    assert hints(module_database, ann) == 1
    with owner(module_database) as connection:
        rows = connection.execute(
            "SELECT policy FROM journey_pauses WHERE tenant_id = %s AND resumed_at IS NOT NULL", (tenant.id,)
        ).fetchall()
    assert rows == [("continue",)]


async def test_of_more_people_than_a_request_has_time_for_the_rest_is_moved_when_it_is_asked_again(
    api: Api, module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await tenant_with(api, "ann", "bob")
    await publish(tenant, WAITS)
    people = [(await enroll(tenant, name)).json()["id"] for name in ("ann", "bob")]
    monkeypatch.setattr(journey_actions, "BATCHES_S", 0.0)
    moving = WAITS.replace("P2D", "P3D").replace("start: a", "on_new_version: move\nstart: a")
    first = await publish(tenant, moving)
    assert (first["version"], first["moved"], first["more"]) == (2, 0, True)
    monkeypatch.setattr(journey_actions, "BATCHES_S", 4.0)
    second = await publish(tenant, moving)
    assert (second["version"], second["new"], second["moved"], second["more"]) == (2, False, 2, False)
    await ok(tenant.client.post("/v1/journeys/tour/pause"))
    monkeypatch.setattr(journey_actions, "BATCHES_S", 0.0)
    body = {"remove": True}
    archived = await ok(tenant.client.post("/v1/journeys/tour/archive", json=body))
    assert (archived["state"], archived["removed"], archived["more"]) == ("archived", 0, True)
    monkeypatch.setattr(journey_actions, "BATCHES_S", 4.0)
    for removed in (2, 0):
        archived = await ok(tenant.client.post("/v1/journeys/tour/archive", json=body))
        assert (archived["removed"], archived["more"]) == (removed, False)
    assert [inbox(module_database, one) for one in people] == [[("remove", {})]] * 2


async def test_a_new_version_moves_people_to_the_step_of_the_same_id_or_where_it_says(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with(api, "ann", "bob", "cem")
    await publish(tenant, WAITS)
    people = {name: (await enroll(tenant, name)).json()["id"] for name in ("ann", "bob", "cem")}
    rest_at(module_database, people["ann"], "a")
    rest_at(module_database, people["bob"], "b", visits=2)
    moving = RENAMED.replace("start: a", "on_new_version: move\nstart: a")
    await put(tenant, moving)
    answer = await problem(tenant.client.post("/v1/journeys/tour/publish"), 422, "journey_invalid")
    assert [(one["code"], one["step"]) for one in answer["errors"]] == [("missing_move", "b")]
    published = await publish(tenant, moving.replace("start: a", "moves: {b: later}\nstart: a"))
    assert (published["version"], published["moved"], published["left"]) == (2, 3, 0)
    assert inbox(module_database, people["ann"]) == [("look", {})]
    assert inbox(module_database, people["bob"]) == [("move", {"step": "later"})]
    assert inbox(module_database, people["cem"]) == []
    versions = (await ok(tenant.client.get("/v1/journeys/tour/versions")))["data"]
    assert [one["open"] for one in versions] == [0, 3]
    assert (await ok(tenant.client.post("/v1/journeys/tour/publish")))["moved"] == 0


async def test_a_new_version_that_drains_waits_until_the_old_one_is_empty(api: Api, module_database: Database) -> None:
    tenant = await tenant_with(api, "ann", "bob")
    await publish(tenant, WAITS)
    ann = (await enroll(tenant, "ann")).json()["id"]
    draining = RENAMED.replace("start: a", "on_new_version: drain\nstart: a")
    published = await publish(tenant, draining)
    assert (published["version"], published["draining"]) == (2, True)
    shown = await ok(tenant.client.get("/v1/journeys/tour"))
    assert (shown["version"], shown["draining"]) == (1, 2)
    await problem(enroll(tenant, "bob"), 409, "journey_draining")
    with owner(module_database) as connection:
        connection.execute(
            "UPDATE enrollments SET state = 'ended', how = 'completed', reason = 'completed',"
            " ended_at = waypost_now() WHERE id = %s",
            (ann,),
        )
    assert (await enroll(tenant, "bob")).json()["version"] == 2


async def test_a_migration_counts_by_step_first_and_then_moves(api: Api, module_database: Database) -> None:
    tenant = await tenant_with(api, "ann", "bob", "cem")
    await publish(tenant, WAITS)
    people = {name: (await enroll(tenant, name)).json()["id"] for name in ("ann", "bob", "cem")}
    rest_at(module_database, people["ann"], "a")
    rest_at(module_database, people["bob"], "b", visits=2)
    await publish(tenant, RENAMED)
    body: dict[str, Any] = {"from": 1, "to": 2, "dry_run": True}
    dry = await ok(tenant.client.post("/v1/journeys/tour/migrate", json=body))
    assert dry["steps"] == [
        {"step": "a", "people": 1, "to": "a", "stays": True},
        {"step": "b", "people": 1, "to": None, "stays": False},
        {"step": "c", "people": 0, "to": "c", "stays": True},
    ]
    assert (dry["waiting"], dry["moved"], dry["left"]) == (1, 2, 1)
    assert inbox(module_database, people["ann"]) == []
    wrong = {**body, "moves": {"b": "nowhere"}}
    answer = await problem(tenant.client.post("/v1/journeys/tour/migrate", json=wrong), 422, "validation_failed")
    assert answer["errors"][0]["field"] == "moves.b"
    moved = await ok(tenant.client.post("/v1/journeys/tour/migrate", json={"from": 1, "to": 2}))
    assert (moved["moved"], moved["left"]) == (2, 1)
    body = {"from": 1, "to": 2, "moves": {"b": "later"}}
    moved = await ok(tenant.client.post("/v1/journeys/tour/migrate", json=body))
    assert (moved["moved"], moved["left"]) == (1, 0)
    assert inbox(module_database, people["bob"]) == [("move", {"step": "later"})]
    assert hints(module_database, people["bob"]) == 1
    audit = (await ok(tenant.client.get("/v1/journeys/tour/audit")))["data"]
    assert [one["action"] for one in audit] == ["published", "published", "migrated", "migrated"]


async def test_a_diagram_is_mermaid_or_svg_with_counts_where_asked(api: Api, module_database: Database) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    rest_at(module_database, (await enroll(tenant, "ann")).json()["id"], "a")
    path = "/v1/journeys/tour/diagram"
    mermaid = await tenant.client.get(path)
    assert mermaid.headers["content-type"].startswith("text/vnd.mermaid")
    assert "here" not in mermaid.text
    counted = await tenant.client.get(path, params={"counts": "true"})
    assert counted.text.count("1 here") == 1
    assert counted.text.count("0 here") == 2
    for asked in ({"headers": {"Accept": "image/svg+xml"}}, {"params": {"format": "svg"}}):
        svg = await tenant.client.get(path, **asked)  # type: ignore[arg-type]  # one of httpx's many arguments
        assert svg.headers["content-type"] == "image/svg+xml"
        assert svg.text.startswith("<svg")
    await put(tenant, RENAMED)
    assert "later" not in (await tenant.client.get(path)).text
    assert "later" in (await tenant.client.get(path, params={"version": 0})).text
    await problem(tenant.client.get(path, params={"version": 9}), 404, "not_found")


async def test_who_is_in_the_segment_when_a_journey_is_published_is_known_and_does_not_enter(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with(api, "ann", "bob")
    rule = {"kind": "field", "name": "email", "is": {"op": "exists"}}
    await ok(tenant.client.put("/v1/segments/all", json={"name": "All", "rule": rule}))
    head = "entry: {kind: segment, segment: all}"
    await publish(tenant, document("a: {kind: wait, for: P1D, next: end}", head=head))
    assert _watched(module_database, tenant) == (2, "segment", True, True)
    await ok(tenant.client.put("/v1/contacts/cem", json={"email": "cem@example.com"}))
    await ok(tenant.client.post("/v1/journeys/tour/archive"))
    assert _watched(module_database, tenant) == (0, None, False, False)
    await ok(tenant.client.post("/v1/journeys/tour/publish"))
    assert _watched(module_database, tenant) == (3, "segment", True, True)
    shown = await ok(tenant.client.get("/v1/journeys/tour"))
    assert shown["counts"]["open"] == 0


def _watched(database: Database, tenant: Tenant) -> tuple[Any, ...]:
    with owner(database) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM journey_watched w WHERE w.journey_id = j.id), entry_kind, watches_contacts,"
            " next_entry_at IS NOT NULL FROM journeys j WHERE tenant_id = %s",
            (tenant.id,),
        ).fetchone()
    assert row is not None
    return tuple(row)
