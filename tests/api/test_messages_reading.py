from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from api.message_views import MessageShown, MessageStory
from tests.api.message_fixtures import Shop, open_shop, receipt
from tests.api.running import Api, ok, problem
from tests.services import Database

FALLBACK = {"channel": "sms", "after": "PT10M", "content": {"body": "Hi"}}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(api: Api, module_database: Database) -> AsyncIterator[Shop]:
    yield await open_shop(api, module_database)


async def _story(shop: Shop, message: str) -> dict[str, Any]:
    story: dict[str, Any] = await ok(shop.client.get(f"/v1/messages/{message}"))
    return story


async def test_a_story_holds_everything_in_the_order_it_happened(shop: Shop) -> None:
    made = await shop.sent(receipt(tags=["shop"], metadata={"order": 7}, fallback=FALLBACK))
    void = shop.attempt(made["id"], "void", code="Throttling")
    shop.rows("UPDATE attempts SET recorded_at = claimed_at + interval '1 ms' WHERE id = %s", void)
    attempt = shop.attempt(made["id"], "accepted", number=2, provider_message_id="ses-1")
    shop.rows("UPDATE attempts SET recorded_at = claimed_at + interval '2 ms' WHERE id = %s", attempt)
    account = shop.message(made["id"])["account_id"]
    for seconds, kind in ((9, "delivery"), (3, "send")):
        shop.rows(
            "INSERT INTO provider_events "
            "(account_id, event_id, kind, tenant_id, message_id, attempt_id, occurred_at, raw, month) "
            "VALUES (%s, %s, %s, %s, %s, %s, waypost_now() + make_interval(secs => %s), '', "
            "waypost_month(waypost_now()))",
            *(account, kind, kind, shop.id, made["id"], attempt, seconds),
        )
    shop.rows(
        "INSERT INTO verdicts (tenant_id, message_id, at, verdict, reason, until) "
        "SELECT tenant_id, id, created_at, 'defer', 'account_paused', created_at FROM messages WHERE id = %s",
        made["id"],
    )
    shop.rows(
        "UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'accepted', "
        "outcome_at = waypost_now() + interval '1 s', delivery = 'delivered' WHERE id = %s",
        made["id"],
    )
    story = await _story(shop, made["id"])
    MessageStory.model_validate(story)
    assert [entry["kind"] for entry in story["timeline"]] == [
        *("accepted", "verdict", "attempt", "attempt_ended", "attempt", "attempt_ended", "outcome", "event", "event")
    ]
    assert [event["kind"] for event in story["events"]] == ["send", "delivery"]
    assert [one["number"] for one in story["attempt_list"]] == [1, 2]
    assert (story["status"], story["delivery"], story["fallback_after"]) == ("sent", "delivered", "PT10M")
    assert (story["to"], story["sender"]) == ({"contact": "ann", "address": "ann@reader.test"}, "mail")
    assert story["template"] == {"key": "receipt", "version": 1}
    assert (story["tags"], story["metadata"]) == (["shop"], {"order": 7})
    assert "ann@reader.test" not in str(story["timeline"])


async def test_a_fallback_and_its_primary_lead_to_each_other(shop: Shop) -> None:
    made = await shop.sent(receipt(fallback=FALLBACK))
    primary, fallback = await _story(shop, made["id"]), await _story(shop, made["fallback_id"])
    assert (primary["fallback_id"], primary["primary_id"]) == (fallback["id"], None)
    assert (fallback["primary_id"], fallback["fallback_id"]) == (primary["id"], None)
    assert fallback["links"]["execution"] == primary["links"]["execution"]


