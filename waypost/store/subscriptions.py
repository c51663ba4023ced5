"""A contact's word on the tenant's topics, and how it is changed. Functions run in the caller's transaction.

No word: a topic with `opt_in` is not sent, any other is. `pending` waits for the contact's click and is not sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

Connection = AsyncConnection[Any]

CONFIRM_AGAIN_AFTER = timedelta(minutes=10)
"""Asked for sooner, a confirmation is not sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicWord:
    """A topic and what a contact said of it. `state` is a Subscription, None: no word; `receives`: it would be sent."""

    topic_id: UUID
    key: str
    name: str
    description: str
    opt_in: bool
    double_opt_in: bool
    state: str | None
    receives: bool
    source: str | None
    confirm_sent_at: datetime | None
    confirm_due: bool
    updated_at: datetime | None


# The rule of what is sent is here and in campaigns' gate, which reads the same columns (waypost/messaging/gate.py).
_WORDS = """
SELECT t.id AS topic_id, t.key, t.name, t.description, t.opt_in, t.double_opt_in, s.state,
       COALESCE(s.state = 'subscribed', NOT t.opt_in) AS receives, s.source, s.confirm_sent_at,
       COALESCE(s.state = 'pending', false)
           AND COALESCE(s.confirm_sent_at < waypost_now() - %(again)s, true) AS confirm_due,
       s.updated_at
FROM topics t
LEFT JOIN LATERAL (
    SELECT * FROM topic_subscriptions
    WHERE tenant_id = t.tenant_id AND topic_id = t.id AND contact_id = %(contact)s LIMIT 1) s ON true
WHERE t.tenant_id = %(tenant)s AND (%(topics)s::uuid[] IS NULL OR t.id = ANY(%(topics)s))
ORDER BY t.created_at, t.id
"""


async def words(
    connection: Connection, *, tenant: UUID, contact: UUID, topics: Sequence[UUID] | None = None
) -> list[TopicWord]:
    """All topics (or these), in the order they were made, with a contact's word on each."""
    values = {"tenant": tenant, "contact": contact, "again": CONFIRM_AGAIN_AFTER, "topics": topics and list(topics)}
    async with connection.cursor(row_factory=class_row(TopicWord)) as cursor:
        await cursor.execute(_WORDS, values)
        return await cursor.fetchall()


# Who subscribes to a topic with double opt-in is pending until the click, unless subscribed already. Locks keep topic
# and contact from going meanwhile; where one has gone there is no row. Sorted, so that two statements lock alike.
_SAY = """
INSERT INTO topic_subscriptions AS s (tenant_id, topic_id, contact_id, state, source)
SELECT t.tenant_id, t.id, c.id,
       CASE WHEN NOT g.wanted THEN 'unsubscribed' WHEN t.double_opt_in AND NOT %(confirmed)s THEN 'pending'
            ELSE 'subscribed' END, %(source)s
FROM unnest(%(topics)s::uuid[], %(wanted)s::boolean[]) AS g (topic, wanted)
JOIN topics t ON t.tenant_id = %(tenant)s AND t.id = g.topic
JOIN contacts c ON c.tenant_id = %(tenant)s AND c.id = %(contact)s
ORDER BY t.id
FOR KEY SHARE OF t, c
ON CONFLICT (tenant_id, topic_id, contact_id) DO UPDATE
SET state = excluded.state, source = excluded.source, updated_at = waypost_now()
WHERE s.state <> excluded.state AND NOT (s.state = 'subscribed' AND excluded.state = 'pending')
"""


async def say(
    connection: Connection,
    *,
    tenant: UUID,
    contact: UUID,
    wanted: Mapping[UUID, bool],
    source: str,
    confirmed: bool = False,
) -> None:
    """Subscribe a contact to topics (true) or have it leave them (false). Saying the same again changes nothing.

    `confirmed`: double opt-in has been done. Topics and contacts that are not there are passed over.
    """
    values = {
        "tenant": tenant,
        "contact": contact,
        "topics": list(wanted),
        "wanted": list(wanted.values()),
        "source": source,
        "confirmed": confirmed,
    }
    await connection.execute(_SAY, values)


_CONFIRM_SENT = """
UPDATE topic_subscriptions SET confirm_sent_at = waypost_now()
WHERE tenant_id = %s AND topic_id = %s AND contact_id = %s AND confirm_sent_at IS NOT DISTINCT FROM %s
"""


async def confirm_sent(
    connection: Connection, *, tenant: UUID, topic: UUID, contact: UUID, before: datetime | None
) -> None:
    """Note that the confirmation was accepted for sending, unless another was since `before` was read."""
    await connection.execute(_CONFIRM_SENT, (tenant, topic, contact, before))


# The click proves the mailbox that the message went to: one that is no longer the contact's proves nothing. A
# confirmation that was never noted as sent has been: a later one must have another key.
_CONFIRM = """
WITH asked AS MATERIALIZED (
    SELECT s.state, c.id, CASE m.channel WHEN 'email' THEN lower(c.email) = lower(m.address)
                          ELSE c.phone = m.address END AS same
    FROM topic_subscriptions s
    JOIN contacts c ON c.tenant_id = s.tenant_id AND c.id = s.contact_id
    JOIN messages m ON m.tenant_id = s.tenant_id AND m.id = %(message)s AND m.contact_id = c.id
    WHERE s.tenant_id = %(tenant)s AND s.topic_id = %(topic)s AND s.contact_id = %(contact)s
), confirmed AS (
    UPDATE topic_subscriptions s SET state = 'subscribed', source = 'double_opt_in', updated_at = waypost_now(),
           confirm_sent_at = COALESCE(s.confirm_sent_at, waypost_now())
    FROM asked a
    WHERE s.tenant_id = %(tenant)s AND s.topic_id = %(topic)s AND s.contact_id = %(contact)s
      AND s.state = 'pending' AND a.same
    RETURNING s.state
)
SELECT a.same AND (a.state = 'subscribed' OR EXISTS (SELECT FROM confirmed)) FROM asked a
"""


async def confirm(connection: Connection, *, tenant: UUID, topic: UUID, contact: UUID, message: UUID) -> bool:
    """Confirm a pending subscription by the message that asked. False: there is none, or not at that address."""
    values = {"tenant": tenant, "topic": topic, "contact": contact, "message": message}
    row = await (await connection.execute(_CONFIRM, values)).fetchone()
    return row is not None and bool(row[0])
