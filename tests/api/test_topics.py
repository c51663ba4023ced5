from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest_asyncio

from tests.api.message_fixtures import Shop, open_shop
from tests.api.running import Api, ok, problem
from tests.services import Database
from waypost.messaging import ids
from waypost.messaging.content import EmailContent, one_locale
from waypost.messaging.rendering import RenderedContent, render, template_context
from waypost.messaging.templating import compile_template

NEWS = {"name": "Monthly news", "description": "What we made", "opt_in": True}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(api: Api, module_database: Database) -> AsyncIterator[Shop]:
    yield await open_shop(api, module_database)


async def _contact(shop: Shop, external_id: str, **fields: Any) -> str:
    await ok(shop.client.put(f"/v1/contacts/{external_id}", json={"email": f"{external_id}@reader.test", **fields}))
    return external_id


async def _topic(shop: Shop, key: str, **fields: Any) -> str:
    await ok(shop.client.put(f"/v1/topics/{key}", json={**NEWS, **fields}))
    return key


async def _word(shop: Shop, contact: str, topic: str) -> dict[str, Any]:
    word: dict[str, Any] = await ok(shop.client.get(f"/v1/contacts/{contact}/topics/{topic}"))
    return word


def _confirmations(shop: Shop, contact: str) -> list[dict[str, Any]]:
    return shop.rows(
        "SELECT * FROM messages WHERE tenant_id = %s AND contact_id = %s ORDER BY created_at",
        *(shop.id, ids.contact_id(tenant=shop.id, external_id=contact)),
    )


async def test_a_topic_is_made_replaced_listed_and_deleted(shop: Shop) -> None:
    made = await ok(shop.client.put("/v1/topics/news", json=NEWS))
    assert made | NEWS == made
    assert made["double_opt_in"] is False
    renamed = await ok(shop.client.put("/v1/topics/news", json={"name": "News"}))
    assert (renamed["name"], renamed["opt_in"], renamed["description"]) == ("News", False, "")
    assert renamed["created_at"] == made["created_at"]
    assert await ok(shop.client.get("/v1/topics/news")) == renamed
    assert renamed in (await ok(shop.client.get("/v1/topics")))["data"]
    await ok(shop.client.delete("/v1/topics/news"))
    await problem(shop.client.get("/v1/topics/news"), 404, "not_found")
    await problem(shop.client.delete("/v1/topics/news"), 404, "not_found")


async def test_double_opt_in_is_for_topics_with_opt_in(shop: Shop) -> None:
    body = {"name": "x", "double_opt_in": True}
    document = await problem(shop.client.put("/v1/topics/x", json=body), 422, "validation_failed")
    assert document["errors"][0]["code"] == "double_without_opt_in"


async def test_topics_need_their_scopes(shop: Shop, api: Api) -> None:
    poor = (await api.key(shop.id, scopes=("contacts:read", "audiences:read"))).client
    await problem(poor.put("/v1/topics/x", json=NEWS), 403, "missing_scope")
    await problem(poor.put("/v1/contacts/ann/topics/x"), 403, "missing_scope")
    await ok(poor.get("/v1/topics"))


async def test_there_are_as_many_topics_as_fit_a_page(api: Api, module_database: Database) -> None:
    tenant = await api.tenant()
    with psycopg.connect(module_database.owner_url) as connection:
        for number in range(100):
            row = (tenant.id, uuid4(), f"t-{number}")
            connection.execute("INSERT INTO topics (tenant_id, id, key, name) VALUES (%s, %s, %s, 'x')", row)
    await problem(tenant.client.put("/v1/topics/one-more", json=NEWS), 409, "too_many_topics")
    topic = ids.topic_id(tenant=tenant.id, key="t-0")
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute("UPDATE topics SET id = %s WHERE tenant_id = %s AND key = 't-0'", (topic, tenant.id))
    await ok(tenant.client.put("/v1/topics/t-0", json=NEWS))


