"""Malformed, over a bound, or while the database is away: always a problem document, and the service goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from time import monotonic

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.dependencies import Admin
from api.routes import guarded_router
from tests.api.running import ADMIN_KEY, Api, app_settings, ok, problem, running
from tests.services import Database

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"name": NaN}', b'{"name": "\\ud800"}', b"[" * 2000])
async def test_what_is_not_json_is_told_so(api: Api, body: bytes) -> None:
    response = await api.admin.post("/v1/tenants", content=body, headers=JSON)
    assert response.status_code in (400, 422)
    assert response.json()["code"] in ("invalid_json", "validation_failed")


async def test_another_content_type_is_told_what_to_send(api: Api) -> None:
    answer = api.admin.post("/v1/tenants", content=b'{"name": "x"}', headers={"Content-Type": "text/plain"})
    await problem(answer, 422, "validation_failed")


async def test_the_nul_character_is_refused_where_it_stands(api: Api) -> None:
    tenant = await api.tenant()
    document = await problem(
        tenant.client.put("/v1/contacts/c", json={"attributes": {"a": ["x", {"b": "\0"}]}}), 422, "validation_failed"
    )
    assert document["errors"][0]["field"] == "attributes.a.1.b"
    await problem(tenant.client.put("/v1/contacts/c", json={"attributes": {"\0": 1}}), 422, "validation_failed")
    fine = {"attributes": {"a": "\\u0000"}}
    assert (await ok(tenant.client.put("/v1/contacts/c", json=fine)))["attributes"] == fine["attributes"]


async def test_control_characters_and_line_breaks_are_refused_in_names(api: Api) -> None:
    for name in ("a\nb", "a\x07b", "a\u2028b", "", "x" * 201):
        await problem(api.admin.post("/v1/tenants", json={"name": name}), 422, "validation_failed")


async def test_unknown_fields_are_refused_by_name(api: Api) -> None:
    document = await problem(api.admin.post("/v1/tenants", json={"name": "x", "nmae": 1}), 422, "validation_failed")
    assert document["errors"][0]["field"] == "nmae"


async def test_numbers_out_of_range_are_refused(api: Api) -> None:
    for field, value in (("window_fast", 10**30), ("weight", 1e300), ("weight", 0), ("late_after", "P999999D")):
        await problem(api.admin.post("/v1/tenants", json={"name": "x", field: value}), 422, "validation_failed")


async def test_paths_and_methods_that_are_not_there(api: Api) -> None:
    await problem(api.admin.get("/v2/tenants"), 404, "not_found")
    await problem(api.admin.get("/v1/tenants/"), 404, "not_found")
    await problem(api.admin.delete("/v1/tenants"), 405, "method_not_allowed")


async def test_every_code_has_its_page(api: Api) -> None:
    page = await api.client(None).get("/errors/no_test_account")
    assert page.status_code == 200
    await problem(api.client(None).get("/errors/nonsense"), 404, "not_found")


async def test_a_body_over_the_bound_is_413_also_in_chunks(module_database: Database) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    async with running(module_database, max_body_bytes=2048) as api:
        whole = api.admin.post("/v1/tenants", content=b" " * 2049, headers=JSON)
        chunked = api.admin.post("/v1/tenants", content=chunks(), headers=JSON)
        for answer in (whole, chunked):
            document = await problem(answer, 413, "body_too_large")
            assert document["errors"][0]["bound"] == 2048
        await ok(api.admin.post("/v1/tenants", json={"name": "still here"}))


async def test_a_slow_upload_is_waited_for_and_a_hanging_request_is_ended(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.middleware.DEADLINE_S", 0.2)
    router = guarded_router("hanging")

    @router.get("/hanging")
    async def hanging(_: Admin) -> None:
        await asyncio.sleep(30)

    async def slowly() -> AsyncIterator[bytes]:
        for part in (b'{"name": ', b'"Slow"', b"}"):
            await asyncio.sleep(0.15)
            yield part

    async with running(module_database) as api:
        api.app.router.routes.extend(router.routes)
        await ok(api.admin.post("/v1/tenants", content=slowly(), headers=JSON))
        await problem(api.admin.get("/hanging"), 503, "deadline_passed")
        made_up = await api.admin.request("FROBNICATE", "/v1/tenants")
        assert made_up.status_code == 405
        assert "FROBNICATE" not in (await api.admin.get("/metrics")).text


async def test_an_unforeseen_fault_tells_nothing_of_its_inside(
    module_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    router = guarded_router("faults")

    @router.get("/fault")
    async def fault(_: Admin) -> None:
        raise RuntimeError("ann@example.com")

    async with running(module_database) as api:
        api.app.router.routes.extend(router.routes)
        document = await problem(api.admin.get("/fault"), 500, "internal")
        await ok(api.admin.get("/v1/tenants"))
    logged = capsys.readouterr().err
    assert "ann@example.com" not in str(document) + logged
    assert json.loads(logged.splitlines()[0])["error"] == "RuntimeError"


async def test_while_the_database_is_away_the_answer_is_503_within_a_second() -> None:
    nowhere = Database(name="none", owner_url="postgresql://x:x@127.0.0.1:9/none")
    async with running(nowhere) as api:
        for path in ("/v1/tenants", "/readyz"):
            started = monotonic()
            response = await api.admin.get(path)
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["code"] in ("database_away", "deadline_passed")
            assert monotonic() - started < 1
        assert (await api.admin.get("/healthz")).status_code == 200


async def test_connections_that_broke_are_replaced_without_a_restart(database: Database) -> None:
    async with running(database) as api:
        tenant = await api.tenant()
        await ok(tenant.client.get("/v1/contacts"))
        with psycopg.connect(database.owner_url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'waypost_%'"
                " AND datname = current_database()"
            )
        answers = [await tenant.client.get("/v1/contacts") for _ in range(12)]
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert answers[-1].status_code == 200


async def test_a_role_that_row_security_does_not_bind_is_refused_at_start(module_database: Database) -> None:
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute("ALTER ROLE waypost_app BYPASSRLS")
    try:
        app: FastAPI = create_app(app_settings(module_database))
        with pytest.raises(Exception, match="bypasses row security"):
            async with app.router.lifespan_context(app):
                pass
    finally:
        with psycopg.connect(module_database.owner_url) as connection:
            connection.execute("ALTER ROLE waypost_app NOBYPASSRLS")


async def test_health_metrics_and_the_document_need_no_key(api: Api) -> None:
    stranger: httpx.AsyncClient = api.client(None)
    assert (await stranger.get("/healthz")).text == "ok\n"
    assert (await stranger.get("/readyz")).text == "ready\n"
    await stranger.get("/v1/contacts/ann@example.com")
    metrics = (await stranger.get("/metrics")).text
    assert 'waypost_api_requests_total{method="GET",route="/v1/contacts/{external_id}",status="401"}' in metrics
    assert "python_info" in metrics, "the process's own figures too"
    assert "ann@" not in metrics
    assert (await stranger.get("/openapi.json")).json()["info"]["title"] == "Waypost"
    assert ADMIN_KEY not in metrics
