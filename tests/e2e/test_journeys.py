"""A journey from its publication to its end, through every process of a real stack."""

from __future__ import annotations

import itertools
import json

import httpx
import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from tests.e2e.conftest import Shop
from tests.e2e.journeying import Journeys, Shown, has_ended, waits_at
from waypost.stack.running import RunningStack

_keys = (f"journey-{number}" for number in itertools.count(1))
_phones = (f"+1415555{number}" for number in itertools.count(7000))


@pytest.fixture
def journeys(shop: Shop) -> Journeys:
    """The demo tenant's."""
    return Journeys(shop)


def test_an_event_lets_in_a_welcome_goes_out_a_second_event_is_waited_for_and_a_text_follows(
    journeys: Journeys,
) -> None:
    key, phone = next(_keys), next(_phones)
    journeys.publish(key)
    ann = journeys.contact(f"{key}-ann", phone=phone, attributes={"first_name": "Ann"})
    journeys.event(f"{key}-signed-up", ann, plan="family")
    waiting = journeys.until(key, ann, waits_at("bought"))
    assert (waiting["source"], waiting["data"], waiting["number"]) == ("event", {"plan": "family"}, 1)
    (letter,) = journeys.shop.control.inbox(f"{ann}@example.com")
    assert letter["subject"] == "Welcome Ann"
    assert_explained_where_it_waits(journeys, waiting, key)
    journeys.event(f"{key}-bought", ann, item="a mug")
    ended = journeys.until(key, ann, has_ended)
    assert (ended["how"], [visit["step"] for visit in ended["visits"]]) == (
        "completed",
        ["welcome", "bought", "thanks"],
    )
    (text,) = journeys.shop.control.inbox(phone)
    assert "Thanks for a mug" in json.dumps(text)
    assert_explained_when_it_is_over(journeys, ended, key)
    assert_sent_once(journeys, ended)
    counts = journeys.get(f"/v1/journeys/{key}")["counts"]
    assert (counts["open"], counts["endings"]) == (0, {"completed": 1})


def assert_explained_where_it_waits(journeys: Journeys, waiting: Shown, key: str) -> None:
    explained = journeys.get(f"/v1/enrollments/{waiting['id']}/explain")
    assert "bought" in explained["sentence"]
    wakers = {(waker["by"], waker["event"], waker["to"], waker["ends"]) for waker in explained["wakers"]}
    assert ("event", f"{key}-bought", "thanks", None) in wakers
    assert ("event", f"{key}-closed", None, "closed") in wakers
    assert any(waker["by"] == "time" and waker["at"] for waker in explained["wakers"])


def assert_explained_when_it_is_over(journeys: Journeys, ended: Shown, key: str) -> None:
    explained = journeys.get(f"/v1/enrollments/{ended['id']}/explain")
    assert explained["wakers"] == []
    assert [(one["step"], one["to"]) for one in explained["way"]][:2] == [("welcome", "bought"), ("bought", "thanks")]
    assert f"{key}-bought" in explained["way"][1]["sentence"]


def assert_sent_once(journeys: Journeys, ended: Shown) -> None:
    rows = journeys.get("/v1/messages", enrollment=ended["id"])["data"]
    assert sorted((row["source"], row["channel"], row["outcome"], row["attempts"]) for row in rows) == [
        ("journey", "email", "sent", 1),
        ("journey", "sms", "sent", 1),
    ]
    assert {row["enrollment_id"] for row in rows} == {ended["id"]}


def test_who_does_not_come_back_is_let_go_and_who_closes_the_account_leaves_at_once(journeys: Journeys) -> None:
    key = next(_keys)
    journeys.publish(key, timeout="PT4S")
    late, gone = (journeys.contact(f"{key}-{name}", phone=next(_phones)) for name in ("late", "gone"))
    for contact in (late, gone):
        journeys.event(f"{key}-signed-up", contact, plan="basic")
    journeys.until(key, gone, waits_at("bought"))
    journeys.event(f"{key}-closed", gone)
    left = journeys.until(key, gone, has_ended)
    assert (left["how"], left["reason"]) == ("exit_rule", "closed")
    ended = journeys.until(key, late, has_ended)
    assert (ended["how"], ended["visits"][-1]["edge"]) == ("completed", "on_timeout")
    assert journeys.get("/v1/messages", enrollment=ended["id"])["data"][0]["channel"] == "email"


async def test_the_execution_tells_where_it_is(journeys: Journeys, stack: RunningStack) -> None:
    key = next(_keys)
    journeys.publish(key)
    ann = journeys.contact(f"{key}-ann", phone=next(_phones))
    journeys.event(f"{key}-signed-up", ann, plan="basic")
    waiting = journeys.until(key, ann, waits_at("bought"))
    assert waiting["execution"].endswith(f"journey%2F{waiting['id']}")
    client = await Client.connect(stack.urls["temporal"])
    handle = client.get_workflow_handle(f"journey/{waiting['id']}")
    described = await handle.describe()
    assert await described.static_summary() == "journey, version 1, entered by event"
    details = await current_details(client, f"journey/{waiting['id']}")
    assert details.startswith("welcome → **bought** (wait_for, until 20"), details
    summaries = [
        json.loads(event.user_metadata.summary.data)
        async for event in handle.fetch_history_events()
        if event.user_metadata.summary.data
    ]
    assert "welcome: load, gate, claim, call, record" in summaries
    assert "bought (wait_for)" in summaries
    journeys.event(f"{key}-closed", ann)
    result = await handle.result()
    assert result["how"] == "exit_rule"


async def current_details(client: Client, workflow: str) -> str:
    """What the Web UI shows as the execution's summary."""
    raw = await client.get_workflow_handle(workflow).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert isinstance(raw, WorkflowMetadata)
    return raw.current_details


def test_the_bulk_worker_counts_what_journeys_do(journeys: Journeys, stack: RunningStack) -> None:
    key = next(_keys)
    journeys.publish(key)
    ann = journeys.contact(f"{key}-ann", phone=next(_phones))
    journeys.event(f"{key}-signed-up", ann, plan="basic")
    journeys.until(key, ann, waits_at("bought"))
    journeys.event(f"{key}-bought", ann, item="tea")
    journeys.until(key, ann, has_ended)
    text = httpx.get(stack.urls["metrics_worker-bulk"], trust_env=False).raise_for_status().text
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert found['waypost_journey_steps_total{kind="send"}'] >= 2
    assert found['waypost_journey_steps_total{kind="wait_for"}'] >= 1
    assert found['waypost_journey_enrollments_ended_total{how="completed"}'] >= 1
    assert found['waypost_journey_decisions_total{next="rest"}'] >= 1
    assert found["waypost_journey_decision_seconds_count"] >= 3
    assert found["waypost_journey_executions_started_total"] >= 1
