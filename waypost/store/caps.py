"""Frequency caps, taken with the claim: two campaigns in the same second cannot both pass.

A contact's use of its caps is one row, so that one lock decides about the caps of a channel and of all together. Inside
the caller's transaction, which commits. Locks in everybody's order: the contact (never waited for), then its use, by
contact id, then messages. So take and give back before messages are locked.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging.rules import FrequencyCap
from waypost.messaging.values import Channel

Connection = AsyncConnection[Any]

_STRAGGLERS = timedelta(hours=1)
"""Uses are kept so much longer than they count, for a claim that had to wait looks back from when it began."""
_LONGEST_CLAIM = timedelta(minutes=1)
"""No claim's transaction lasts longer: an earlier use is another message's."""

# The conflicting row is locked and read as it is by then, whatever the statement's snapshot says; a use that was
# committed meanwhile, and may be dated later, counts. A contact that is being deleted is passed over: waiting for its
# deleter, who waits for messages, could be for ever. Uses are kept as long as anybody looked back who counted: a
# journey's own cap may reach further than its tenant's.
_TAKE = """
WITH asked AS MATERIALIZED (
    SELECT c.id FROM unnest(%(contacts)s::uuid[]) AS a (id) CROSS JOIN LATERAL (
        SELECT id FROM contacts WHERE tenant_id = %(tenant)s AND id = a.id LIMIT 1 FOR KEY SHARE SKIP LOCKED) c
)
INSERT INTO cap_usage AS u (tenant_id, contact_id, sent_at, channels, keep)
SELECT %(tenant)s, id, ARRAY[waypost_now()], ARRAY[%(channel)s::text], %(keep)s FROM asked ORDER BY id
ON CONFLICT (tenant_id, contact_id) DO UPDATE SET (sent_at, channels, keep) = (
    SELECT array_agg(o.at ORDER BY o.place) || waypost_now(),
           array_agg(o.channel ORDER BY o.place) || %(channel)s::text, GREATEST(u.keep, %(keep)s::interval)
    FROM unnest(u.sent_at, u.channels) WITH ORDINALITY AS o (at, channel, place)
    WHERE o.at > waypost_now() - GREATEST(u.keep, %(keep)s::interval))
WHERE NOT EXISTS (
    SELECT FROM unnest(%(limits)s::int[], %(periods)s::interval[], %(channels)s::text[]) AS c (most, period, channel)
    WHERE (SELECT count(*) FROM unnest(u.sent_at, u.channels) AS o (at, channel)
           WHERE o.at > waypost_now() - c.period AND (c.channel IS NULL OR o.channel = c.channel)) >= c.most)
RETURNING contact_id
"""


async def take_caps(
    connection: Connection,
    *,
    tenant: UUID,
    contacts: Sequence[UUID],
    channel: Channel,
    caps: Sequence[FrequencyCap],
    ignore: bool = False,
) -> set[UUID]:
    """Count one message more to each of `contacts` that may have one; those that may.

    `caps` are all of the tenant's, and a journey's own; without any nothing is counted. With `ignore` they are counted
    against, not asked. A contact that is gone is not among the result.
    """
    if not caps:
        return set(contacts)
    asked = [] if ignore else [cap for cap in caps if cap.channel is None or cap.channel is channel]
    values = {
        "tenant": tenant,
        "contacts": list(contacts),
        "channel": channel.value,
        "keep": max(cap.period for cap in caps) + _STRAGGLERS,
        "limits": [cap.limit for cap in asked],
        "periods": [cap.period for cap in asked],
        "channels": [cap.channel.value if cap.channel else None for cap in asked],
    }
    cursor = await connection.execute(_TAKE, values)
    return {row[0] for row in await cursor.fetchall()}


# Of the uses on the channel the last one that is not after the attempt's claim: in one transaction with it the use came
# first, by no more than that transaction lasts. Within that transaction it is the last one, for the row is locked.
_GIVE_BACK = """
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%(tenants)s::uuid[], %(contacts)s::uuid[], %(channels)s::text[], %(times)s::timestamptz[])
        AS g (tenant_id, contact_id, channel, claimed_at)
), held AS MATERIALIZED (
    SELECT g.* FROM given g JOIN cap_usage w ON w.tenant_id = g.tenant_id AND w.contact_id = g.contact_id
    ORDER BY w.tenant_id, w.contact_id FOR NO KEY UPDATE OF w
)
UPDATE cap_usage u SET (sent_at, channels) = (
    SELECT COALESCE(array_agg(o.at ORDER BY o.place), '{}'), COALESCE(array_agg(o.channel ORDER BY o.place), '{}')
    FROM unnest(u.sent_at, u.channels) WITH ORDINALITY AS o (at, channel, place)
    WHERE o.place IS DISTINCT FROM (
        SELECT p.place FROM unnest(u.sent_at, u.channels) WITH ORDINALITY AS p (at, channel, place)
        WHERE p.channel = h.channel AND (h.claimed_at IS NULL
              OR p.at <= h.claimed_at AND p.at > h.claimed_at - %(longest)s::interval)
        ORDER BY CASE WHEN h.claimed_at IS NULL THEN p.place END DESC, p.at DESC LIMIT 1))
