"""Enrollments over the API: people are let in, looked at, explained and moved."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.api.journey_fixtures import (
    WAITS,
    document,
    enroll,
    hints,
    inbox,
    owner,
    publish,
    put,
    rest_at,
    tenant_with,
)
from tests.api.running import Api, Tenant, ok, problem
from tests.services import Database


async def _in(api: Api) -> tuple[Tenant, str]:
    """A tenant with one contact, ann, in the journey; her enrollment."""
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    return tenant, (await enroll(tenant, "ann")).json()["id"]


async def test_a_contact_is_let_in_once_while_it_is_in(api: Api) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    first = await enroll(tenant, "ann", data={"plan": "pro"})
    assert first.status_code == 201
    shown = first.json()
    assert (shown["contact"], shown["version"], shown["state"], shown["source"]) == ("ann", 1, "open", "api")
    assert shown["data"] == {"plan": "pro"}
    assert shown["execution"].endswith(f"journey%2F{shown['id']}")
    again = await enroll(tenant, "ann", data={"plan": "free"})
    assert (again.status_code, again.json()) == (200, shown)
    read = await ok(tenant.client.get(f"/v1/enrollments/{shown['id']}"))
    assert (read["id"], read["visits"]) == (shown["id"], [])


async def test_who_may_not_enter_is_told_why(api: Api, module_database: Database) -> None:
    tenant, ann = await _in(api)
    await problem(enroll(tenant, "nobody"), 422, "contact_not_found")
    await problem(tenant.client.post("/v1/journeys/no/enrollments", json={"contact": "ann"}), 404, "not_found")
    await put(tenant, WAITS.replace("tour", "draft"), key="draft")
    await problem(enroll(tenant, "ann", journey="draft"), 409, "journey_not_published")
    _end(module_database, ann)
    await problem(enroll(tenant, "ann"), 409, "only_once")
    text = WAITS.replace("tour", "again").replace("start: a", "reentry: {after: P7D}\nstart: a")
    await publish(tenant, text, key="again")
    _end(module_database, (await enroll(tenant, "ann", journey="again")).json()["id"])
    await problem(enroll(tenant, "ann", journey="again"), 409, "cooling_down")


def _end(database: Database, enrollment: str) -> None:
    with owner(database) as connection:
        connection.execute(
            "UPDATE enrollments SET state = 'ended', how = 'completed', reason = 'completed',"
            " ended_at = waypost_now() WHERE id = %s",
            (enrollment,),
        )


async def test_keyed_journeys_need_a_key_and_others_take_none(api: Api) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    path = "/v1/journeys/{}/enrollments"
    body: dict[str, Any] = {"contact": "ann"}
    answer = await problem(
        tenant.client.post(path.format("tour"), json={**body, "key": "o1"}), 422, "validation_failed"
    )
    assert answer["errors"][0]["field"] == "key"
    head = "entry: {kind: event, event: ordered, key: order}\nreentry: per_key"
    await publish(tenant, document("a: {kind: wait, for: P1D, next: end}", key="orders", head=head), key="orders")
    await problem(tenant.client.post(path.format("orders"), json=body), 422, "validation_failed")
    for key in ("o1", "o2"):
        response = await tenant.client.post(path.format("orders"), json={**body, "key": key})
        assert (response.status_code, response.json()["key"]) == (201, key)
    response = await tenant.client.post(path.format("orders"), json={**body, "key": "o1"})
    assert response.status_code == 200


async def test_people_are_listed_by_state_step_and_contact_in_the_order_they_came(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with(api, "ann", "bob", "cem")
    await publish(tenant, WAITS)
    people = [(await enroll(tenant, name)).json()["id"] for name in ("ann", "bob", "cem")]
    rest_at(module_database, people[1], "b")
    _end(module_database, people[2])

    async def found(**params: Any) -> list[str]:
        answer = await ok(tenant.client.get("/v1/journeys/tour/enrollments", params=params))
        return [one["id"] for one in answer["data"]]

    assert await found() == people
    assert await found(state="open") == people[:2]
    assert await found(step="b") == [people[1]]
    assert await found(contact="cem") == [people[2]]
    page = await ok(tenant.client.get("/v1/journeys/tour/enrollments", params={"limit": 2}))
    assert await found(limit=2, cursor=page["next_cursor"]) == people[2:]
    counts = (await ok(tenant.client.get("/v1/journeys/tour")))["counts"]
    assert counts == {"open": 2, "waiting": 1, "steps": {"b": 1}, "endings": {"completed": 1}}


async def test_an_enrollment_of_the_other_mode_or_tenant_is_not_there(api: Api) -> None:
    tenant, ann = await _in(api)
    live, other = await api.key(tenant.id, mode="live"), await api.tenant()
    for stranger in (live, other):
        for path in ("", "/explain"):
            await problem(stranger.client.get(f"/v1/enrollments/{ann}{path}"), 404, "not_found")
        for action in ("skip-wait", "exit"):
            await problem(stranger.client.post(f"/v1/enrollments/{ann}/{action}"), 404, "not_found")


async def test_what_a_person_does_is_told_to_the_execution_and_written_down(
    api: Api, module_database: Database
) -> None:
    tenant, ann = await _in(api)
    path = f"/v1/enrollments/{ann}"
    rest_at(module_database, ann, "a")
    assert (await tenant.client.post(f"{path}/skip-wait")).status_code == 202
    assert (await tenant.client.post(f"{path}/move", json={"step": "c"})).status_code == 202
    rest_at(module_database, ann, "c")
    assert (await tenant.client.post(f"{path}/answer", json={"step": "c", "approved": True})).status_code == 202
    assert (await tenant.client.post(f"{path}/exit")).status_code == 202
    assert inbox(module_database, ann) == [
        ("skip_wait", {"step": "a"}),
        ("move", {"step": "c"}),
        ("answer", {"step": "c", "approved": True}),
        ("remove", {"step": "c"}),
    ]
    assert hints(module_database, ann) == 1
    audit = (await ok(tenant.client.get("/v1/journeys/tour/audit", params={"enrollment": ann})))["data"]
    assert [one["action"] for one in audit] == ["wait_skipped", "moved", "answered", "removed"]
    assert {one["enrollment_id"] for one in audit} == {ann}
    assert all(one["actor"] for one in audit)


async def test_what_does_not_fit_where_it_is_is_refused(api: Api, module_database: Database) -> None:
    tenant, ann = await _in(api)
    path = f"/v1/enrollments/{ann}"
    await problem(tenant.client.post(f"{path}/skip-wait"), 409, "enrollment_not_waiting")
    rest_at(module_database, ann, "a")
    body: dict[str, Any] = {"step": "c", "approved": True}
    await problem(tenant.client.post(f"{path}/answer", json=body), 409, "enrollment_not_waiting")
    answer = await problem(tenant.client.post(f"{path}/move", json={"step": "cc"}), 422, "validation_failed")
    assert answer["errors"][0]["field"] == "step"
    _end(module_database, ann)
    for action in ("skip-wait", "exit"):
        await problem(tenant.client.post(f"{path}/{action}"), 409, "enrollment_over")
    assert inbox(module_database, ann) == []


async def test_it_is_explained_before_its_first_step(api: Api) -> None:
    tenant, ann = await _in(api)
    story = await ok(tenant.client.get(f"/v1/enrollments/{ann}/explain"))
    assert "has taken no step yet" in story["sentence"]
    assert [waker["by"] for waker in story["wakers"]] == ["decision"]
    assert story["way"] == []


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("a", [("time", "b", None)]),
        ("b", [("event", "c", None), ("time", "end", None)]),
        ("c", [("answer", "end", None), ("answer", "end", None), ("time", "end", None)]),
    ],
)
async def test_what_would_move_it_is_told_with_where_it_leads(
    api: Api, module_database: Database, step: str, expected: list[tuple[str, str, None]]
) -> None:
    goal = "goal: {name: bought, event: paid}\nexits: [{reason: gone, condition: {kind: list, key: vip}}]\nstart: a"
    tenant = await tenant_with(api, "ann")
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    await publish(tenant, WAITS.replace("start: a", goal))
    ann = (await enroll(tenant, "ann")).json()["id"]
    rest_at(module_database, ann, step)
    story = await ok(tenant.client.get(f"/v1/enrollments/{ann}/explain"))
    found = [(waker["by"], waker["to"], waker["ends"]) for waker in story["wakers"]]
    assert found == [*expected, ("event", None, "bought"), ("condition", None, "gone")]
    assert f"It is at {step}" in story["sentence"]
    assert all(waker["sentence"].endswith(".") for waker in story["wakers"])
    timed = next(waker for waker in story["wakers"] if waker["by"] == "time")
    assert timed["at"] == story["enrollment"]["wakes_at"] is not None


async def test_why_each_step_led_where_it_did_is_told(api: Api, module_database: Database) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS.replace("tour", "other"), key="other")
    where = "[{property: plan, is: {op: eq, value: pro}}]"
    text = document(
        f"""
        a: {{kind: wait, for: P1D, next: b}}
        b: {{kind: branch, choices: [{{name: pro, where: {where}, next: c}}], else: d}}
        c: {{kind: wait_for, for: {{event: bought}}, timeout: P2D, on_timeout: d, next: end}}
        d: {{kind: split, ways: [{{name: left, next: e}}, {{name: right, next: e}}]}}
        e: {{kind: start_journey, journey: other, next: f}}
        f: {{kind: exit, reason: enough}}
        """
    )
    await publish(tenant, text)
    ann = (await enroll(tenant, "ann")).json()["id"]
    rows = [
        ("a", "wait", "next", {"skipped": True}),
        ("b", "branch", "0", {"held": {"pro": True}, "chosen": "pro"}),
        ("c", "wait_for", "on_timeout", {"seen": "timeout"}),
        ("d", "split", "1", {}),
        ("e", "start_journey", "next", {"journey": "other", "refused": "only_once"}),
        ("f", "exit", None, {}),
    ]
    with owner(module_database) as connection:
        for number, (step, kind, edge, why) in enumerate(rows, 1):
            connection.execute(
                "INSERT INTO enrollment_visits VALUES (%s, %s, %s, %s, %s, waypost_now(), waypost_now(), NULL, %s, %s)",
                (tenant.id, ann, number, step, kind, edge, Jsonb(why)),
            )
    story = await ok(tenant.client.get(f"/v1/enrollments/{ann}/explain"))
    assert [(one["step"], one["to"]) for one in story["way"]] == [
        ("a", "b"),
        ("b", "c"),
        ("c", "d"),
        ("d", "e"),
        ("e", "f"),
        ("f", None),
    ]
    assert [one["sentence"] for one in story["way"]] == [
        "A person ended the wait. Then b followed.",
        "Of its choices pro held: pro it was. Then c followed.",
        "It did not come in time. Then d followed.",
        "Chance, the same for this contact each time, chose right. Then e followed.",
        "Journey other was not entered: only_once. Then f followed.",
        "It is an exit: enough.",
    ]
    detail = await ok(tenant.client.get(f"/v1/enrollments/{ann}"))
    assert [one["step"] for one in detail["visits"]] == [row[0] for row in rows]
