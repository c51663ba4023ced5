"""The real app on a real database, spoken to by httpx without a socket in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from api.app import create_app
from api.services import AppSettings
from tests import services
from tests.services import Database
from waypost.settings import AdminSettings, ApiSettings, DatabaseSettings, SecretSettings, TemporalSettings

SECRET_KEY = "a secret key of at least thirty-two characters"
ADMIN_KEY = "admin-key-of-the-tests-0123456789"


def app_settings(database: Database, **api: Any) -> AppSettings:
    passwords = services.ROLE_PASSWORDS
    return AppSettings(
        database=DatabaseSettings(
            database_url=SecretStr(database.url),
            app_password=SecretStr(passwords["waypost_app"]),
            relay_password=SecretStr(passwords["waypost_relay"]),
            segments_password=SecretStr(passwords["waypost_segments"]),
        ),
        admin=AdminSettings(admin_key=SecretStr(ADMIN_KEY)),
        secrets=SecretSettings(secret_key=SecretStr(SECRET_KEY)),
        api=ApiSettings(**api),
        temporal=TemporalSettings(),
    )


@dataclass(frozen=True)
class Tenant:
    """A tenant, and a client with its key."""

    id: UUID
    key: str
    client: httpx.AsyncClient


@dataclass(frozen=True)
class Api:
    """A running app."""

    app: FastAPI
    admin: httpx.AsyncClient

    def client(self, key: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers)

    async def tenant(self, *, mode: str = "test", scopes: tuple[str, ...] = ("*",), **settings: Any) -> Tenant:
        made = await ok(self.admin.post("/v1/tenants", json={"name": "A tenant", **settings}))
        return await self.key(UUID(made["id"]), mode=mode, scopes=scopes)

    async def key(self, tenant: UUID, *, mode: str = "test", scopes: tuple[str, ...] = ("*",)) -> Tenant:
        body = {"name": "A key", "mode": mode, "scopes": list(scopes)}
        made = await ok(self.admin.post(f"/v1/tenants/{tenant}/keys", json=body))
        return Tenant(id=tenant, key=made["key"], client=self.client(made["key"]))

    async def account(self, name: str, **fields: Any) -> dict[str, Any]:
        body = {**account_body(name), **fields}
        made: dict[str, Any] = await ok(self.admin.post("/v1/provider-accounts", json=body))
        return made


def account_body(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "ses",
        "mode": "test",
        "endpoint": "http://127.0.0.1:9",
        "feed": "durable",
        "credentials": {"source": "sealed", "key": "AKIATEST", "secret": "sesame"},
    }


@asynccontextmanager
async def running(database: Database, **api: Any) -> AsyncIterator[Api]:
    app = create_app(app_settings(database, **api))
    async with app.router.lifespan_context(app):
        bare = Api(app=app, admin=None)  # type: ignore[arg-type]  # the client needs the app
        async with bare.client(ADMIN_KEY) as admin:
            yield Api(app=app, admin=admin)


async def ok(answer: Any) -> Any:
    """The JSON of an answer that must be 2xx."""
    response = await answer
    assert response.is_success, response.text
    return response.json() if response.content else None


async def problem(answer: Any, status: int, code: str) -> Mapping[str, Any]:
    """The problem document of an answer that must be one."""
    response = await answer
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"/errors/{code}"
    assert document["title"]
    assert document["detail"].endswith(".")
    return document
