"""`/v1/alerts`: what a person should look at, for administration."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel

from api.dependencies import Admin
from api.fields import Shown
from api.routes import guarded_router
from api.services import WithServices
from waypost.store import alert_list as store

router = guarded_router("alerts")


class AlertShown(Shown):
    """One alert. `advice` says what to do; `ended_at` is set once its rule holds no longer."""

    id: int
    rule: str
    subject: str
    since: datetime
    seen_at: datetime
    ended_at: datetime | None
    evidence: dict[str, Any]
    advice: str


class Alerts(BaseModel):
    """Alerts, the latest first."""

    data: Sequence[AlertShown]


@router.get("/v1/alerts")
async def list_alerts(
    _: Admin,
    services: WithServices,
    ended: Annotated[bool, Query(description="Those that ended, too")] = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Alerts:
    """The alerts that hold now."""
    async with services.relay_db.session() as session:
        rows = await store.list_alerts(session, ended=ended, limit=limit)
        return Alerts(data=[AlertShown.model_validate(row) for row in rows])
