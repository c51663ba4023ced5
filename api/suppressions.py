"""`/v1/suppressions`: the addresses that no message of the tenant may go to."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import StringConstraints

from api.cursors import AskedPage, listing
from api.dependencies import Caller, Scope, needs
from api.fields import Body, Listing, Note, Shown
from api.problems import ApiError, FieldError
from api.routes import guarded_router
from api.services import WithServices
from waypost.messaging.addresses import address_key, normalise_address
from waypost.messaging.content_errors import AddressError
from waypost.messaging.values import Channel, SuppressionReason
from waypost.store import suppressions as store

router = guarded_router("suppressions")

Address = Annotated[str, StringConstraints(min_length=1, max_length=320)]


class SuppressionInput(Body):
    """An address to leave alone."""

    channel: Channel
    address: Address
    reason: SuppressionReason = SuppressionReason.MANUAL
    note: Note | None = None


class SuppressionShown(Shown):
    """A suppressed address. `message_id`: the message whose event suppressed it."""

    id: UUID
    channel: Channel
    address: str
    reason: SuppressionReason
    note: str | None
    message_id: UUID | None
    created_at: datetime


Reader = Annotated[Caller, needs(Scope.SUPPRESSIONS_READ)]
Writer = Annotated[Caller, needs(Scope.SUPPRESSIONS_WRITE)]


@router.post("/v1/suppressions", status_code=201)
async def add_suppression(caller: Writer, services: WithServices, body: SuppressionInput) -> SuppressionShown:
    """Suppress an address. One that is suppressed already gets this reason and note."""
    address = _key(body.channel, body.address, field="address")
    async with services.app_db.session(caller.tenant_id) as session:
        row = await store.put_suppression(
            session, caller.tenant_id, channel=body.channel, address=address, reason=body.reason, note=body.note
        )
        return _show(row)


@router.get("/v1/suppressions")
async def list_suppressions(
    caller: Reader,
    services: WithServices,
    page: AskedPage,
    channel: Channel | None = None,
    address: Annotated[Address | None, Query(description="Only this address; needs channel")] = None,
) -> Listing[SuppressionShown]:
    """Suppressions in the order they were made."""
    if address and channel is None:
        advice = "An address is looked for on one channel: give channel too."
        raise ApiError("validation_failed", advice, errors=[FieldError(field="query.channel", message=advice)])
    key = _key(channel, address, field="query.address") if address and channel else None
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.list_suppressions(
            session, caller.tenant_id, channel=channel, address=key, after=page.after, limit=page.limit
        )
        return listing(found, _show)


@router.get("/v1/suppressions/{suppression_id}")
async def get_suppression(caller: Reader, services: WithServices, suppression_id: UUID) -> SuppressionShown:
    """One suppression."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.get_suppression(session, caller.tenant_id, suppression_id))


@router.delete("/v1/suppressions/{suppression_id}", status_code=204)
async def remove_suppression(caller: Writer, services: WithServices, suppression_id: UUID) -> None:
    """Let messages go to the address again. Somebody who complained or said STOP should have asked for it."""
    async with services.app_db.session(caller.tenant_id) as session:
        await store.delete_suppression(session, caller.tenant_id, suppression_id)


def _key(channel: Channel, address: str, *, field: str) -> str:
    try:
        return address_key(channel, normalise_address(channel, address))
    except AddressError as error:
        raise AddressError(error.message, field=field, hint=error.hint) from None


def _show(row: Any) -> SuppressionShown:
    return SuppressionShown.model_validate(row)
