"""API keys: made and ended by administration, looked up by every request (role waypost_relay). Nothing here commits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.rows import class_row
from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging.values import Mode
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.key_tokens import KeyToken, make_token
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.tables import ApiKeyRow
from waypost.store.tenants import lock_living_tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What a request's admission needs of a key and its tenant."""

    tenant_id: UUID
    key_id: str
    mode: str
    secret_hash: bytes = field(repr=False)
    scopes: Sequence[str]
    expires_in_s: float | None
    revoked: bool
    tenant_state: str
    requests_per_second: int


# The one read of every request's admission that misses the process's cache: a key with its tenant's state and rate.
_FIND = """
SELECT k.tenant_id, k.key_id, k.mode, k.secret_hash, k.scopes,
       extract(epoch FROM k.expires_at - waypost_now())::float8 AS expires_in_s,
       k.revoked_at IS NOT NULL AS revoked, t.state AS tenant_state, t.requests_per_second
FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
WHERE k.key_id = %s
"""

# Coarse on purpose: a busy key's row is written at most once a minute, over all processes.
_TOUCH = """
UPDATE api_keys SET last_used_at = waypost_now()
WHERE key_id = ANY(%s) AND (last_used_at IS NULL OR last_used_at < waypost_now() - interval '1 minute')
"""


async def find_key(connection: AsyncConnection[Any], key_id: str) -> KnownKey | None:
    """The key with this public id, whatever its state."""
    async with connection.cursor(row_factory=class_row(KnownKey)) as cursor:
        await cursor.execute(_FIND, (key_id,))
        return await cursor.fetchone()


async def touch_keys(connection: AsyncConnection[Any], key_ids: Iterable[str]) -> None:
    """Note that these keys were used just now."""
    await connection.execute(_TOUCH, (sorted(key_ids),))


async def create_key(
    session: AsyncSession, tenant: UUID, *, name: str, mode: Mode, scopes: Sequence[str], expires_at: datetime | None
) -> tuple[ApiKeyRow, KeyToken]:
    """A new key and its text, which nobody can see again. Raises `NotFoundError`, `ConflictError`."""
    await lock_living_tenant(session, tenant)
    return await _insert(session, tenant, name=name, mode=mode, scopes=scopes, expires_at=expires_at)


async def rotate_key(
    session: AsyncSession, tenant: UUID, key_id: str, *, grace: timedelta
) -> tuple[ApiKeyRow, KeyToken]:
    """A new key like this one, which itself ends after `grace` (or sooner, where it was to expire sooner).

    Raises `NotFoundError`, `ConflictError` where the key is revoked, has expired or was rotated before.
    """
    old = await get_key(session, tenant, key_id, lock=True)
    await _check_rotates(session, old)
    fresh = await _insert(
        session,
        tenant,
        name=old.name,
        mode=Mode(old.mode),
        scopes=old.scopes,
        expires_at=old.expires_at,
        rotated_from=old.id,
    )
    old.expires_at = _sooner(grace)
    await session.flush()
    return fresh


async def _check_rotates(session: AsyncSession, key: ApiKeyRow) -> None:
    """Of a locked key. A statement of its own, for it must see what was committed while the lock was waited for."""
    if key.revoked_at is not None:
        raise ConflictError("This key is revoked; make a new one.", code="key_revoked")
    twin = select(ApiKeyRow.id).where(col(ApiKeyRow.tenant_id) == key.tenant_id, col(ApiKeyRow.rotated_from) == key.id)
    if (await session.exec(twin.limit(1))).first() is not None:
        raise ConflictError("This key was rotated before; rotate the key that follows it.", code="key_rotated")
    expired = select(ApiKeyRow.id).where(col(ApiKeyRow.id) == key.id, col(ApiKeyRow.expires_at) <= NOW)
    if (await session.exec(expired)).first() is not None:
        raise ConflictError("This key has expired; make a new one.", code="key_expired")


async def revoke_key(session: AsyncSession, tenant: UUID, key_id: str) -> None:
    """End a key at once; ending it again changes nothing. Raises `NotFoundError`."""
    row = await get_key(session, tenant, key_id)
    if row.revoked_at is None:
        row.revoked_at = NOW
        await session.flush()


async def get_key(session: AsyncSession, tenant: UUID, key_id: str, *, lock: bool = False) -> ApiKeyRow:
    """One key of a tenant; `lock`: nobody else changes it until the transaction ends. Raises `NotFoundError`."""
    query = select(ApiKeyRow).where(col(ApiKeyRow.tenant_id) == tenant, col(ApiKeyRow.key_id) == key_id)
    if lock:
        query = query.with_for_update()
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError("key")
    return row


async def list_keys(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[ApiKeyRow]:
    """A tenant's keys in the order they were made."""
    query = select(ApiKeyRow).where(col(ApiKeyRow.tenant_id) == tenant)
    return await fetch_page(session, query, ApiKeyRow, after=after, limit=limit)


def _sooner(grace: timedelta) -> Any:
    return func.least(col(ApiKeyRow.expires_at), NOW + grace)


async def _insert(
    session: AsyncSession,
    tenant: UUID,
    *,
    name: str,
    mode: Mode,
    scopes: Sequence[str],
    expires_at: datetime | None,
    rotated_from: UUID | None = None,
) -> tuple[ApiKeyRow, KeyToken]:
    token = make_token(mode)
    row = ApiKeyRow(
        tenant_id=tenant,
        id=uuid4(),
        key_id=token.key_id,
        name=name,
        mode=mode.value,
        secret_hash=token.hash,
        scopes=list(scopes),
        expires_at=expires_at,
        rotated_from=rotated_from,
    )
    session.add(row)
    await session.flush()
    return row, token
