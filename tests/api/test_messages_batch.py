from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.api.message_fixtures import Shop, open_shop, receipt
from tests.api.running import Api, ok, problem
from tests.services import Database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(api: Api, module_database: Database) -> AsyncIterator[Shop]:
    yield await open_shop(api, module_database)


async def _batch(shop: Shop, *messages: dict[str, Any], key: str | None = None) -> list[dict[str, Any]]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await ok(shop.client.post("/v1/messages/batch", json={"messages": messages}, headers=headers))
    verdicts: list[dict[str, Any]] = answer["verdicts"]
    return verdicts


async def test_each_message_has_its_own_verdict_in_order(shop: Shop) -> None:
    before = shop.count()
    sound, bad = receipt(idempotency_key="one"), receipt(to={"contact": "nobody"}, idempotency_key="two")
    other = receipt(idempotency_key="one", data={"order": "other"})
    verdicts = await _batch(shop, sound, bad, sound, other, receipt(data={}), receipt())
    assert [verdict["status"] for verdict in verdicts] == [
        *("accepted", "refused", "duplicate", "refused", "refused", "accepted")
    ]
    assert verdicts[0]["id"] == verdicts[2]["id"]
    codes = [verdict["problem"]["code"] for verdict in verdicts if verdict["status"] == "refused"]
    assert codes == ["contact_not_found", "idempotency_key_reused", "missing_variable"]
    assert shop.count() == before + 2
    assert verdicts[5]["links"]["self"].endswith(verdicts[5]["id"])


async def test_a_batch_that_is_sent_again_makes_nothing_new(shop: Shop) -> None:
    messages = [receipt(data={"order": number}) for number in range(5)]
    first = await _batch(shop, *messages, key="nightly")
    before = shop.count()
    again = await _batch(shop, *messages, key="nightly")
    assert [verdict["id"] for verdict in again] == [verdict["id"] for verdict in first]
    assert {verdict["status"] for verdict in again} == {"duplicate"}
    assert shop.count() == before


async def test_a_key_means_the_same_alone_and_in_a_batch(shop: Shop) -> None:
    alone = await shop.sent(key="both")
    (verdict,) = await _batch(shop, receipt(idempotency_key="both"))
    assert (verdict["status"], verdict["id"]) == ("duplicate", alone["id"])


async def test_a_malformed_message_refuses_the_batch_and_names_its_place(shop: Shop) -> None:
    before = shop.count()
    body = {"messages": [receipt(), receipt(colour="red")]}
    document = await problem(shop.client.post("/v1/messages/batch", json=body), 422, "validation_failed")
    assert document["errors"][0]["field"] == "messages.1.colour"
    assert shop.count() == before


async def test_a_batch_is_bounded(shop: Shop) -> None:
    for messages in ([], [receipt()] * 501):
        answer = shop.client.post("/v1/messages/batch", json={"messages": messages})
        document = await problem(answer, 422, "validation_failed")
        assert document["errors"][0]["field"] == "messages"


async def test_a_batch_that_has_no_room_is_refused_whole(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    shop.rows("UPDATE tenants SET backlog_bound = 3 WHERE id = %s", shop.id)
    answer = shop.client.post("/v1/messages/batch", json={"messages": [receipt()] * 4})
    await problem(answer, 429, "backlog_full")
    assert shop.count() == 0


async def test_five_hundred_take_little_time_and_are_all_there(shop: Shop) -> None:
    before = shop.count()
    started = time.perf_counter()
    verdicts = await _batch(shop, *(receipt(data={"order": n}, idempotency_key=f"m{n}") for n in range(500)))
    assert time.perf_counter() - started < 1.5
    assert {verdict["status"] for verdict in verdicts} == {"accepted"}
    assert shop.count() == before + 500
