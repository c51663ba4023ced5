"""`/v1/senders`: the From addresses and numbers that a tenant may use, and the account each goes through.

Any tenant may use any account that administration made (docs/api.md); a test key makes senders on test accounts only.
"""

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.cursors import AskedPage, listing
from api.dependencies import Admin, Caller, Scope, needs
from api.fields import Body, Listing, Name, Shown, SlugPath
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.messaging.addresses import EmailAddress, normalise_address
from waypost.messaging.content_errors import AddressError
from waypost.messaging.values import Channel, Mode, ProviderKind
from waypost.store import senders as store
from waypost.store import tenants as tenant_store
from waypost.store.accounts import KnownAccount, find_account

router = guarded_router("senders")

_CHANNELS = {ProviderKind.SES: {Channel.EMAIL}, ProviderKind.TWILIO: {Channel.SMS, Channel.WHATSAPP}}

# Twilio's alphanumeric sender id: 1 to 11 characters of which one is a letter.
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}", re.ASCII)


def _no_spaces_around(text: str) -> str:
    if text != text.strip():
        raise PydanticCustomError("spaces_around", "Leave out the spaces around it.")
    return text


class SenderInput(Body):
    """A From address or number, and the account it goes through."""

    channel: Channel
    address: Annotated[
        str,
        StringConstraints(min_length=1, max_length=320),
        AfterValidator(_no_spaces_around),
        Field(description="An email address; a number in E.164 form; for SMS also an alphanumeric sender id"),
    ]
    name: Name | None = None
    reply_to: EmailAddress | None = None
    account: Annotated[Name, Field(description="The provider account's name or id")]
    configuration_set: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = Field(
        default=None, description="SES: without it no event comes back, and an unknown send stays unknown"
    )
    messaging_service: Annotated[str, StringConstraints(pattern=r"^MG[0-9a-f]{32}$")] | None = None
    is_default: Annotated[bool, Field(description="Used where a message names no sender")] = False


class SenderShown(Shown):
    """A sender. `mode` is its account's."""

    key: str
    channel: Channel
    address: str
    name: str | None
    reply_to: str | None
    account_id: UUID
    mode: Mode
    configuration_set: str | None
    messaging_service: str | None
    is_default: bool
    created_at: datetime
    updated_at: datetime


def _show(row: Any) -> SenderShown:
    return SenderShown.model_validate(row)


@router.put("/v1/senders/{key}", responses=problems(409))
async def put_sender(
    caller: Annotated[Caller, needs(Scope.SENDERS_WRITE)], services: WithServices, key: SlugPath, body: SenderInput
) -> SenderShown:
    """Make or replace a sender."""
    async with services.app_db.session(caller.tenant_id) as session:
        account = _checked(await find_account(session, body.account), body)
        _may_touch(caller, account.mode)
        _may_touch(caller, await store.sender_mode(session, caller.tenant_id, key))
        return _show(await store.put_sender(session, caller.tenant_id, key, _columns(body, account)))


@router.get("/v1/senders/{key}")
async def get_sender(
    caller: Annotated[Caller, needs(Scope.SENDERS_READ)], services: WithServices, key: SlugPath
) -> SenderShown:
    """One sender."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.get_sender(session, caller.tenant_id, key))


@router.get("/v1/senders")
async def list_senders(
    caller: Annotated[Caller, needs(Scope.SENDERS_READ)], services: WithServices, page: AskedPage
) -> Listing[SenderShown]:
    """Senders in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        return listing(await store.list_senders(session, caller.tenant_id, after=page.after, limit=page.limit), _show)


@router.delete("/v1/senders/{key}", status_code=204, responses=problems(409))
async def delete_sender(
    caller: Annotated[Caller, needs(Scope.SENDERS_WRITE)], services: WithServices, key: SlugPath
) -> None:
    """Remove a sender that no message went through."""
    async with services.app_db.session(caller.tenant_id) as session:
        _may_touch(caller, Mode((await store.get_sender(session, caller.tenant_id, key)).mode))
        await store.delete_sender(session, caller.tenant_id, key)


@router.put("/v1/tenants/{tenant_id}/senders/{key}", responses=problems(409))
async def put_tenant_sender(
    _: Admin, services: WithServices, tenant_id: UUID, key: SlugPath, body: SenderInput
) -> SenderShown:
    """Administration makes or replaces a tenant's sender."""
    async with services.relay_db.session() as session:
        await tenant_store.lock_living_tenant(session, tenant_id)
        account = _checked(await find_account(session, body.account), body)
        return _show(await store.put_sender(session, tenant_id, key, _columns(body, account)))


@router.get("/v1/tenants/{tenant_id}/senders")
async def list_tenant_senders(
    _: Admin, services: WithServices, tenant_id: UUID, page: AskedPage
) -> Listing[SenderShown]:
    """A tenant's senders, for administration."""
    async with services.relay_db.session() as session:
        return listing(await store.list_senders(session, tenant_id, after=page.after, limit=page.limit), _show)


def _checked(account: KnownAccount | None, body: SenderInput) -> KnownAccount:
    if account is None:
        advice = "There is no provider account of this name or id; ask whoever administers Waypost for the name."
        raise ApiError("unknown_account", advice, errors=[FieldError(field="account", message=advice)])
    if body.channel not in _CHANNELS[account.kind]:
        advice = f"The account {account.name} is of kind {account.kind}, which has no {body.channel}; name another."
        raise ApiError("account_channel", advice, errors=[FieldError(field="account", message=advice)])
    return account


def _may_touch(caller: Caller, mode: Mode | None) -> None:
    if caller.mode is Mode.TEST and mode is Mode.LIVE:
        raise ApiError("test_key", "A test key may only change senders of test accounts; use a live key.")


def _columns(body: SenderInput, account: KnownAccount) -> dict[str, Any]:
    columns = body.model_dump(mode="json", exclude={"account", "address"})
    return {**columns, "address": _address(body), "account_id": account.id, "mode": account.mode.value}


def _address(body: SenderInput) -> str:
    if body.channel is Channel.SMS and _ALPHANUMERIC.fullmatch(body.address):
        return body.address
    try:
        return normalise_address(body.channel, body.address)
    except AddressError as error:
        raise AddressError(error.message, field="address", hint=error.hint) from None
