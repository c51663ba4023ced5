"""Every route of the API is guarded, and says which problems it may answer with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from api.app import create_app
from api.dependencies import NeedsAdmin, NeedsScope
from api.problems import KINDS, MEDIA_TYPE
from api.routes import GuardedRoute
from tests.api.running import app_settings
from tests.services import Database
from waypost.messaging.content_errors import ContentError
from waypost.messaging.errors import MessageRefusedError, MessagingError, Refusal
from waypost.messaging.link_tokens import LinkSigner

UNGUARDED = {"/healthz", "/readyz", "/metrics", "/errors/{code}", "/openapi.json"}
"""Frozen: what may be asked without a key."""

BY_TOKEN = {"/u/{token}", "/p/{token}", "/c/{token}"}
"""Frozen: pages for people, whose path holds a signed token. It is the key: whose page it is, it alone says."""

OPERATED = {
    "/v1/tenants",
    "/v1/provider-accounts",
    "/v1/alerts",
}
"""Paths that begin so are administration's."""


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(app_settings(Database(name="none", owner_url="postgresql://x:x@127.0.0.1:9/none")))


def test_every_route_asks_for_a_key_but_for_a_frozen_few(app: FastAPI) -> None:
    paths = {route.path for route in app.routes if isinstance(route, Route) and not isinstance(route, GuardedRoute)}
    assert paths == UNGUARDED | BY_TOKEN
    assert all(isinstance(route, Route) for route in app.routes), "mounts and included routers would not be seen here"


async def test_a_page_for_people_lets_nobody_in_without_a_good_token(app: FastAPI) -> None:
    """The database of this app is not there: whoever got further than the token would be told so by 503."""
    routes = [route for route in app.routes if isinstance(route, Route) and route.path in BY_TOKEN]
    asked = {(route.path, method) for route in routes for method in route.methods or ()}
    assert asked == {(path, method) for path in BY_TOKEN for method in ("GET", "HEAD", "POST")}
    forged = LinkSigner("not this app's secret, though as long").unsubscribe_token(tenant=uuid4(), contact=uuid4())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
        for path, method in sorted(asked):
            for token in ("x", forged):
                response = await client.request(method, path.format(token=token))
                assert response.status_code == 404, (method, path)
                assert "set-cookie" not in response.headers


def test_administration_takes_the_admin_key_and_tenants_routes_a_scope(app: FastAPI) -> None:
    for route in _guarded(app):
        operated = route.path.startswith(tuple(OPERATED))
        assert isinstance(route.guard, NeedsAdmin if operated else NeedsScope), route.path


def test_reading_takes_a_read_scope_and_changing_a_write_scope(app: FastAPI) -> None:
    for route in _guarded(app):
        if isinstance(route.guard, NeedsScope):
            reads = route.methods == {"GET"} or route.path.endswith("/preview")
            assert route.guard.scope.endswith(":read" if reads else ":write"), route.path


def test_every_route_documents_its_problems(app: FastAPI) -> None:
    for path, method, operation in _operations(app):
        if path in UNGUARDED:
            continue
        answers = set(operation["responses"])
        assert {"401", "422", "503"} <= answers, (method, path)
        assert not {"500", "default", "4XX"} & answers, (method, path)
        if "{" in path:
            assert "404" in answers, (method, path)
        if "requestBody" in operation:
            assert {"400", "413"} <= answers, (method, path)
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert set(answer["content"]) == {MEDIA_TYPE}, (method, path, status)


def test_every_route_has_a_sentence_about_itself(app: FastAPI) -> None:
    for path, method, operation in _operations(app):
        assert operation.get("description", "").strip().endswith("."), (method, path)


def test_every_string_and_list_of_a_request_has_a_bound(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for path, method, operation in _operations(app):
        for parameter in operation.get("parameters", []):
            _assert_bounded(parameter["schema"], schemas, f"{method} {path} {parameter['name']}")
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if body:
            _assert_bounded(body, schemas, f"{method} {path}")


def test_every_error_of_the_packages_below_has_its_kind() -> None:
    codes = {kind.code for root in (ContentError, MessagingError) for kind in _below(root)}
    codes -= {MessagingError.code, MessageRefusedError.code}
    assert codes | {refusal.value for refusal in Refusal} <= set(KINDS)
    assert all(kind.title and 400 <= kind.status < 600 for kind in KINDS.values())


def test_the_documentation_lists_every_code_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert listed == [(code, str(kind.status), kind.title) for code, kind in KINDS.items()]


def _assert_bounded(
    schema: dict[str, Any], schemas: dict[str, Any], where: str, seen: frozenset[str] = frozenset()
) -> None:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in seen:
            _assert_bounded(schemas[name], schemas, where, seen | {name})
        return
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        _assert_bounded(choice, schemas, where, seen)
    match schema.get("type"):
        case "string":
            assert {"maxLength", "pattern", "enum", "const", "format"} & set(schema), (where, schema)
        case "array":
            assert {"maxItems", "maxLength"} & set(schema), (where, schema)
            if "$ref" in schema.get("items", {}):
                _assert_bounded(schema["items"], schemas, where, seen)
        case "object":
            for name, one in schema.get("properties", {}).items():
                _assert_bounded(one, schemas, f"{where} {name}", seen)


def _guarded(app: FastAPI) -> Iterator[GuardedRoute]:
    return (route for route in app.routes if isinstance(route, GuardedRoute))


def _operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    assert any(isinstance(route, APIRoute) for route in app.routes)
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _below(root: type[Any]) -> Iterator[type[Any]]:
    yield root
    for kind in root.__subclasses__():
        yield from _below(kind)
