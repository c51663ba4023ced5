from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from tests.api.message_fixtures import Shop, open_shop, receipt
from tests.api.running import Api, ok, problem
from tests.services import Database
from waypost.messaging.payload import MessagePayload

CODE = {"channel": "email", "subject": "Your code", "text": "It is {{ data.code }}."}
TEXT = {"channel": "sms", "body": "Code: {{ data.code }}"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(api: Api, module_database: Database) -> AsyncIterator[Shop]:
    yield await open_shop(api, module_database)


async def test_an_accepted_message_is_a_row_that_is_due_now(shop: Shop) -> None:
    answer = await shop.send(receipt(tags=["shop"], metadata={"order": 7}))
    assert answer.status_code == 202
    body = answer.json()
    assert body["status"] == "accepted"
    assert body["fallback_id"] is None
    assert body["links"]["self"].endswith(f"/v1/messages/{body['id']}")
    assert body["links"]["execution"].endswith(f"/namespaces/default/workflows/message%2F{body['id']}")
    row = shop.message(body["id"])
    assert row["phase"] == "ready"
    assert row["lane"] == "fast"
    assert row["due_at"] == row["created_at"]
    assert row["expires_at"] - row["due_at"] == timedelta(days=3)
    assert (row["address"], row["channel"], row["mode"]) == ("ann@reader.test", "email", "test")
    assert (row["template_version"], row["tags"], row["metadata"]) == (1, ["shop"], {"order": 7})
    assert MessagePayload.model_validate(row["payload"]).data == {"order": "A-1"}


async def test_without_a_key_the_same_body_is_two_messages(shop: Shop) -> None:
    one, two = await shop.sent(), await shop.sent()
    assert one["id"] != two["id"]


async def test_the_same_key_and_body_get_the_same_answer_whatever_its_spelling(shop: Shop) -> None:
    first = await shop.send(key="spelling")
    spelled = b'{"data": {"order":"A-1"},\n "template":{"key":"receipt"}, "to":{"contact":"ann"}}'
    headers = {"Idempotency-Key": "spelling", "Content-Type": "application/json"}
    again = await shop.client.post("/v1/messages", content=spelled, headers=headers)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"


async def test_the_same_key_with_another_body_is_a_conflict(shop: Shop) -> None:
    await shop.sent(key="conflict")
    await problem(shop.send(receipt(data={"order": "A-2"}), key="conflict"), 409, "idempotency_key_reused")


async def test_twenty_at_once_with_one_key_are_one_message(shop: Shop) -> None:
    before = shop.count()
    answers = await asyncio.gather(*(shop.send(key="race") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replay" not in answer.headers for answer in answers) == 1
    assert shop.count() == before + 1


async def test_a_key_is_free_again_after_its_retention_and_makes_another_message(shop: Shop) -> None:
    first = await shop.sent(key="old")
    expire = "UPDATE requests SET expires_at = waypost_now() - interval '1 s' WHERE tenant_id = %s"
    shop.rows(expire, shop.id)
    second = await shop.sent(receipt(data={"order": "A-2"}), key="old")
    assert second["id"] != first["id"]
    shop.rows(expire, shop.id)
    answers = await asyncio.gather(*(shop.sent(key="old") for _ in range(5)))
    assert len({answer["id"] for answer in answers} | {first["id"], second["id"]}) == 3


async def test_a_key_whose_request_was_swept_away_makes_another_message(shop: Shop) -> None:
    first = await shop.sent(key="swept")
    shop.rows("DELETE FROM requests WHERE tenant_id = %s AND idempotency_key = 'swept'", shop.id)
    second = await shop.send(key="swept")
    assert second.json()["id"] != first["id"]
    assert (await shop.send(key="swept")).content == second.content


async def test_a_repeated_request_is_answered_as_before_whatever_stands_against_it_today(
    api: Api, module_database: Database
) -> None:
    shop = await open_shop(api, module_database)
    first = await shop.send(key="kept")
    shop.rows("DELETE FROM contacts WHERE tenant_id = %s", shop.id)
    shop.template("receipt", {**TEXT_TEMPLATE, "channel": "sms"})
    again = await shop.send(key="kept")
    assert again.content == first.content
    await problem(shop.send(receipt(template=None, content=CODE, data={"code": 1})), 422, "contact_not_found")


TEXT_TEMPLATE: dict[str, Any] = {
    "channel": "sms",
    "default_locale": "en",
    "locales": {"en": {"channel": "sms", "body": "{{ data.other }}"}},
}


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\tb"])
async def test_a_malformed_key_is_refused(shop: Shop, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    document = await problem(
        shop.client.post("/v1/messages", json=receipt(), headers=headers), 422, "validation_failed"
    )
    assert document["errors"][0]["field"] == "header.Idempotency-Key"


async def test_keys_of_two_tenants_do_not_meet(api: Api, shop: Shop, module_database: Database) -> None:
    other = await open_shop(api, module_database)
    assert (await shop.sent(key="shared"))["id"] != (await other.sent(receipt(data={"order": 2}), key="shared"))["id"]


async def test_a_closing_tenant_is_refused_and_stores_nothing(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    await shop.sent()
    shop.rows("UPDATE tenants SET state = 'closing' WHERE id = %s", shop.id)
    await problem(shop.send(), 403, "tenant_closed")
    assert shop.count() == 1


async def test_no_message_is_stored_after_the_closing_commit(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    await shop.sent()
    with psycopg.connect(module_database.owner_url) as closer:
        closer.execute("SELECT FROM tenants WHERE id = %s FOR UPDATE", (shop.id,))
        waiting = asyncio.create_task(shop.send())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        closer.execute("UPDATE tenants SET state = 'closing' WHERE id = %s", (shop.id,))
        closer.commit()
    await problem(waiting, 403, "tenant_closed")
    assert shop.count() == 1


async def test_a_suspended_tenant_is_accepted_and_held(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    shop.rows("UPDATE tenants SET state = 'suspended' WHERE id = %s", shop.id)
    assert shop.message((await shop.sent())["id"])["phase"] == "ready"


async def test_the_backlog_is_bounded_and_says_when_to_come_again(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    shop.rows("UPDATE tenants SET backlog_bound = 3 WHERE id = %s", shop.id)
    for number in range(3):
        await shop.sent(key=f"k{number}")
    answer = await shop.send(key="k3")
    document = await problem(_now(answer), 429, "backlog_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert document["errors"][0]["bound"] == 3
    assert (await shop.send(key="k1")).headers["idempotent-replay"] == "true"
    assert shop.count() == 3


async def _now(answer: Any) -> Any:
    return answer


async def test_the_dispatcher_is_told_at_once(shop: Shop, module_database: Database) -> None:
    with psycopg.connect(module_database.owner_url, autocommit=True) as connection:
        connection.execute("LISTEN waypost_ready_fast")
        await shop.sent()
        told = await asyncio.to_thread(lambda: list(connection.notifies(timeout=2, stop_after=1)))
        assert len(told) == 1


def _in(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


async def test_expiry_counts_from_send_at(shop: Shop) -> None:
    at = _in(days=2)
    row = shop.message((await shop.sent(receipt(send_at=at, expires_in="PT1H")))["id"])
    assert row["due_at"] == row["send_at"]
    assert row["expires_at"] - row["send_at"] == timedelta(hours=1)


async def test_a_login_code_lives_ten_minutes(shop: Shop) -> None:
    body = receipt(**{"class": "login_code"})
    row = shop.message((await shop.sent(body))["id"])
    assert row["class"] == "login_code"
    assert row["expires_at"] - row["created_at"] == timedelta(minutes=10)


async def test_a_fallback_is_a_second_row_that_waits(shop: Shop) -> None:
    answer = await shop.sent(
        receipt(
            template=None,
            content=CODE,
            data={"code": "123"},
            headers={"X-Shop": "1"},
            fallback={"channel": "sms", "after": "PT5M", "content": {"body": TEXT["body"]}},
        )
    )
    primary, fallback = shop.message(answer["id"]), shop.message(answer["fallback_id"])
    assert primary["fallback_after"] == timedelta(minutes=5)
    assert (fallback["phase"], fallback["due_at"], fallback["part"]) == ("waiting", None, "fallback")
    assert (fallback["primary_id"], fallback["source_id"]) == (primary["id"], primary["source_id"])
    assert (fallback["address"], fallback["fallback_after"]) == ("+436641234567", None)
    assert fallback["payload"] == {"content": {"channel": "sms", "body": TEXT["body"]}, "data": {"code": "123"}}
    assert primary["payload"]["headers"] == [["X-Shop", "1"]]


async def test_a_bare_address_needs_one_for_each_channel(shop: Shop) -> None:
    fallback = {"channel": "sms", "after": 60, "content": {"body": "Hi"}}
    body = receipt(to={"email": "Bob@Reader.TEST"}, fallback=fallback)
    await problem(shop.send(body), 422, "address_missing")
    answer = await shop.sent({**body, "to": {"email": "Bob@Reader.TEST", "phone": "+43 664 1234568"}})
    assert shop.message(answer["id"])["address"] == "Bob@reader.test"
    assert shop.message(answer["fallback_id"])["address"] == "+436641234568"


async def test_a_channel_may_be_left_out_where_the_address_tells_it(shop: Shop) -> None:
    body = {"to": {"phone": "+436641234567"}, "content": {"body": "Hi"}}
    assert shop.message((await shop.sent(body))["id"])["channel"] == "sms"


async def test_an_attachment_is_kept_for_an_email_alone(shop: Shop) -> None:
    files = [{"filename": "a.txt", "media_type": "text/plain", "content": "aGk="}]
    row = shop.message((await shop.sent(receipt(attachments=files, reply_to="help@shop.test")))["id"])
    payload = MessagePayload.model_validate(row["payload"])
    assert (payload.attachments[0].data, payload.reply_to) == (b"hi", ("help@shop.test",))
    body = receipt(template=None, content=TEXT, data={"code": 1}, attachments=files)
    await problem(shop.send(body), 422, "email_only")


async def test_a_message_keeps_the_version_it_was_accepted_with(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    assert shop.message((await shop.sent())["id"])["template_version"] == 1
    changed = {"default_locale": "en", "channel": "email", "locales": {"en": {**CODE}}}
    shop.template("receipt", changed)
    document = await problem(shop.send(), 422, "missing_variable")
    assert (document["errors"][0]["field"], document["errors"][0]["variable"]) == ("data.code", "data.code")
    assert shop.message((await shop.sent(receipt(data={"code": 1})))["id"])["template_version"] == 2
    pinned = await shop.sent(receipt(template={"key": "receipt", "version": 1}))
    assert shop.message(pinned["id"])["template_version"] == 1


async def test_only_variables_that_rendering_would_miss_are_refused(shop: Shop) -> None:
    source = (
        "{% if data.coupon %}{{ data.coupon.code }}{% endif %}{% if contact.vip %}{{ data.gift }}{% endif %}"
        "{{ data.name | default: 'you' }}"
    )
    content = {"channel": "email", "subject": "Hi", "text": "Hi " + source}
    await shop.sent(receipt(template=None, content=content, data={}))
    document = await problem(
        shop.send(receipt(template=None, content=content, data={"coupon": {"x": 1}})), 422, "missing_variable"
    )
    assert document["errors"][0]["variable"] == "data.coupon.code"


async def test_what_hangs_on_the_contact_hides_no_missing_variable(shop: Shop) -> None:
    content = {
        "channel": "email",
        "subject": "Hi",
        "text": "{{ contact.attributes.plan }} {{ tenant.name }} {{ data.x }}",
    }
    await problem(shop.send(receipt(template=None, content=content)), 422, "missing_variable")
    await shop.sent(receipt(template=None, content=content, data={"x": None}))


async def test_a_syntax_error_names_its_line(shop: Shop) -> None:
    content = {"channel": "email", "subject": "Hi", "text": "one\n{{ data.x | nosuch }}"}
    document = await problem(shop.send(receipt(template=None, content=content)), 422, "template_syntax")
    assert (document["errors"][0]["field"], document["errors"][0]["line"]) == ("content.text", 2)
    fallback = {"channel": "sms", "after": 60, "content": {"body": "{{ oops }}"}}
    document = await problem(shop.send(receipt(fallback=fallback)), 422, "template_syntax")
    assert (document["errors"][0]["field"], document["errors"][0]["variable"]) == ("fallback.content.body", "oops")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (receipt(to={"contact": "nobody"}), "contact_not_found", "to.contact"),
    (receipt(template={"key": "nosuch"}), "template_not_found", "template.key"),
    (receipt(template={"key": "receipt", "version": 9}), "template_version_not_found", "template.version"),
    (receipt(sender="nosuch"), "sender_not_found", "sender"),
    (receipt(sender="text"), "sender_channel_mismatch", "sender"),
    (receipt(channel="sms"), "channel_mismatch", "channel"),
    (receipt(data={}), "missing_variable", "data.order"),
    (receipt(to={"email": "a@b.test"}, template=None, content=TEXT, data={"code": 1}), "address_missing", "to"),
    (receipt(template=None, content={"channel": "whatsapp", "body": "Hi"}), "no_test_account", "sender"),
    (
        receipt(fallback={"channel": "whatsapp", "after": 60, "content": {"body": "Hi"}}),
        "no_test_account",
        "fallback.sender",
    ),
    (
        receipt(fallback={"channel": "sms", "after": 60, "template": {"key": "nosuch"}}),
        "template_not_found",
        "fallback.template.key",
    ),
    (receipt(send_at="2999-01-01T00:00:00Z"), "send_at_too_far", "send_at"),
]


@pytest.mark.parametrize(("body", "code", "field"), REFUSED, ids=[f"{code}-{field}" for _, code, field in REFUSED])
async def test_what_the_tenant_lacks_is_named(shop: Shop, body: dict[str, Any], code: str, field: str) -> None:
    before = shop.count()
    document = await problem(shop.send(body), 422, code)
    assert document["errors"][0]["field"] == field
    assert shop.count() == before


INVALID: list[tuple[Any, str]] = [
    ([], "body"),
    ({}, "to"),
    (receipt(colour="red"), "colour"),
    (receipt(to={}), "to"),
    (receipt(to={"contact": "ann", "email": "a@b.test"}), "to"),
    (receipt(to={"contact": "a\nb"}), "to.contact"),
    (receipt(to={"email": "not an address"}), "to.email"),
    (receipt(to={"phone": "12"}), "to.phone"),
    (receipt(template=None), "body"),
    (receipt(content=CODE), "body"),
    (receipt(template={"key": "receipt", "version": 0}), "template.version"),
    (receipt(template={"key": "receipt", "version": True}), "template.version"),
    (receipt(template={"key": "Receipt!"}), "template.key"),
    (
        receipt(template=None, content={"channel": "email", "subject": "a\r\nBcc: x", "text": "x"}),
        "content.subject",
    ),
    (receipt(channel="pigeon"), "channel"),
    (receipt(**{"class": "marketing"}), "class"),
    (receipt(data="x"), "data"),
    (receipt(data={"x": "y" * 70_000}), "data"),
    (receipt(metadata={"x": {"y": 1}}), "metadata"),
    (receipt(metadata={"x": "y" * 5_000}), "metadata"),
    (receipt(tags=["ö"]), "tags"),
    (receipt(tags=[f"t{n}" for n in range(21)]), "tags"),
    (receipt(headers={"Bcc": "x@y.test"}), "headers"),
    (receipt(headers={"X-A": "b\r\nBcc: x@y.test"}), "headers"),
    (receipt(reply_to="nope"), "reply_to.0"),
    (receipt(locale="not a locale"), "locale"),
    (receipt(unknown_policy="resend"), "unknown_policy"),
    (receipt(send_at="2026-12-24T18:00:00"), "send_at"),
    (receipt(send_at=1), "send_at"),
    (receipt(expires_in="PT30S"), "expires_in"),
    (receipt(expires_in="P31D"), "expires_in"),
    (receipt(expires_in="1:30"), "expires_in"),
    (receipt(expires_in=True), "expires_in"),
    (receipt(attachments=[{"filename": "a.exe", "content": "aGk="}]), "attachments"),
    (receipt(attachments=[{"filename": "a.txt", "content": "%"}]), "attachments"),
    (receipt(fallback={"after": 60, "content": {"channel": "sms", "body": "x"}}), "fallback.channel"),
    (receipt(fallback={"channel": "sms", "after": 0.1, "content": {"body": "x"}}), "fallback.after"),
    (receipt(fallback={"channel": "sms", "after": "P4D", "content": {"body": "x"}}), "body"),
    (
        receipt(fallback={"channel": "sms", "after": 60, "unless": "opened", "content": {"body": "x"}}),
        "fallback.unless",
    ),
]


@pytest.mark.parametrize(("body", "field"), INVALID, ids=[f"{n}-{field}" for n, (_, field) in enumerate(INVALID)])
async def test_a_malformed_body_is_refused_with_its_field(shop: Shop, body: Any, field: str) -> None:
    answer = await shop.client.post("/v1/messages", json=body)
    document = await problem(_now(answer), 422, "validation_failed")
    assert field in [error["field"] for error in document["errors"]], document
    assert "not an address" not in answer.text


@pytest.mark.parametrize("raw", [b"", b"{", b'{"to": NaN}', b'{"data": {"x": "\\ud800"}}', b"\xff"])
async def test_what_is_not_json_is_refused(shop: Shop, raw: bytes) -> None:
    answer = await shop.client.post("/v1/messages", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_live_request_is_never_answered_with_a_test_message(api: Api, shop: Shop) -> None:
    await shop.sent(receipt(), key="order-1")
    live = await api.key(shop.id, mode="live")
    answer = live.client.post("/v1/messages", json=receipt(), headers={"Idempotency-Key": "order-1"})
    await problem(answer, 409, "idempotency_key_reused")


async def test_a_live_key_uses_no_test_sender(api: Api, shop: Shop) -> None:
    live = await api.key(shop.id, mode="live")
    await problem(live.client.post("/v1/messages", json=receipt()), 422, "no_sender")
    await problem(live.client.post("/v1/messages", json=receipt(sender="mail")), 422, "sender_mode_mismatch")


async def test_a_key_without_the_scope_may_not_send(api: Api, shop: Shop) -> None:
    reader = await api.key(shop.id, scopes=("messages:read",))
    await problem(reader.client.post("/v1/messages", json=receipt()), 403, "missing_scope")
    await ok(reader.client.get("/v1/messages"))
