"""What a person who follows a signed link is shown, and what the link does: leave a topic, or all marketing.

Functions run inside the caller's transaction, as waypost_app for the link's tenant, and never commit.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.messaging.addresses import address_key
from waypost.messaging.link_tokens import LinkGrant
from waypost.messaging.values import Channel, SuppressionReason
from waypost.store import subscriptions
from waypost.store.event_effects import Suppression, suppress

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a link is about, as it is now. `mode`: of the message, else of what the tenant sends with."""

    tenant_name: str
    mode: str
    external_id: str | None
    topic_name: str | None
    topic_state: str | None
    confirm_open: bool
    message_channel: str | None
    message_address: str | None = field(repr=False)
    email: str | None = field(repr=False)
    phone: str | None = field(repr=False)

    @property
    def contact_known(self) -> bool:
        """Whether the link's contact is still there."""
        return self.external_id is not None

    def addresses(self, channel: Channel) -> set[str]:
        """Where the person is reached on a channel: the contact's address, and the one that the message went to."""
        own = self.email if channel is Channel.EMAIL else self.phone
        sent_to = self.message_address if self.message_channel == channel else None
        return {address for address in (own, sent_to) if address}


_VISIT = """
SELECT n.name AS tenant_name,
       COALESCE(m.mode, (SELECT mode FROM senders WHERE tenant_id = n.id AND channel = 'email' AND is_default
                         ORDER BY mode = 'live' DESC LIMIT 1), 'test') AS mode,
       c.external_id, t.name AS topic_name, s.state AS topic_state,
       COALESCE(m.contact_id = c.id AND s.state IS NOT NULL
                AND CASE m.channel WHEN 'email' THEN lower(c.email) = lower(m.address) ELSE c.phone = m.address END,
                false) AS confirm_open,
       m.channel AS message_channel, m.address AS message_address, c.email, c.phone
FROM tenants n
LEFT JOIN LATERAL (SELECT * FROM messages WHERE tenant_id = n.id AND id = %(message)s LIMIT 1) m ON true
LEFT JOIN LATERAL (SELECT * FROM contacts WHERE tenant_id = n.id AND id = %(contact)s LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT * FROM topics WHERE tenant_id = n.id AND id = %(topic)s LIMIT 1) t ON true
LEFT JOIN LATERAL (
    SELECT state FROM topic_subscriptions
    WHERE tenant_id = n.id AND topic_id = t.id AND contact_id = c.id LIMIT 1) s ON true
WHERE n.id = %(tenant)s
"""


async def visit(connection: Connection, grant: LinkGrant) -> Visit | None:
    """What the link is about; None where its tenant is not there any more."""
    async with connection.cursor(row_factory=class_row(Visit)) as cursor:
        await cursor.execute(_VISIT, _values(grant))
        return await cursor.fetchone()


async def left_all(connection: Connection, grant: LinkGrant, seen: Visit) -> bool:
    """Whether the person has left all marketing on the link's channel."""
    keys = [address_key(grant.channel, address) for address in seen.addresses(grant.channel)]
    values = {"tenant": grant.tenant, "channel": grant.channel.value, "addresses": keys}
    return await (await connection.execute(_SUPPRESSED, values)).fetchone() is not None


_SUPPRESSED = """
SELECT reason FROM suppressions
WHERE tenant_id = %(tenant)s AND channel = %(channel)s AND address = ANY(%(addresses)s) AND reason = 'unsubscribed'
LIMIT 1
"""


async def unsubscribe(connection: Connection, grant: LinkGrant, seen: Visit) -> None:
    """Do what an unsubscribe link says, and count it for its message. Done again it changes nothing.

    Where the topic or the contact is not there any more, no word can be kept with them: the address is suppressed.
    """
    if grant.topic is not None and grant.contact is not None and seen.topic_name is not None and seen.contact_known:
        wanted = {grant.topic: False}
        await subscriptions.say(
            connection, tenant=grant.tenant, contact=grant.contact, wanted=wanted, source="unsubscribe_link"
        )
    else:
        await leave_all(connection, grant, seen, [grant.channel])
    await count_unsubscribed(connection, grant)


async def leave_all(connection: Connection, grant: LinkGrant, seen: Visit, channels: Iterable[Channel]) -> None:
    """Suppress the person's addresses on channels as `unsubscribed`, which stops marketing; stronger reasons stay."""
    found = [
        Suppression(
            tenant_id=grant.tenant,
            channel=channel,
            address=address_key(channel, address),
            reason=SuppressionReason.UNSUBSCRIBED,
            message_id=grant.message,
        )
        for channel in channels
        for address in seen.addresses(channel)
    ]
    await suppress(connection, found)


_COUNT_UNSUBSCRIBED = """
UPDATE messages SET unsubscribed = true WHERE tenant_id = %(tenant)s AND id = %(message)s AND NOT unsubscribed
"""


async def count_unsubscribed(connection: Connection, grant: LinkGrant) -> None:
    """Count the link's message, if it names one, as unsubscribed from: its run's tally follows."""
    if grant.message is not None:
        await connection.execute(_COUNT_UNSUBSCRIBED, _values(grant))


_COME_BACK = """
DELETE FROM suppressions
WHERE tenant_id = %(tenant)s AND channel = %(channel)s AND address = ANY(%(addresses)s) AND reason = 'unsubscribed'
"""


async def come_back(connection: Connection, grant: LinkGrant, seen: Visit) -> None:
    """The person wants something again: lift what `leave_all` did, and nothing that has another reason."""
    for channel in Channel:
        keys = [address_key(channel, address) for address in seen.addresses(channel)]
        if keys:
            values = {"tenant": grant.tenant, "channel": channel.value, "addresses": keys}
            await connection.execute(_COME_BACK, values)


def _values(grant: LinkGrant) -> dict[str, Any]:
    return {
        "tenant": grant.tenant,
        "contact": grant.contact,
        "topic": grant.topic,
        "message": grant.message,
    }