FROM held h
WHERE u.tenant_id = h.tenant_id AND u.contact_id = h.contact_id
"""


async def give_back_caps(
    connection: Connection, *, tenant: UUID, channel: Channel, uses: Iterable[tuple[UUID, datetime]]
) -> None:
    """What was counted for attempts that are void by now, as (contact, the attempt's claimed_at)."""
    await _give_back(connection, [(tenant, contact, channel.value, claimed_at) for contact, claimed_at in uses])


async def give_back_just_taken(
    connection: Connection, *, tenant: UUID, channel: Channel, contacts: Iterable[UUID]
) -> None:
    """What this transaction took for contacts whose message another claim had, or nobody may have.

    Their rows are locked since, so that the last use is this transaction's own.
    """
    await _give_back(connection, [(tenant, contact, channel.value, None) for contact in contacts])


_VOIDED = """
SELECT m.tenant_id, m.contact_id, m.channel, a.claimed_at
FROM unnest(%(tenants)s::uuid[], %(messages)s::uuid[]) AS v (tenant_id, id)
JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id
JOIN attempts a ON a.tenant_id = m.tenant_id AND a.message_id = m.id AND a.number = m.attempts
    AND a.month = waypost_month(m.created_at)
WHERE m.class = 'marketing' AND m.contact_id IS NOT NULL AND a.state = 'void'
"""


async def give_back_caps_of_voided(connection: Connection, messages: Sequence[tuple[UUID, UUID]]) -> None:
    """What was counted for the last attempts of `messages` (tenant, id), where those are void. As any role."""
    values = {"tenants": [tenant for tenant, _ in messages], "messages": [message for _, message in messages]}
    await _give_back(connection, await (await connection.execute(_VOIDED, values)).fetchall())


_OF_ATTEMPT = """
SELECT m.tenant_id, m.contact_id, m.channel, a.claimed_at
FROM attempts a JOIN messages m ON m.tenant_id = a.tenant_id AND m.id = a.message_id
WHERE a.tenant_id = %s AND a.id = %s AND a.month = %s AND (a.state || '') IN ('in_flight', 'unknown')
  AND m.contact_id IS NOT NULL
"""


async def give_back_caps_of_attempt(connection: Connection, *, tenant: UUID, attempt: UUID, month: date) -> None:
    """What was counted for an attempt that is about to become void; nothing where its end is known already."""
    await _give_back(connection, await (await connection.execute(_OF_ATTEMPT, (tenant, attempt, month))).fetchall())


async def _give_back(connection: Connection, uses: Iterable[tuple[UUID, UUID, str, datetime | None]]) -> None:
    """One use of a contact at a time: an UPDATE changes no row twice."""
    by_contact: defaultdict[tuple[UUID, UUID], list[tuple[UUID, UUID, str, datetime | None]]] = defaultdict(list)
    for use in uses:
        by_contact[use[:2]].append(use)
    while by_contact:
        tenants, contacts, channels, times = zip(*(of_contact.pop() for of_contact in by_contact.values()), strict=True)
        values = {
            "tenants": list(tenants),
            "contacts": list(contacts),
            "channels": list(channels),
            "times": list(times),
            "longest": _LONGEST_CLAIM,
        }
        await connection.execute(_GIVE_BACK, values)
        by_contact = defaultdict(list, {contact: rest for contact, rest in by_contact.items() if rest})