async def test_a_journeys_message_leads_to_its_enrollment(shop: Shop) -> None:
    enrollment = str(uuid4())
    made = await shop.sent(receipt(fallback=FALLBACK))
    both = (made["id"], made["fallback_id"])
    shop.rows(
        "UPDATE messages SET source = 'journey', enrollment_id = %s WHERE id = ANY(%s) RETURNING 1",
        enrollment,
        list(both),
    )
    primary, fallback = [await _story(shop, one) for one in both]
    assert (primary["source"], primary["enrollment_id"]) == ("journey", enrollment)
    assert primary["links"]["execution"].endswith(f"/workflows/journey%2F{enrollment}")
    assert fallback["links"]["execution"].endswith(f"/workflows/message%2F{fallback['id']}")
    listed = await ok(shop.client.get("/v1/messages", params={"enrollment": enrollment}))
    assert {one["id"] for one in listed["data"]} == set(both)
    shop.rows("UPDATE messages SET dispatches = 1 WHERE id = %s RETURNING 1", made["id"])
    primary = await _story(shop, made["id"])  # it was put back to its row, and dispatched by itself
    assert primary["links"]["execution"].endswith(f"/workflows/message%2F{made['id']}")


async def test_a_message_that_is_not_there_or_another_tenants_is_not_found(
    api: Api, shop: Shop, module_database: Database
) -> None:
    other = await open_shop(api, module_database)
    made = await other.sent()
    for message in (made["id"], str(uuid4())):
        await problem(shop.client.get(f"/v1/messages/{message}"), 404, "not_found")
        await problem(shop.client.post(f"/v1/messages/{message}/cancel"), 404, "not_found")
    await problem(shop.client.get("/v1/messages/x"), 422, "validation_failed")
    assert made["id"] not in [message["id"] for message in await _all(shop)]


