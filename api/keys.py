"""A tenant's API keys: administration makes, rotates and revokes them; a key may list its tenant's."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from api.cursors import AskedPage, listing
from api.dependencies import Admin, Caller, Scope, needs
from api.fields import Body, KeyIdPath, Listing, Name, Shown, When
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.messaging.values import Mode
from waypost.store import keys as store
from waypost.store.key_tokens import KeyToken

router = guarded_router("keys")

MAX_LIFE = timedelta(days=3660)


def _soon_enough(at: datetime) -> datetime:
    if not timedelta(0) < at - datetime.now(UTC) <= MAX_LIFE:
        raise PydanticCustomError("not_in_the_future", "Give a time in the future, at most ten years from now.")
    return at


class KeyInput(Body):
    """A new key."""

    name: Name
    mode: Mode
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=20)] = (Scope.ALL,)
    expires_at: Annotated[When, AfterValidator(_soon_enough)] | None = None


class RotationInput(Body):
    """How long the old key stays good."""

    grace_seconds: Annotated[int, Field(ge=0, le=30 * 86_400)] = 86_400


class KeyShown(Shown):
    """A key without its secret. `id` is the part of the key that may be shown."""

    id: str
    name: str
    mode: Mode
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class KeyMade(KeyShown):
    """A new key. `key` is shown this once."""

    key: str


def _columns(row: Any) -> dict[str, Any]:
    return {
        "id": row.key_id,
        "name": row.name,
        "mode": row.mode,
        "scopes": row.scopes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }


def _show(row: Any) -> KeyShown:
    return KeyShown(**_columns(row))


def _show_made(row: Any, token: KeyToken) -> KeyMade:
    return KeyMade(**_columns(row), key=token.text)


@router.post("/v1/tenants/{tenant_id}/keys", status_code=201, responses=problems(409))
async def create_key(_: Admin, services: WithServices, tenant_id: UUID, body: KeyInput) -> KeyMade:
    """Make a key. The answer is the only place where it is ever shown."""
    async with services.relay_db.session() as session:
        row, token = await store.create_key(
            session, tenant_id, name=body.name, mode=body.mode, scopes=body.scopes, expires_at=body.expires_at
        )
        return _show_made(row, token)


@router.get("/v1/tenants/{tenant_id}/keys")
async def list_tenant_keys(_: Admin, services: WithServices, tenant_id: UUID, page: AskedPage) -> Listing[KeyShown]:
    """A tenant's keys in the order they were made."""
    async with services.relay_db.session() as session:
        return listing(await store.list_keys(session, tenant_id, after=page.after, limit=page.limit), _show)


@router.get("/v1/tenants/{tenant_id}/keys/{key_id}")
async def get_key(_: Admin, services: WithServices, tenant_id: UUID, key_id: KeyIdPath) -> KeyShown:
    """One key."""
    async with services.relay_db.session() as session:
        return _show(await store.get_key(session, tenant_id, key_id))


@router.post("/v1/tenants/{tenant_id}/keys/{key_id}/rotate", status_code=201, responses=problems(409))
async def rotate_key(
    _: Admin, services: WithServices, tenant_id: UUID, key_id: KeyIdPath, body: RotationInput
) -> KeyMade:
    """Make a key like this one; the old one stays good for the grace time."""
    async with services.relay_db.session() as session:
        row, token = await store.rotate_key(session, tenant_id, key_id, grace=timedelta(seconds=body.grace_seconds))
        made = _show_made(row, token)
    services.keys.forget(key_id)
    return made


@router.delete("/v1/tenants/{tenant_id}/keys/{key_id}", status_code=204)
async def revoke_key(_: Admin, services: WithServices, tenant_id: UUID, key_id: KeyIdPath) -> None:
    """End a key; other API processes may still take it for five seconds."""
    async with services.relay_db.session() as session:
        await store.revoke_key(session, tenant_id, key_id)
    services.keys.forget(key_id)


@router.get("/v1/keys")
async def list_own_keys(
    caller: Annotated[Caller, needs(Scope.KEYS_READ)], services: WithServices, page: AskedPage
) -> Listing[KeyShown]:
    """The keys of the tenant that asks."""
    async with services.app_db.session(caller.tenant_id) as session:
        return listing(await store.list_keys(session, caller.tenant_id, after=page.after, limit=page.limit), _show)
