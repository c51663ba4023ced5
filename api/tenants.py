"""`/v1/tenants`: administration makes tenants, sets their bounds, and suspends and resumes them."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from api.cursors import AskedPage, listing
from api.dependencies import Admin
from api.fields import Body, Listing, Name, Shown
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.messaging.addresses import TimeZone
from waypost.messaging.rules import MAX_CAPS, FrequencyCap, QuietHours
from waypost.messaging.values import TenantState
from waypost.store import tenants as store

router = guarded_router("tenants")

_Days30 = timedelta(days=30)


class _Settings(Body):
    weight: Annotated[float, Field(gt=0, le=100, description="Share of budgets that tenants compete for")] = 1
    window_fast: Annotated[int, Field(ge=1, le=2000, description="Open executions, transactional")] = 200
    window_bulk: Annotated[int, Field(ge=1, le=2000, description="Open executions, bulk")] = 50
    requests_per_second: Annotated[int, Field(ge=1, le=100_000, description="Requests a second and API process")] = 500
    backlog_bound: Annotated[int, Field(ge=1, le=100_000_000, description="Messages that may wait")] = 1_000_000
    unknown_policy: Annotated[
        Literal["wait", "at_most_once"], Field(description="What becomes of a send whose result is not known")
    ] = "wait"
    late_policy: Annotated[
        Literal["send", "skip", "ask"], Field(description="What becomes of what is late, after a suspension say")
    ] = "send"
    late_after: Annotated[
        timedelta, Field(gt=timedelta(0), le=timedelta(days=366), description="Later than this is late")
    ] = timedelta(days=1)
    soft_bounce_limit: Annotated[int, Field(ge=1, le=100, description="Soft bounces in a row that suppress")] = 5
    idempotency_retention: Annotated[timedelta, Field(ge=timedelta(hours=1), le=timedelta(days=366))] = _Days30


class SendingRules(Body):
    """When campaigns and journeys may write to people, and what they need a person's approval for."""

    time_zone: Annotated[
        TimeZone, Field(description="IANA name; of contacts without one, or with none that is known")
    ] = "UTC"
    quiet_hours: Annotated[
        QuietHours | None, Field(description="Nothing goes out in these hours of the contact's zone; null: always")
    ] = None
    frequency_caps: Annotated[
        tuple[FrequencyCap, ...],
        Field(max_length=MAX_CAPS, description="What a contact gets at most; all must allow it"),
    ] = ()
    approval_over: Annotated[
        int | None, Field(ge=0, le=2**31 - 1, description="Larger campaigns wait for an approval; null: none does")
    ] = None

    @field_validator("frequency_caps")
    @classmethod
    def _each_once(cls, caps: tuple[FrequencyCap, ...]) -> tuple[FrequencyCap, ...]:
        if len({(cap.channel, cap.period) for cap in caps}) < len(caps):
            raise PydanticCustomError(
                "frequency_caps", "Two caps are of the same channel and period; keep the lower one."
            )
        return caps


_Retention = Annotated[int | None, Field(ge=15, le=3650, description="In days; null: as long as the installation does")]


class _Policies(_Settings, SendingRules):
    message_retention_days: _Retention = None
    event_retention_days: _Retention = None


class TenantInput(_Policies):
    """A new tenant."""

    name: Name


class TenantChanges(_Policies):
    """What to change of a tenant; fields that are left out stay."""

    name: Name = ""


class TenantShown(Shown):
    """A tenant."""

    id: UUID
    name: str
    state: TenantState
    placement: str
    weight: float
    window_fast: int
    window_bulk: int
    requests_per_second: int
    backlog_bound: int
    unknown_policy: str
    late_policy: str
    late_after: timedelta
    soft_bounce_limit: int
    idempotency_retention: timedelta
    time_zone: str
    quiet_hours: QuietHours | None
    frequency_caps: tuple[FrequencyCap, ...]
    approval_over: int | None
    message_retention_days: int | None
    event_retention_days: int | None
    version: int
    created_at: datetime
    updated_at: datetime
    state_changed_at: datetime


_JSON = {"quiet_hours", "frequency_caps"}


def columns(body: SendingRules, *, exclude_unset: bool = False) -> dict[str, Any]:
    """A tenant's columns as the body gives them: what is jsonb there as JSON, the rest as it is."""
    found = body.model_dump(exclude_unset=exclude_unset, exclude=_JSON)
    return found | body.model_dump(mode="json", exclude_unset=exclude_unset, include=_JSON)


def _show(row: Any) -> TenantShown:
    return TenantShown.model_validate(row)


@router.post("/v1/tenants", status_code=201)
async def create_tenant(_: Admin, services: WithServices, body: TenantInput) -> TenantShown:
    """Make a tenant; it is active at once, and its workers poll within seconds."""
    settings = columns(body)
    name = settings.pop("name")
    async with services.relay_db.session() as session:
        return _show(await store.create_tenant(session, name=name, settings=settings))


@router.get("/v1/tenants")
async def list_tenants(_: Admin, services: WithServices, page: AskedPage) -> Listing[TenantShown]:
    """Tenants in the order they were made."""
    async with services.relay_db.session() as session:
        return listing(await store.list_tenants(session, after=page.after, limit=page.limit), _show)


@router.get("/v1/tenants/{tenant_id}")
async def get_tenant(_: Admin, services: WithServices, tenant_id: UUID) -> TenantShown:
    """One tenant."""
    async with services.relay_db.session() as session:
        return _show(await store.get_tenant(session, tenant_id))


@router.patch("/v1/tenants/{tenant_id}", responses=problems(409))
async def change_tenant(_: Admin, services: WithServices, tenant_id: UUID, body: TenantChanges) -> TenantShown:
    """Change a tenant's name, bounds and policies."""
    async with services.relay_db.session() as session:
        shown = _show(await store.change_tenant(session, tenant_id, columns(body, exclude_unset=True)))
    services.keys.forget_all()
    return shown


@router.post("/v1/tenants/{tenant_id}/suspend", responses=problems(409))
async def suspend_tenant(_: Admin, services: WithServices, tenant_id: UUID) -> TenantShown:
    """Hold everything that the tenant would send; requests are still accepted and wait."""
    return await _move(services, tenant_id, TenantState.SUSPENDED)


@router.post("/v1/tenants/{tenant_id}/resume", responses=problems(409))
async def resume_tenant(_: Admin, services: WithServices, tenant_id: UUID) -> TenantShown:
    """Go on sending; late_policy decides about what is late by now."""
    return await _move(services, tenant_id, TenantState.ACTIVE)


async def _move(services: WithServices, tenant: UUID, to: TenantState) -> TenantShown:
    async with services.relay_db.session() as session:
        return _show(await store.move_tenant(session, tenant, to))
