from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import psycopg
import pytest

from tests.api.running import Api, Tenant, ok, problem, running
from tests.services import Database
from waypost.store.imports import forget_import_keys, forget_imports

HEADER = "external_id,email,phone,time_zone,locale,consent.email,consent.sms,first_name,plan\n"


def people(count: int, *, first: int = 0) -> str:
    return "".join(
        f"c-{number},Person{number}@Example.com,+43664{number:07},Europe/Vienna,de_at,yes,no,Ann {number},gold\n"
        for number in range(first, first + count)
    )


def asked(data: bytes, **options: Any) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "file_name": "people.csv", **options}


async def post(tenant: Tenant, text: str | bytes, *, body: bytes | None = None, **options: Any) -> Any:
    data = text.encode() if isinstance(text, str) else text
    content = data if body is None else body
    return await tenant.client.post("/v1/imports", params=asked(data, **options), content=content)


async def errors(tenant: Tenant, shown: dict[str, Any]) -> list[str]:
    answer = await tenant.client.get(f"/v1/imports/{shown['id']}/errors")
    assert answer.headers["content-type"].startswith("text/csv")
    return answer.text.splitlines()


def counts(shown: dict[str, Any]) -> dict[str, int]:
    found = {name: shown[f"rows_{name}"] for name in ("created", "updated", "repeated", "refused", "blank")}
    assert sum(found.values()) == shown["rows_read"]
    return {name: count for name, count in found.items() if count}


async def test_a_file_becomes_contacts_and_says_how_many(api: Api) -> None:
    tenant = await api.tenant()
    shown = await ok(post(tenant, HEADER + people(3)))
    assert (shown["state"], counts(shown)) == ("completed", {"created": 3})
    assert shown["byte_offset"] == shown["total_bytes"]
    contact = await ok(tenant.client.get("/v1/contacts/c-1"))
    assert (contact["email"], contact["phone"]) == ("Person1@example.com", "+436640000001")
    assert (contact["time_zone"], contact["locale"]) == ("Europe/Vienna", "de-AT")
    assert contact["consent"] == {"email": True, "sms": False}
    assert contact["attributes"] == {"first_name": "Ann 1", "plan": "gold"}
    assert await ok(tenant.client.get(f"/v1/imports/{shown['id']}")) == shown
    assert (await ok(tenant.client.get("/v1/imports")))["data"] == [shown]


async def test_the_same_file_again_is_the_same_import_and_with_other_options_another(api: Api) -> None:
    tenant = await api.tenant()
    text = HEADER + people(2)
    first = await ok(post(tenant, text))
    assert await ok(post(tenant, text)) | {"updated_at": ""} == first | {"updated_at": ""}
    again = await ok(post(tenant, text, label="again"))
    assert again["id"] != first["id"]
    assert counts(again) == {"updated": 2}