async def test_a_word_decides_and_without_one_the_topic_does(shop: Shop) -> None:
    contact = await _contact(shop, "words")
    await _topic(shop, "wanted")
    await _topic(shop, "unasked", opt_in=False)
    assert [(await _word(shop, contact, key))["receives"] for key in ("wanted", "unasked")] == [False, True]
    word = await ok(shop.client.put(f"/v1/contacts/{contact}/topics/wanted"))
    assert (word["state"], word["receives"], word["source"]) == ("subscribed", True, "api")
    again = await ok(shop.client.put(f"/v1/contacts/{contact}/topics/wanted", json={"confirmed": False}))
    assert again == word, "saying the same again changes nothing"
    await ok(shop.client.delete(f"/v1/contacts/{contact}/topics/unasked"))
    words = (await ok(shop.client.get(f"/v1/contacts/{contact}/topics")))["data"]
    found = {word["topic"]: (word["state"], word["receives"]) for word in words}
    assert found["wanted"] == ("subscribed", True)
    assert found["unasked"] == ("unsubscribed", False)
    await ok(shop.client.delete(f"/v1/contacts/{contact}/topics/wanted"))
    assert (await _word(shop, contact, "wanted"))["receives"] is False


async def test_a_topic_that_somebody_left_is_kept(shop: Shop) -> None:
    contact = await _contact(shop, "leaver")
    await _topic(shop, "left")
    await ok(shop.client.put(f"/v1/contacts/{contact}/topics/left"))
    await ok(shop.client.delete(f"/v1/contacts/{contact}/topics/left"))
    await problem(shop.client.delete("/v1/topics/left"), 409, "topic_in_use")
    await ok(shop.client.put(f"/v1/contacts/{contact}/topics/left"))
    await ok(shop.client.delete("/v1/topics/left"))


async def test_a_topic_that_a_segment_speaks_of_is_kept(shop: Shop) -> None:
    await _topic(shop, "spoken-of")
    segment = {"name": "Readers", "rule": {"kind": "topic", "key": "spoken-of", "is": "subscribed"}}
    await ok(shop.client.put("/v1/segments/readers", json=segment))
    await problem(shop.client.delete("/v1/topics/spoken-of"), 409, "referred_to")


async def test_who_or_what_is_not_there_is_not_found(shop: Shop) -> None:
    contact = await _contact(shop, "here")
    for path in (f"/v1/contacts/{contact}/topics/none", "/v1/contacts/nobody/topics/none"):
        for method in ("PUT", "GET", "DELETE"):
            await problem(shop.client.request(method, path), 404, "not_found")
    await problem(shop.client.get("/v1/contacts/nobody/topics"), 404, "not_found")


async def test_double_opt_in_waits_for_the_contact_and_asks_once(shop: Shop) -> None:
    contact = await _contact(shop, "double")
    await _topic(shop, "club", double_opt_in=True)
    word = await ok(shop.client.put(f"/v1/contacts/{contact}/topics/club"))
    assert (word["state"], word["receives"]) == ("pending", False)
    assert word["confirm_sent_at"] is not None
    [message] = _confirmations(shop, contact)
    assert (message["source"], message["class"], message["tags"]) == (
        "transactional",
        "transactional",
        ["subscription-confirmation"],
    )
    assert message["address"] == "double@reader.test"
    assert message["payload"]["data"]["topic"]["name"] == "Monthly news"
    assert "/c/" in message["payload"]["data"]["confirm_url"]
    content = _rendered(message["payload"])
    assert content.subject == "Please confirm: Monthly news"
    assert message["payload"]["data"]["confirm_url"] in content.text
    assert f'href="{message["payload"]["data"]["confirm_url"]}"' in (content.html or "")
    await ok(shop.client.put(f"/v1/contacts/{contact}/topics/club"))
    assert len(_confirmations(shop, contact)) == 1
    shop.rows("UPDATE topic_subscriptions SET confirm_sent_at = confirm_sent_at - interval '11 minutes'")
    await ok(shop.client.put(f"/v1/contacts/{contact}/topics/club"))
    assert len(_confirmations(shop, contact)) == 2


