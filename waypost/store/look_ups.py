"""Unknown attempts of a provider whose own list can be searched, and what a search proves (waypost_relay)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.provider import FoundMessage, ProviderEvent
from waypost.messaging.values import AttemptState, EventKind
from waypost.store.events import store_events
from waypost.store.reconcile import settle_voided

Connection = AsyncConnection[Any]

SKEW = timedelta(minutes=5)
"""How far a provider's clock and ours may be apart when a listed message is matched with the attempt that made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpTask:
    """An unknown attempt whose provider is to be asked."""

    tenant_id: UUID
    message_id: UUID
    attempt_id: UUID
    account_id: UUID
    claimed_at: datetime
    content_hash: bytes


# The mark is a lease: nobody else asks about it for a while, and a failed look-up is made again.
_LEASE = """
WITH chosen AS (
    SELECT a.tenant_id, a.id FROM attempts a JOIN provider_accounts p ON p.id = a.account_id AND p.kind = 'twilio'
    WHERE a.state IN ('in_flight', 'unknown', 'abandoned') AND a.state = 'unknown' AND a.content_hash IS NOT NULL
      AND a.claimed_at < waypost_now() - %(age)s
      AND (a.looked_up_at IS NULL OR a.looked_up_at < waypost_now() - %(again)s)
    ORDER BY a.claimed_at LIMIT %(limit)s FOR NO KEY UPDATE OF a SKIP LOCKED
)
UPDATE attempts a SET looked_up_at = waypost_now() FROM chosen c WHERE a.tenant_id = c.tenant_id AND a.id = c.id
RETURNING a.tenant_id, a.message_id, a.id, a.account_id, a.claimed_at, a.content_hash
"""


async def lease_look_ups(connection: Connection, *, age: timedelta, again: timedelta, limit: int) -> list[LookUpTask]:
    """Unknown attempts claimed longer ago than `age` and not asked about for `again`, oldest first."""
    cursor = await connection.execute(_LEASE, {"age": age, "again": again, "limit": limit})
    tasks = [
        LookUpTask(
            tenant_id=row[0],
            message_id=row[1],
            attempt_id=row[2],
            account_id=row[3],
            claimed_at=row[4],
            content_hash=row[5],
        )
        for row in await cursor.fetchall()
    ]
    return sorted(tasks, key=lambda task: task.claimed_at)


class Verdict(StrEnum):
    """What a look-up came to. `undecided`: the same content is in flight once more, so a match may be that one's."""

    ACCEPTED = "accepted"
    ABSENT = "absent"
    UNDECIDED = "undecided"
    RESOLVED = "resolved"


# Attempts with the same content go to the same person: which of them a listed message is, nobody can tell and nobody
# needs to. One at a time, oldest first, each takes a message that no other attempt has.
_SERIALISE = "SELECT pg_advisory_xact_lock(hashtextextended('waypost/look-up/' || %s::text || encode(%s, 'hex'), 0))"

_LOCK = "SELECT state FROM attempts WHERE tenant_id = %(tenant)s AND id = %(attempt)s FOR NO KEY UPDATE"

_IN_FLIGHT = """
SELECT EXISTS (SELECT FROM attempts WHERE account_id = %(account)s AND state = 'in_flight'
               AND content_hash = %(content_hash)s)
"""

_BOUND = """
SELECT provider_message_id FROM attempts
WHERE account_id = %(account)s AND claimed_at BETWEEN %(from)s AND %(to)s AND provider_message_id = ANY(%(found)s)
  AND id <> %(attempt)s
"""

_BIND = "UPDATE attempts SET provider_message_id = %s WHERE tenant_id = %s AND id = %s"

_VOID = """
UPDATE attempts SET state = 'void', resolution = 'absence', resolved_at = waypost_now()
WHERE tenant_id = %s AND id = %s AND state = 'unknown'
  AND NOT EXISTS (SELECT FROM provider_events e WHERE e.attempt_id = attempts.id)
RETURNING id
"""


async def conclude(connection: Connection, task: LookUpTask, found: Sequence[FoundMessage], *, signal: str) -> Verdict:
    """Bind the attempt to a listed message that no other attempt has, or void it where there is none.

    A match is stored like an event and applied like one.
    """
    await connection.execute(_SERIALISE, (task.account_id, task.content_hash))
    values = _values(task, found)
    if await _first(connection, _LOCK, values) != AttemptState.UNKNOWN:
        return Verdict.RESOLVED
    free = await _free(connection, found, values)
    if free and await _first(connection, _IN_FLIGHT, values):
        return Verdict.UNDECIDED
    if free:
        await _bind(connection, task, free[0])
        return Verdict.ACCEPTED
    return await _void(connection, task, signal=signal)


def _values(task: LookUpTask, found: Sequence[FoundMessage]) -> dict[str, Any]:
    made = [each.created_at for each in found] or [task.claimed_at]
    return {
        "tenant": task.tenant_id,
        "attempt": task.attempt_id,
        "account": task.account_id,
        "content_hash": task.content_hash,
        "from": min(made) - SKEW,
        "to": max(made) + SKEW,
        "found": [each.provider_message_id for each in found],
    }


async def _free(connection: Connection, found: Sequence[FoundMessage], values: dict[str, Any]) -> list[FoundMessage]:
    bound = {row[0] for row in await (await connection.execute(_BOUND, values)).fetchall()}
    free = [each for each in found if each.provider_message_id not in bound]
    return sorted(free, key=lambda each: each.created_at)


async def _first(connection: Connection, statement: LiteralString, values: dict[str, Any]) -> Any:
    row = await (await connection.execute(statement, values)).fetchone()
    return row[0] if row else None


async def _bind(connection: Connection, task: LookUpTask, match: FoundMessage) -> None:
    await connection.execute(_BIND, (match.provider_message_id, task.tenant_id, task.attempt_id))
    event = ProviderEvent(
        event_id=f"{match.provider_message_id}:found",
        kind=EventKind.SEND,
        occurred_at=match.created_at,
        attempt_id=task.attempt_id,
        provider_message_id=match.provider_message_id,
        code="found_in_list",
    )
    await store_events(connection, [(task.account_id, event)])


async def _void(connection: Connection, task: LookUpTask, *, signal: str) -> Verdict:
    cursor = await connection.execute(_VOID, (task.tenant_id, task.attempt_id))
    if await cursor.fetchone() is None:
        return Verdict.UNDECIDED
    await settle_voided(connection, [(task.tenant_id, task.message_id)], signal=signal)
    return Verdict.ABSENT