async def test_what_a_file_says_nothing_of_stays_and_the_last_of_repeated_rows_wins(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/contacts/old", json={"phone": "+436641", "consent": {"sms": False}}))
    text = "external_id,email,plan,city,consent.email\nold,a@example.com,gold,Wien,\nnew,n@example.com,,,\n"
    text += "old,,silver,,true\n\n"
    shown = await ok(post(tenant, text))
    assert counts(shown) == {"created": 1, "updated": 1, "repeated": 1, "blank": 1}
    old = await ok(tenant.client.get("/v1/contacts/old"))
    assert (old["email"], old["phone"]) == ("a@example.com", "+436641")
    assert old["attributes"] == {"plan": "silver", "city": "Wien"}
    assert old["consent"] == {"sms": False, "email": True}


async def test_rows_that_are_wrong_are_refused_with_their_number_and_keep_no_other_out(api: Api) -> None:
    tenant = await api.tenant()
    text = (
        HEADER.encode()
        + people(1).encode()
        + b"bad id,no-address,12,Mars/Olympus,!,maybe,,x,\n"
        + b'c-8,"a""b@example.com,,,,,,,\n'
        + b"c-9,nine@example.com,,,,,,\xff\xfe,\n"
        + b"too,few\n"
        + people(1, first=5).encode()
    )
    shown = await ok(post(tenant, text))
    assert counts(shown)["refused"] >= 3
    found = await errors(tenant, shown)
    assert found[0] == "row,field,message"
    assert found[1].startswith('3,"email, phone, time_zone, locale, external_id, consent.email",')
    assert "no-address" not in "".join(found)


async def test_wherever_an_upload_ends_the_next_one_goes_on_and_nothing_differs(database: Database) -> None:
    text = (HEADER + people(40) + 'q,q@example.com,,,,,,"a\nb",\n' + people(30, first=20)).encode()
    async with running(database) as api:
        clean, broken = await api.tenant(), await api.tenant()
        whole = await ok(post(clean, text))
        offset = 0
        for end in (10, 150, 151, 1_000, 2_222, 3_333, len(text)):
            shown = await ok(post(broken, text, body=text[offset:end], offset=offset))
            assert shown["byte_offset"] <= end
            offset = shown["byte_offset"]
        assert shown["state"] == "completed"
        assert counts(shown) == counts(whole) == {"created": 51, "repeated": 20}
    with psycopg.connect(database.owner_url) as connection:
        query = (
            "SELECT external_id, email, phone, time_zone, locale, attributes, consent FROM contacts"
            " WHERE tenant_id = %s ORDER BY 1"
        )
        tables = [connection.execute(query, (tenant.id,)).fetchall() for tenant in (clean, broken)]
        assert len(tables[0]) == 51
        assert tables[0] == tables[1]


async def test_who_sends_the_whole_file_again_is_passed_over_to_where_it_stands(api: Api) -> None:
    tenant = await api.tenant()
    text = (HEADER + people(30)).encode()
    begun = await ok(post(tenant, text, body=text[:1_000]))
    assert (begun["state"], begun["rows_read"] > 0) == ("running", True)
    assert (await ok(post(tenant, text, body=b"")))["byte_offset"] == begun["byte_offset"]
    shown = await ok(post(tenant, text))
    assert (shown["state"], counts(shown)) == ("completed", {"created": 30})


async def test_an_upload_that_leaves_a_gap_is_told_where_to_begin(api: Api) -> None:
    tenant = await api.tenant()
    text = (HEADER + people(3)).encode()
    document = await problem(post(tenant, text, body=text[50:], offset=50), 409, "import_offset")
    assert document["errors"][0]["bound"] == 0
    await problem(post(tenant, text, body=text + b"x"), 422, "validation_failed")


async def test_a_dry_run_counts_and_changes_nothing(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/contacts/c-1", json={}))
    shown = await ok(post(tenant, HEADER + people(3) + people(1) + "bad,x\n", dry_run=True))
    assert counts(shown) == {"created": 2, "updated": 1, "repeated": 1, "refused": 1}
    assert len((await ok(tenant.client.get("/v1/contacts")))["data"]) == 1
    real = await ok(post(tenant, HEADER + people(3) + people(1) + "bad,x\n"))
    assert counts(real) == counts(shown)


async def test_columns_are_mapped_typed_and_left_out(api: Api) -> None:
    tenant = await api.tenant()
    text = "E-Mail;Alter;VIP;PLZ;Notiz\nAnn@Example.com;42;ja;01234;x\nBob@example.com;?;yes;7;x\n"
    mapping = ["E-Mail=email", "Alter=attributes.age:number", "VIP=attributes.vip", "Notiz=-"]
    shown = await ok(post(tenant, text, map=mapping, id="email", types=True))
    assert counts(shown) == {"created": 1, "refused": 1}
    ann = await ok(tenant.client.get("/v1/contacts/ann@example.com"))
    assert ann["email"] == "Ann@example.com"
    assert ann["attributes"] == {"age": 42, "vip": "ja", "PLZ": "01234"}
    assert (await errors(tenant, shown))[1].startswith("3,attributes.age,")


async def test_a_file_that_cannot_be_taken_says_why_and_can_be_tried_again(api: Api) -> None:
    tenant = await api.tenant()
    for text in ("", "name\nx\n", "external_id,external_id\n", "\ufeff", "external_id\n".encode("utf-16")):
        document = await problem(post(tenant, text), 422, "invalid_import_file")
        assert document["errors"]
    await problem(post(tenant, "external_id\nx\n", map=["y=email"]), 422, "invalid_import_file")
    await problem(post(tenant, "external_id\nx\n", map=["email"]), 422, "validation_failed")
    failed = (await ok(tenant.client.get("/v1/imports")))["data"][0]
    assert failed["state"] == "failed"
    assert failed["problem"]
    assert counts(await ok(post(tenant, "\ufeffexternal_id\r\nx\r\n"))) == {"created": 1}


async def test_attributes_never_grow_over_their_bound(api: Api) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.put("/v1/contacts/full", json={"attributes": {"a": "x" * 32_000}}))
    text = f"external_id,b\nfull,{'y' * 2_000}\nother,{'z' * 33_000}\nfine,1\n"
    shown = await ok(post(tenant, text))
    assert counts(shown) == {"created": 1, "refused": 2}
    assert [line.partition(",")[0] for line in await errors(tenant, shown)] == ["row", "2", "3"]


async def test_members_join_a_list_that_is_there(api: Api, module_database: Database) -> None:
    tenant = await api.tenant()
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute(
            "INSERT INTO lists (tenant_id, id, key, name) VALUES (%s, gen_random_uuid(), 'vip', 'VIP')", (tenant.id,)
        )
    await problem(post(tenant, HEADER + people(1), list="none"), 404, "not_found")
    assert counts(await ok(post(tenant, HEADER + people(2), list="vip", dry_run=True))) == {"created": 2}
    await ok(post(tenant, HEADER + people(2), list="vip"))
    with psycopg.connect(module_database.owner_url) as connection:
        query = "SELECT count(*) FROM list_members WHERE tenant_id = %s"
        assert connection.execute(query, (tenant.id,)).fetchone() == (2,)
    limited = await api.key(tenant.id, scopes=("contacts:write",))
    await problem(post(limited, HEADER + people(2), list="vip"), 403, "missing_scope")


async def test_a_file_over_the_bound_is_refused_and_one_over_other_bodies_bound_is_not(database: Database) -> None:
    async with running(database, max_body_bytes=1_024, max_import_bytes=4_096) as api:
        tenant = await api.tenant()
        assert counts(await ok(post(tenant, HEADER + people(20)))) == {"created": 20}
        await problem(post(tenant, HEADER + people(200)), 413, "body_too_large")
        await problem(post(tenant, HEADER, body=b"x" * 5_000), 413, "body_too_large")


async def test_two_uploads_of_one_import_at_once_put_each_row_in_once(api: Api) -> None:
    tenant = await api.tenant()
    text = HEADER + people(9_000)
    answers = await asyncio.gather(*(post(tenant, text) for _ in range(3)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    shown = await ok(post(tenant, text))
    assert (shown["state"], counts(shown)) == ("completed", {"created": 9_000})


async def test_more_uploads_than_a_process_takes_in_are_told_to_wait(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.import_intake.AT_ONCE", 0)
    tenant = await api.tenant()
    await problem(post(tenant, HEADER + people(1)), 429, "imports_full")


async def test_what_is_kept_of_an_import_that_is_over_is_forgotten_in_its_time(database: Database) -> None:
    async with running(database) as api:
        tenant = await api.tenant()
        text = HEADER + people(3) + "bad,x\n"
        await ok(post(tenant, text))
        part = (HEADER + people(30)).encode()
        await ok(post(tenant, part, body=part[:500]))
        async with api.app.state.services.relay_db.transaction() as connection:
            assert await forget_import_keys(connection, limit=500) == 3
            assert await forget_imports(connection, days=0, limit=500) == 0
            assert await forget_imports(connection, days=1, limit=500) == 0
        with psycopg.connect(database.owner_url) as owner:
            owner.execute("UPDATE imports SET updated_at = updated_at - interval '9 days'")
        async with api.app.state.services.relay_db.transaction() as connection:
            assert await forget_import_keys(connection, limit=500) > 0
            assert await forget_imports(connection, days=8, limit=500) == 2
        with psycopg.connect(database.owner_url) as owner:
            assert owner.execute("SELECT count(*) FROM import_errors").fetchone() == (0,)
