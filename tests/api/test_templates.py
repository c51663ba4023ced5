from __future__ import annotations

import asyncio
from typing import Any

from tests.api.running import Api, ok, problem

SMS = {
    "channel": "sms",
    "default_locale": "en",
    "locales": {"en": {"body": "Hi {{ contact.first_name }}, order {{ data.order }} is on its way"}},
}
EMAIL = {
    "channel": "email",
    "default_locale": "en",
    "locales": {
        "en": {"subject": "Receipt {{ data.number }}", "html": "<p>Thank you, {{ contact.first_name }}</p>"},
        "de": {"subject": "Rechnung {{ data.number }}", "html": "<p>Danke, {{ contact.first_name }}</p>"},
    },
}


def sms(body: str) -> dict[str, Any]:
    return {**SMS, "locales": {"en": {"body": body}}}


async def test_new_content_makes_a_new_version_and_the_same_content_none(api: Api) -> None:
    tenant = await api.tenant()
    first = await ok(tenant.client.put("/v1/templates/order", json=SMS))
    assert (first["version"], first["current_version"]) == (1, 1)
    assert first["variables"] == ["contact.first_name", "data.order"]
    assert (await ok(tenant.client.put("/v1/templates/order", json=SMS)))["version"] == 1
    assert (await ok(tenant.client.put("/v1/templates/order", json=sms("Shipped"))))["version"] == 2
    assert (await ok(tenant.client.put("/v1/templates/order", json=SMS)))["version"] == 3
    old = await ok(tenant.client.get("/v1/templates/order", params={"version": 2}))
    assert old["content"]["locales"]["en"]["body"] == "Shipped"
    assert (await ok(tenant.client.get("/v1/templates/order")))["version"] == 3
    await problem(tenant.client.get("/v1/templates/order", params={"version": 4}), 404, "not_found")
    page = await ok(tenant.client.get("/v1/templates/order/versions", params={"limit": 2}))
    rest = await ok(tenant.client.get("/v1/templates/order/versions", params={"cursor": page["next_cursor"]}))
    assert [row["version"] for row in page["data"] + rest["data"]] == [1, 2, 3]
    [listed] = (await ok(tenant.client.get("/v1/templates")))["data"]
    assert (listed["key"], listed["channel"], listed["current_version"]) == ("order", "sms", 3)


async def test_writers_of_one_template_take_turns(api: Api) -> None:
    tenant = await api.tenant()
    answers = await asyncio.gather(
        *(ok(tenant.client.put("/v1/templates/busy", json=sms(f"Text {n}"))) for n in range(6))
    )
    assert sorted(answer["version"] for answer in answers) == [1, 2, 3, 4, 5, 6]


async def test_the_channel_of_a_template_never_changes(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/templates/t", json=SMS))
    await problem(tenant.client.put("/v1/templates/t", json=EMAIL), 409, "template_channel")


async def test_a_syntax_error_names_field_and_line(api: Api) -> None:
    tenant = await api.tenant()
    answer = tenant.client.put("/v1/templates/t", json=sms("one\ntwo {% if data.x %}\nthree"))
    document = await problem(answer, 422, "template_syntax")
    assert document["errors"][0]["field"] == "locales.en.body"
    assert document["errors"][0]["line"] in (2, 3)
    await problem(tenant.client.get("/v1/templates/t"), 404, "not_found")


async def test_content_must_fit_its_channel(api: Api) -> None:
    tenant = await api.tenant()
    bodies: list[Any] = [
        {**SMS, "locales": {"en": {"subject": "x", "html": "y"}}},
        {**SMS, "locales": {}},
        {**SMS, "default_locale": "fr"},
        {**SMS, "channel": "fax"},
        {**EMAIL, "locales": {"en": {"subject": "a\r\nBcc: x@example.com", "text": "x"}}},
        {},
        [],
        None,
    ]
    for body in bodies:
        await problem(tenant.client.put("/v1/templates/t", json=body), 422, "validation_failed")


async def test_a_preview_renders_for_a_contact_in_its_language(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/templates/receipt", json=EMAIL))
    contact = {"locale": "de-AT", "time_zone": "Europe/Vienna", "attributes": {"first_name": "<Ann>"}}
    await ok(tenant.client.put("/v1/contacts/ann", json=contact))
    asked = {"contact": "ann", "data": {"number": 7}}
    shown = await ok(tenant.client.post("/v1/templates/receipt/preview", json=asked))
    assert (shown["locale"], shown["subject"], shown["version"]) == ("de", "Rechnung 7", 1)
    assert "Danke, &lt;Ann&gt;" in shown["html"]
    assert "Danke, <Ann>" in shown["text"]
    assert "text_derived" in {warning["code"] for warning in shown["warnings"]}
    english = await ok(tenant.client.post("/v1/templates/receipt/preview", json={**asked, "locale": "en"}))
    assert english["subject"] == "Receipt 7"


async def test_a_preview_counts_segments_and_names_what_is_missing(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/templates/t", json=sms("Hi – {{ data.name }}")))
    shown = await ok(tenant.client.post("/v1/templates/t/preview", json={"data": {"name": "Ann"}}))
    assert {warning["code"] for warning in shown["warnings"]} == {"sms_segments", "sms_ucs2"}
    document = await problem(tenant.client.post("/v1/templates/t/preview", json={}), 422, "undefined_variable")
    assert document["errors"][0]["variable"] == "data.name"
    await problem(tenant.client.post("/v1/templates/t/preview", json={"contact": "nobody"}), 404, "not_found")
