"""What is late under `late_policy` ask is found and released; nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.message_fixtures import Shop, open_shop, receipt
from tests.api.running import Api, ok, problem
from tests.services import Database

FALLBACK = {"channel": "sms", "after": "PT10M", "content": {"body": "Hi"}}


@pytest.fixture
async def shop(api: Api, module_database: Database) -> Shop:
    return await open_shop(api, module_database)


def _hold(shop: Shop, message: str) -> None:
    """As the gate does it."""
    shop.rows(
        "UPDATE messages SET hold_reason = 'late_needs_approval', due_at = expires_at WHERE id = %s AND tenant_id = %s",
        *(message, shop.id),
    )


async def _held(shop: Shop) -> list[dict[str, Any]]:
    page = await ok(shop.client.get("/v1/messages", params={"hold_reason": "late_needs_approval"}))
    found: list[dict[str, Any]] = page["data"]
    return found


async def test_what_waits_for_an_approval_is_found_and_released_with_its_fallback(shop: Shop) -> None:
    await shop.sent()
    made = await shop.sent(receipt(fallback=FALLBACK))
    _hold(shop, made["id"])
    assert [message["id"] for message in await _held(shop)] == [made["id"]]
    path = f"/v1/messages/{made['id']}/release"
    assert await ok(shop.client.post(path)) == {"id": made["id"], "status": "released"}
    primary, fallback = shop.message(made["id"]), shop.message(made["fallback_id"])
    assert (primary["phase"], primary["hold_reason"]) == ("ready", None)
    assert primary["due_at"] == primary["late_approved_at"] == fallback["late_approved_at"]
    assert (fallback["phase"], fallback["due_at"]) == ("waiting", None)
    assert await _held(shop) == []
    await ok(shop.client.post(path))
    assert shop.message(made["id"])["late_approved_at"] == primary["late_approved_at"]
    story = await ok(shop.client.get(f"/v1/messages/{made['id']}"))
    assert "released" in [entry["kind"] for entry in story["timeline"]]


async def test_nothing_else_is_released(api: Api, shop: Shop) -> None:
    waiting = (await shop.sent())["id"]
    await problem(shop.client.post(f"/v1/messages/{waiting}/release"), 409, "not_waiting_for_approval")
    assert shop.message(waiting)["late_approved_at"] is None
    _hold(shop, waiting)
    live, reader = await api.key(shop.id, mode="live"), await api.key(shop.id, scopes=("messages:read",))
    await problem(live.client.post(f"/v1/messages/{waiting}/release"), 404, "not_found")
    await problem(reader.client.post(f"/v1/messages/{waiting}/release"), 403, "missing_scope")
    await ok(shop.client.post(f"/v1/messages/{waiting}/cancel"))
    await problem(shop.client.post(f"/v1/messages/{waiting}/release"), 409, "not_waiting_for_approval")