async def test_a_key_sees_and_cancels_messages_of_its_own_mode_only(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    live = await api.key(shop.id, mode="live")
    test, real = [(await shop.sent(receipt(fallback=FALLBACK)))["id"] for _ in range(2)]
    shop.rows("UPDATE messages SET mode = 'live' WHERE id = %s OR primary_id = %s", real, real)
    for client, own, other in ((shop.client, test, real), (live.client, real, test)):
        listed = (await ok(client.get("/v1/messages")))["data"]
        assert {own} == {message["id"] for message in listed if message["primary_id"] is None}
        assert len(listed) == 2
        await problem(client.get(f"/v1/messages/{other}"), 404, "not_found")
        await problem(client.post(f"/v1/messages/{other}/cancel"), 404, "not_found")
        assert shop.message(other)["cancel_requested_at"] is None
    for client, own in ((shop.client, test), (live.client, real)):
        assert (await ok(client.get(f"/v1/messages/{own}")))["id"] == own
        assert (await ok(client.post(f"/v1/messages/{own}/cancel")))["status"] == "cancelled"


async def _all(shop: Shop, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        asked = query if cursor is None else {**query, "cursor": cursor}
        page = await ok(shop.client.get("/v1/messages", params=asked))
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def test_pages_hold_each_message_once_also_while_others_come(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    body = {"messages": [receipt(data={"order": n}) for n in range(7)]}
    made = [v["id"] for v in (await ok(shop.client.post("/v1/messages/batch", json=body)))["verdicts"]]
    first = await ok(shop.client.get("/v1/messages", params={"limit": 3}))
    late = await shop.sent()
    rest = await ok(shop.client.get("/v1/messages", params={"limit": 200, "cursor": first["next_cursor"]}))
    listed = [message["id"] for message in first["data"] + rest["data"]]
    assert sorted(listed) == sorted(made)
    newest = await _all(shop, limit=3)
    assert newest[0]["id"] == late["id"]
    assert len({message["id"] for message in newest}) == 8
    MessageShown.model_validate(newest[0])


async def test_a_list_is_filtered_by_each_of_its_filters(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    one = await shop.sent(receipt(tags=["a", "b"]))
    two = await shop.sent(receipt(to={"email": "bob@reader.test"}))
    await ok(shop.client.post(f"/v1/messages/{two['id']}/cancel"))
    middle = datetime.fromisoformat((await _story(shop, two["id"]))["created_at"]).isoformat()
    ids: dict[str, set[str]] = {
        "tag=b": {one["id"]},
        "tag=c": set(),
        "contact=ann": {one["id"]},
        "contact=bob": set(),
        "outcome=cancelled": {two["id"]},
        "outcome=sent": set(),
        "phase=ready": {one["id"]},
        "phase=closed": {two["id"]},
        "hold_reason=late_needs_approval": set(),
        "source=transactional": {one["id"], two["id"]},
        "source=campaign": set(),
        f"enrollment={uuid4()}": set(),
        f"created_before={middle}": {one["id"]},
        f"created_after={middle}": {two["id"]},
    }
    for query, expected in ids.items():
        name, _, value = query.partition("=")
        assert {message["id"] for message in await _all(shop, **{name: value})} == expected, query


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "outcome=lost",
        "tag=ö",
        "created_after=yesterday",
        "source=x",
        "phase=x",
        "hold_reason=X",
    ],
)
async def test_a_malformed_filter_is_refused(shop: Shop, query: str) -> None:
    await problem(shop.client.get(f"/v1/messages?{query}"), 422, "validation_failed")


async def test_a_cursor_of_somebodys_own_making_is_refused(shop: Shop) -> None:
    for cursor in ("x", "AAAA", "ö"):
        await problem(shop.client.get("/v1/messages", params={"cursor": cursor}), 422, "invalid_cursor")


async def _cancel(shop: Shop, message: str) -> httpx.Response:
    return await shop.client.post(f"/v1/messages/{message}/cancel")


async def test_a_message_that_waits_is_cancelled_at_once_with_its_fallback(shop: Shop) -> None:
    made = await shop.sent(receipt(fallback=FALLBACK))
    answer = await _cancel(shop, made["id"])
    assert (answer.status_code, answer.json()) == (200, {"id": made["id"], "status": "cancelled"})
    for message in (made["id"], made["fallback_id"]):
        row = shop.message(message)
        assert (row["phase"], row["outcome"]) == ("closed", "cancelled")
        assert row["outcome_reason"] == "cancelled_by_caller"
    assert (await _cancel(shop, made["id"])).status_code == 200


async def test_a_fallback_alone_can_be_cancelled(shop: Shop) -> None:
    made = await shop.sent(receipt(fallback=FALLBACK))
    assert (await _cancel(shop, made["fallback_id"])).status_code == 200
    assert shop.message(made["id"])["outcome"] is None
    assert shop.message(made["fallback_id"])["outcome"] == "cancelled"


async def test_a_dispatched_message_is_marked_for_its_execution(shop: Shop) -> None:
    made = await shop.sent(receipt(fallback=FALLBACK))
    shop.move(made["id"], "dispatched")
    shop.attempt(made["id"], "void")
    for _ in range(2):
        answer = await _cancel(shop, made["id"])
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    row = shop.message(made["id"])
    assert (row["outcome"], row["cancel_requested_at"] is not None) == (None, True)
    assert shop.message(made["fallback_id"])["outcome"] == "cancelled"


@pytest.mark.parametrize("state", ["in_flight", "unknown", "accepted", "assumed_sent", "abandoned"])
@pytest.mark.parametrize("phase", ["dispatched", "held"])
async def test_what_was_handed_over_is_too_late(shop: Shop, state: str, phase: str) -> None:
    made = await shop.sent(receipt(fallback=FALLBACK))
    shop.move(made["id"], phase)
    shop.attempt(made["id"], state)
    await problem(_cancel(shop, made["id"]), 409, "too_late")
    assert shop.message(made["id"])["cancel_requested_at"] is None
    assert shop.message(made["fallback_id"])["outcome"] is None


async def test_a_message_with_its_outcome_is_too_late(shop: Shop) -> None:
    made = await shop.sent()
    shop.rows(
        "UPDATE messages SET phase = 'closed', outcome = 'expired', outcome_reason = 'expired' WHERE id = %s",
        made["id"],
    )
    await problem(_cancel(shop, made["id"]), 409, "too_late")


async def test_the_document_describes_the_bodies_and_every_status(api: Api) -> None:
    document = api.app.openapi()
    post = document["paths"]["/v1/messages"]["post"]
    assert {"202", "400", "401", "403", "409", "413", "422", "429", "503"} <= set(post["responses"])
    assert "Idempotent-Replay" in post["responses"]["202"]["headers"]
    assert document["components"]["schemas"]["MessageIn"]["examples"]
    assert {"200", "202", "404", "409"} <= set(
        document["paths"]["/v1/messages/{message_id}/cancel"]["post"]["responses"]
    )
