"""What is asked for over the API, and what the real decisions make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import pytest_asyncio
from temporalio.testing import ActivityEnvironment

from activities.contracts.journeys import DecideInput, Decision, Next
from activities.journey_webhooks import Webhooks
from activities.journeys import JourneyActivities
from tests.api.journey_fixtures import WAITS, document, enroll, have_sender, publish, put, tenant_with
from tests.api.running import SECRET_KEY, Api, Tenant, app_settings, ok, problem
from tests.services import Database
from waypost.store import database


class Decide(Protocol):
    """Have an enrollment decide, as its execution would."""

    async def __call__(self, tenant: Tenant, enrollment: str) -> Decision: ...


class _NoPoster:
    async def post(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("no webhook here")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def decide(module_database: Database) -> AsyncIterator[Decide]:
    app = database.Database(app_settings(module_database).database, database.Role.APP, size=1)
    await app.open()
    queue = ActivityEnvironment().info.task_queue
    activities = JourneyActivities(
        app=app,
        webhooks=Webhooks(app=app, poster=_NoPoster(), secret_key=SECRET_KEY),
        tell=lambda _: None,
        queue_for=lambda *_: queue,
    )

    async def once(tenant: Tenant, enrollment: str) -> Decision:
        task = DecideInput(str(tenant.id), enrollment, str(UUID(int=0)))
        return await ActivityEnvironment().run(activities.decide, task)

    try:
        yield once
    finally:
        await app.close()


async def _explain(tenant: Tenant, enrollment: str) -> Any:
    return await ok(tenant.client.get(f"/v1/enrollments/{enrollment}/explain"))


async def test_somebody_is_led_through_by_hand_and_every_step_is_explained(api: Api, decide: Decide) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    ann = (await enroll(tenant, "ann")).json()["id"]
    path = f"/v1/enrollments/{ann}"
    assert (await decide(tenant, ann)).next is Next.REST
    story = await _explain(tenant, ann)
    assert (story["enrollment"]["step"], story["untaken"]) == ("a", {})
    waits = datetime.fromisoformat(story["wakers"][0]["at"]) - datetime.fromisoformat(story["since"])
    assert waits == timedelta(days=1)
    for _ in range(2):
        await ok(tenant.client.post(f"{path}/skip-wait", json={"step": "a"}))
    assert (await _explain(tenant, ann))["untaken"] == {"skip_wait": 1}
    await decide(tenant, ann)
    await problem(tenant.client.post(f"{path}/skip-wait", json={"step": "a"}), 409, "enrollment_not_waiting")
    await ok(tenant.client.post("/v1/events", json={"id": "e1", "contact": "ann", "name": "bought"}))
    await decide(tenant, ann)
    await ok(tenant.client.post(f"{path}/answer", json={"step": "c", "approved": True}))
    assert (await decide(tenant, ann)).next is Next.ENDED
    story = await _explain(tenant, ann)
    assert [one["sentence"] for one in story["way"]] == [
        "A person ended the wait. Then b followed.",
        "The contact did bought. Then c followed.",
        "Somebody approved. That was the end.",
    ]
    assert (story["wakers"], story["enrollment"]["how"]) == ([], "completed")
    counts = (await ok(tenant.client.get("/v1/journeys/tour")))["counts"]
    assert (counts["open"], counts["endings"]) == (0, {"completed": 1})
    await problem(enroll(tenant, "ann"), 409, "only_once")


async def test_a_new_version_lets_waits_go_on_and_takes_renamed_steps_anew(api: Api, decide: Decide) -> None:
    tenant = await tenant_with(api, "ann", "bob")
    await publish(tenant, WAITS)
    ann, bob = [(await enroll(tenant, name)).json()["id"] for name in ("ann", "bob")]
    for one in (ann, bob):
        await decide(tenant, one)
    await ok(tenant.client.post(f"/v1/enrollments/{bob}/skip-wait"))
    await decide(tenant, bob)
    before = (await _explain(tenant, ann))["enrollment"]
    later = WAITS.replace("next: b}", "next: later}").replace("  b: {", "  later: {").replace("for: P1D", "for: P3D")
    await publish(tenant, later.replace("start: a", "on_new_version: move\nmoves: {b: later}\nstart: a"))
    assert (await decide(tenant, ann)).version_id is not None
    await decide(tenant, bob)
    after = (await _explain(tenant, ann))["enrollment"]
    assert (after["version"], after["step"], after["resting_since"]) == (2, "a", before["resting_since"])
    moved = datetime.fromisoformat(after["wakes_at"]) - datetime.fromisoformat(before["wakes_at"])
    assert moved == timedelta(days=2)
    shown = await _explain(tenant, bob)
    assert (shown["enrollment"]["version"], shown["enrollment"]["step"]) == (2, "later")
    assert shown["way"][-1]["to"] == "later"


async def test_a_pause_holds_somebody_and_says_so(api: Api, decide: Decide) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    ann = (await enroll(tenant, "ann")).json()["id"]
    await decide(tenant, ann)
    await ok(tenant.client.post("/v1/journeys/tour/pause"))
    await ok(tenant.client.post(f"/v1/enrollments/{ann}/skip-wait"))
    await decide(tenant, ann)
    story = await _explain(tenant, ann)
    assert "it is held since" in story["sentence"]
    assert [one["by"] for one in story["wakers"]] == ["resume"]
    await ok(tenant.client.post("/v1/journeys/tour/resume"))
    await decide(tenant, ann)
    assert (await _explain(tenant, ann))["enrollment"]["step"] == "b"


async def test_archiving_with_removal_ends_everybody_also_during_a_pause(api: Api, decide: Decide) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, WAITS)
    ann = (await enroll(tenant, "ann")).json()["id"]
    await decide(tenant, ann)
    await ok(tenant.client.post("/v1/journeys/tour/pause"))
    await decide(tenant, ann)
    await ok(tenant.client.post("/v1/journeys/tour/archive", json={"remove": True}))
    assert (await decide(tenant, ann)).next is Next.ENDED
    shown = await ok(tenant.client.get(f"/v1/enrollments/{ann}"))
    assert (shown["how"], shown["state"]) == ("removed", "ended")


async def test_a_message_that_is_to_be_sent_is_told_of(api: Api, decide: Decide) -> None:
    tenant = await tenant_with(api, "ann")
    await have_sender(api, tenant)
    content = {"en": {"subject": "Hello", "text": "Hello"}}
    template = {"channel": "email", "default_locale": "en", "locales": content}
    await ok(tenant.client.put("/v1/templates/hello", json=template))
    await put(tenant, document("a: {kind: send, channel: email, template: hello, next: end}"))
    await ok(tenant.client.post("/v1/journeys/tour/publish"))
    ann = (await enroll(tenant, "ann")).json()["id"]
    while (decision := await decide(tenant, ann)).next is not Next.SEND:
        assert decision.next is Next.REST
    (waker,) = (await _explain(tenant, ann))["wakers"]
    assert (waker["by"], waker["to"], waker["message"]) == ("message", "end", decision.message_id)
    message = await ok(tenant.client.get(f"/v1/messages/{decision.message_id}"))
    assert message["enrollment_id"] == ann