async def test_a_crash_between_sending_and_noting_it_sends_no_second_confirmation(shop: Shop) -> None:
    contact = await _contact(shop, "crash")
    await _topic(shop, "crashed", double_opt_in=True)
    await ok(shop.client.put(f"/v1/contacts/{contact}/topics/crashed"))
    shop.rows("UPDATE topic_subscriptions SET confirm_sent_at = NULL WHERE tenant_id = %s", shop.id)
    word = await ok(shop.client.put(f"/v1/contacts/{contact}/topics/crashed"))
    assert word["confirm_sent_at"] is not None
    assert len(_confirmations(shop, contact)) == 1


async def test_who_confirmed_elsewhere_is_subscribed_at_once(shop: Shop) -> None:
    contact = await _contact(shop, "elsewhere")
    await _topic(shop, "club", double_opt_in=True)
    word = await ok(shop.client.put(f"/v1/contacts/{contact}/topics/club", json={"confirmed": True}))
    assert word["state"] == "subscribed"
    assert _confirmations(shop, contact) == []


async def test_a_confirmation_that_cannot_be_sent_is_told_and_can_be_asked_for_again(shop: Shop) -> None:
    contact = await _contact(shop, "mailless", email=None)
    await _topic(shop, "club", double_opt_in=True)
    await problem(shop.client.put(f"/v1/contacts/{contact}/topics/club"), 422, "contact_without_address")
    word = await _word(shop, contact, "club")
    assert (word["state"], word["confirm_sent_at"]) == ("pending", None)
    await _contact(shop, contact, email="now@reader.test")
    assert (await ok(shop.client.put(f"/v1/contacts/{contact}/topics/club")))["confirm_sent_at"] is not None


async def test_a_tenant_chooses_the_template_that_asks(shop: Shop) -> None:
    assert (await ok(shop.client.get("/v1/settings")))["double_opt_in_template"] is None
    text = "{{ data.topic.name }}: {{ data.confirm_url }}"
    content = {"channel": "email", "default_locale": "en", "locales": {"en": {"subject": "Please", "text": text}}}
    await ok(shop.client.put("/v1/templates/please", json=content))
    changed = await ok(shop.client.patch("/v1/settings", json={"double_opt_in_template": "please"}))
    assert changed == await ok(shop.client.get("/v1/settings"))
    assert changed["double_opt_in_template"] == "please"
    contact = await _contact(shop, "templated")
    await _topic(shop, "club", double_opt_in=True)
    await ok(shop.client.put(f"/v1/contacts/{contact}/topics/club"))
    [message] = _confirmations(shop, contact)
    assert message["template_id"] == ids.template_id(tenant=shop.id, key="please")
    assert await ok(shop.client.patch("/v1/settings", json={})) == changed
    changed = await ok(shop.client.patch("/v1/settings", json={"double_opt_in_template": None}))
    assert changed["double_opt_in_template"] is None


async def test_a_template_that_cannot_ask_is_refused(shop: Shop) -> None:
    unknown = {"double_opt_in_template": "nowhere"}
    await problem(shop.client.patch("/v1/settings", json=unknown), 422, "template_not_found")
    document = await problem(
        shop.client.patch("/v1/settings", json={"double_opt_in_template": "receipt"}), 422, "validation_failed"
    )
    assert "data.confirm_url" in document["detail"]


async def test_a_template_with_links_is_taken_and_previewed_with_placeholders(shop: Shop) -> None:
    text = "Leave: {{ unsubscribe_url }} Choose: {{ preferences_url }}"
    content = {"channel": "email", "default_locale": "en", "locales": {"en": {"subject": "Hello", "text": text}}}
    await ok(shop.client.put("/v1/templates/with-links", json=content))
    shown = await ok(shop.client.post("/v1/templates/with-links/preview", json={}))
    assert shown["text"] == "Leave: http://127.0.0.1:8000/u/preview Choose: http://127.0.0.1:8000/p/preview"


def _rendered(payload: dict[str, Any]) -> RenderedContent:
    """What the send path would make of a message's own content."""
    context = template_context(
        contact={}, data=payload["data"], tenant={"name": "A tenant"}, message={}, now=datetime.now(UTC)
    )
    template = one_locale(EmailContent.model_validate(payload["content"]))
    return render(compile_template(template), None, context)
