"""Requests: what a caller asks for, and the table that remembers what was answered under an idempotency key."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import class_row

from waypost.messaging.values import Channel, MessageClass, Mode, Part

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartAsked:
    """One message of a request. A contact's address is looked up; without `sender_id` the channel's default is used.

    `template_version` is the version the caller validated against; unless `template_pinned` it must still be current.
    `payload` is the JSON of a MessagePayload.
    """

    part: Part
    channel: Channel
    contact_id: UUID | None = None
    address: str | None = field(default=None, repr=False)
    sender_id: UUID | None = None
    template_id: UUID | None = None
    template_version: int | None = None
    template_pinned: bool = False
    payload: bytes = field(default=b"{}", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAsked:
    """A well-formed request. Without `idempotency_key` it is not remembered: asked twice, it is two messages.

    `parts` begins with the primary. `metadata` is JSON; `body_hash` tells two bodies under one key apart.
    """

    mode: Mode
    message_class: MessageClass
    parts: tuple[PartAsked, ...]
    expires_in: timedelta
    send_at: datetime | None = None
    idempotency_key: str | None = field(default=None, repr=False)
    body_hash: bytes = b""
    tags: tuple[str, ...] = ()
    metadata: bytes | None = field(default=None, repr=False)
    unknown_policy: str | None = None
    fallback_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedRequest:
    """A request as the table has it; `expired` ones may be overwritten by the next generation."""

    id: UUID
    idempotency_key: str
    generation: int
    body_hash: bytes
    message_id: UUID
    expired: bool


_REMEMBERED = """
SELECT id, idempotency_key, generation, body_hash, message_id, expires_at <= waypost_now() AS expired
FROM requests WHERE tenant_id = %s AND idempotency_key = ANY(%s)
"""


async def ask_remembered(
    connection: Connection, *, tenant: UUID, keys: Sequence[str]
) -> AsyncCursor[RememberedRequest]:
    """Queue the look-up of keys; the cursor has the rows once the pipeline was flushed."""
    cursor = connection.cursor(row_factory=class_row(RememberedRequest))
    return await cursor.execute(_REMEMBERED, (tenant, list(keys)), prepare=True)
