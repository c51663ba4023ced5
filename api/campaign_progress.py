"""`GET /v1/campaigns/{key}/progress`: a run as it goes, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from api.campaign_reports import RunNumber, find_run
from api.campaigns import Reader, RunShown, show_run
from api.fields import SlugPath
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.messaging.values import RunState
from waypost.store.campaign_reports import run_by_id
from waypost.store.database import DatabaseAway
from waypost.store.tallies import counts_by_variant, total

router = guarded_router("campaigns")

EVERY_S = 1.0
HEARTBEAT_S = 15.0
"""So that nobody between us and the watcher takes the connection for dead."""
LONGEST_S = 1800.0
"""A stream ends then; an EventSource, and `waypost campaigns watch`, come again."""
OVER = frozenset({RunState.COMPLETED, RunState.CANCELLED})
_MEDIA_TYPE = "text/event-stream"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `progress` with a run's JSON, at most one a second and only when something changed; "
        "`end` with the same once the run is over; comments between them. Ends by itself.",
        "content": {_MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


class Progress(BaseModel):
    """What an event carries."""

    run: RunShown


@router.get("/v1/campaigns/{key}/progress", response_class=Response, responses={**_STREAM, **problems(409)})
async def watch_progress(caller: Reader, services: WithServices, key: SlugPath, run: RunNumber = None) -> Response:
    """Follow a run until it is over. What is sent is exact at its moment, and costs one look at the counts."""
    of = await find_run(services, caller, key, run)
    services.streams.check(caller.tenant_id)
    return StreamingResponse(_events(services, of.row.tenant_id, of.row.id), media_type=_MEDIA_TYPE, headers=_HEADERS)


async def _events(services: Services, tenant: UUID, run: UUID) -> AsyncIterator[bytes]:
    with services.streams.watching(tenant), services.metrics.streams.track_inprogress():
        ends = monotonic() + LONGEST_S
        told, told_at = b"", monotonic()
        yield b"retry: 2000\n\n"
        while monotonic() < ends:
            now, over = await _look(services, tenant, run)
            if now is not None and (now != told or over):
                told, told_at = now, monotonic()
                yield b"event: %s\ndata: %s\n\n" % (b"end" if over else b"progress", now)
            elif monotonic() - told_at >= HEARTBEAT_S:
                told_at = monotonic()
                yield b": still watching\n\n"
            if over:
                return
            await asyncio.sleep(EVERY_S)


async def _look(services: Services, tenant: UUID, run: UUID) -> tuple[bytes | None, bool]:
    """The run as JSON, and whether it is over; nothing while the database is away."""
    try:
        async with services.app_db.session(tenant) as session:
            row = await run_by_id(session, tenant, run)
        async with services.app_db.transaction(tenant) as connection:
            counts = total(await counts_by_variant(connection, tenant=tenant, run=run))
    except DatabaseAway:
        return None, False
    shown = show_run(services, row, counts)
    return orjson.dumps(shown.model_dump(mode="json")), shown.state in OVER
