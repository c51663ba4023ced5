"""Texts that people write back: kept once, and STOP and START carried out in the same transaction (waypost_relay)."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.addresses import address_key
from waypost.messaging.keywords import Keyword
from waypost.messaging.values import Channel, SuppressionReason
from waypost.store.event_effects import Suppression, suppress

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One text that came in through an account."""

    account_id: UUID
    provider_message_id: str
    channel: Channel
    from_address: str = field(repr=False)
    to_address: str = field(repr=False)
    messaging_service: str | None
    keyword: Keyword | None
    body: str = field(repr=False)


# Whoever may have written to this person: the tenants whose sender the person answered. Numbers can be shared.
_TENANTS = """
SELECT DISTINCT tenant_id FROM senders
WHERE account_id = %s AND channel = %s AND (address = %s OR messaging_service = %s)
ORDER BY tenant_id
"""

_KEEP = """
INSERT INTO inbound_messages (account_id, provider_message_id, tenant_id, channel, from_address, to_address, keyword,
                              body)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING provider_message_id
"""

_LIFT = """
DELETE FROM suppressions WHERE tenant_id = ANY(%s) AND channel = %s AND address = %s AND reason = 'stop'
"""


async def keep_inbound(connection: Connection, inbound: Inbound) -> bool:
    """Keep a text and do what its keyword says, for every tenant whose sender it answers; False where it was known.

    A copy does nothing, so that an old STOP that comes again does not undo a later START.
    """
    tenants = await _tenants(connection, inbound)
    cursor = await connection.execute(
        _KEEP,
        (
            inbound.account_id,
            inbound.provider_message_id,
            tenants[0] if len(tenants) == 1 else None,
            inbound.channel.value,
            inbound.from_address,
            inbound.to_address,
            inbound.keyword.value if inbound.keyword else None,
            inbound.body.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        ),
    )
    if await cursor.fetchone() is None:
        return False
    await _obey(connection, inbound, tenants)
    return True


async def _tenants(connection: Connection, inbound: Inbound) -> list[UUID]:
    cursor = await connection.execute(
        _TENANTS, (inbound.account_id, inbound.channel.value, inbound.to_address, inbound.messaging_service)
    )
    return [row[0] for row in await cursor.fetchall()]


async def _obey(connection: Connection, inbound: Inbound, tenants: list[UUID]) -> None:
    key = address_key(inbound.channel, inbound.from_address)
    if inbound.keyword is Keyword.STOP:
        stops = [
            Suppression(tenant_id=tenant, channel=inbound.channel, address=key, reason=SuppressionReason.STOP)
            for tenant in tenants
        ]
        await suppress(connection, stops)
    elif inbound.keyword is Keyword.START:
        await connection.execute(_LIFT, (tenants, inbound.channel.value, key))
