"""What machines ask without a key: alive, ready, metrics, and the page of an error code."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.problems import KINDS, ApiError
from api.routes import problems
from api.services import WithServices

READY_WITHIN_S = 0.9

router = APIRouter(tags=["health"])


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """The process answers."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse, responses=problems(503))
async def readyz(services: WithServices) -> str:
    """PostgreSQL answers, and binds our roles by row security. Temporal is not asked: without it we still accept."""
    async with asyncio.timeout(READY_WITHIN_S):
        await services.roles.check()
        await services.app_db.ping()
    return "ready\n"


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(services: WithServices) -> Response:
    """Prometheus's text format."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/errors/{code}", response_class=PlainTextResponse, responses=problems(404, 422))
async def error_page(code: Annotated[str, Path(pattern=r"^[a-z_]{1,64}$")]) -> str:
    """What an error code means; problem documents name this path as their type."""
    kind = KINDS.get(code)
    if kind is None:
        raise ApiError("not_found", "There is no such error code; docs/api.md lists them.")
    return f"{code} (HTTP {kind.status})\n{kind.title}.\nSee docs/api.md, section Errors.\n"
