"""The door: settings → services → routes. `uvicorn --factory api.app:create_app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry

from api import (
    alerts,
    campaign_actions,
    campaign_progress,
    campaign_reports,
    campaign_tests,
    campaigns,
    contacts,
    enrollments,
    errors,
    events,
    health,
    imports,
    journey_actions,
    journeys,
    keys,
    link_pages,
    lists,
    messages,
    provider_accounts,
    segment_protocol,
    segments,
    senders,
    suppressions,
    templates,
    tenant_settings,
    tenants,
    topics,
    webhook_secret,
)
from api.key_ring import TOUCH_EVERY_S
from api.metrics import ApiMetrics
from api.middleware import BodyBound, Observed
from api.problems import Problem
from api.services import AppSettings, Services
from waypost.logs import configure_logs
from waypost.serving import process_registry
from waypost.store.database import DatabaseAway

ROUTERS: tuple[APIRouter, ...] = (
    messages.router,
    events.router,
    segment_protocol.router,
    contacts.router,
    lists.router,
    segments.router,
    link_pages.router,
    topics.router,
    templates.router,
    suppressions.router,
    senders.router,
    tenants.router,
    tenant_settings.router,
    keys.router,
    provider_accounts.router,
    alerts.router,
    imports.router,
    campaigns.router,
    campaign_actions.router,
    campaign_tests.router,
    campaign_reports.router,
    campaign_progress.router,
    enrollments.router,
    journeys.router,
    journey_actions.router,
    webhook_secret.router,
    health.router,
)
"""In the order of their traffic: routes are tried one after the other."""


def create_app(settings: AppSettings | None = None, *, registry: CollectorRegistry | None = None) -> FastAPI:
    """The API. Nothing is connected before its lifespan starts, which works without PostgreSQL and without Temporal."""
    settings = settings or AppSettings.from_environment()
    services = Services.of(settings, ApiMetrics(registry or process_registry()))
    app = FastAPI(
        title="Waypost",
        version="1",
        description="Customer messages as durable executions. See docs/api.md.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.services = services
    for router in ROUTERS:
        # Flat, not included: one list of routes to match, and the guards' own route class is kept as it is.
        app.router.routes.extend(router.routes)
    errors.install(app)
    uploads = {"/v1/imports": settings.api.max_import_bytes}
    app.add_middleware(BodyBound, max_bytes=settings.api.max_body_bytes, uploads=uploads)
    app.add_middleware(Observed, metrics=services.metrics, uploads=uploads)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    configure_logs("api")
    services: Services = app.state.services
    await services.open()
    try:
        with suppress(*DatabaseAway):
            await services.roles.check()  # while PostgreSQL is away, the first request checks instead
        noting = asyncio.create_task(_note_key_use(services))
        try:
            yield
        finally:
            noting.cancel()
            with suppress(asyncio.CancelledError):
                await noting
            with suppress(*DatabaseAway):
                await services.keys.note_use()
    finally:
        await services.close()


async def _note_key_use(services: Services) -> None:
    while True:
        await asyncio.sleep(TOUCH_EVERY_S)
        with suppress(*DatabaseAway):
            await services.keys.note_use()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = schema.setdefault("components", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update(problem.pop("$defs"), Problem=problem)
        components["securitySchemes"] = {
            "TenantKey": {"type": "http", "scheme": "bearer", "description": "A tenant's API key"},
            "WriteKey": {
                "type": "http",
                "scheme": "basic",
                "description": "A tenant's API key as the user, without a password",
            },
            "AdminKey": {"type": "http", "scheme": "bearer", "description": "WAYPOST_ADMIN_KEY"},
        }
        app.openapi_schema = schema
    return app.openapi_schema
