"""Two contacts that turn out to be one person. Nothing here commits."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.messaging import ids
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import MAX_ATTRIBUTES_BYTES, validate_data
from waypost.store.contact_traits import (
    KnownContact,
    ensure_contacts,
    lock_contacts,
    write_contacts,
)
from waypost.store.contacts import delete_contact

Connection = AsyncConnection[Any]

_PRESENT = "SELECT external_id FROM contacts WHERE tenant_id = %(tenant)s AND id = ANY(%(ids)s)"

# As for a deletion, before anything is moved: what another transaction is adding to either is there by then, or waits.
_LOCK = """
SELECT id FROM contacts WHERE tenant_id = %(tenant)s AND id IN (%(previous)s, %(into)s) ORDER BY id FOR UPDATE
"""

_MOVE_EVENTS = """
UPDATE contact_events SET contact_id = %(into)s WHERE tenant_id = %(tenant)s AND contact_id = %(previous)s
"""

# What the contact itself said of a topic stays; where only the previous one said something, that is its word.
_COPY_TOPICS = """
INSERT INTO topic_subscriptions (tenant_id, topic_id, contact_id, state, source, confirm_sent_at, created_at)
SELECT tenant_id, topic_id, %(into)s, state, source, confirm_sent_at, created_at FROM topic_subscriptions
WHERE tenant_id = %(tenant)s AND contact_id = %(previous)s ORDER BY topic_id ON CONFLICT DO NOTHING
"""

_COPY_LISTS = """
INSERT INTO list_members (tenant_id, list_id, contact_id, added_at)
SELECT tenant_id, list_id, %(into)s, added_at FROM list_members
WHERE tenant_id = %(tenant)s AND contact_id = %(previous)s ORDER BY list_id ON CONFLICT DO NOTHING
"""

# Both were the same person's: what either was sent counts, in the order of the claims.
_ADD_USAGE = """
INSERT INTO cap_usage AS u (tenant_id, contact_id, sent_at, channels)
SELECT tenant_id, %(into)s, sent_at, channels FROM cap_usage
WHERE tenant_id = %(tenant)s AND contact_id = %(previous)s
ON CONFLICT (tenant_id, contact_id) DO UPDATE SET (sent_at, channels) = (
    SELECT COALESCE(array_agg(o.at ORDER BY o.at, o.channel), '{}'),
           COALESCE(array_agg(o.channel ORDER BY o.at, o.channel), '{}')
    FROM (SELECT * FROM unnest(u.sent_at, u.channels)
          UNION ALL SELECT * FROM unnest(excluded.sent_at, excluded.channels)) AS o (at, channel))
"""


async def present_contacts(connection: Connection, tenant: UUID, external_ids: Collection[str]) -> set[str]:
    """Which of these are contacts."""
    if not external_ids:
        return set()
    rows = [ids.contact_id(tenant=tenant, external_id=one) for one in external_ids]
    found = await (await connection.execute(_PRESENT, {"tenant": tenant, "ids": rows})).fetchall()
    return {row[0] for row in found}


async def merge_contact(connection: Connection, tenant: UUID, *, previous: str, into: str) -> bool:
    """Make one contact of two, by their external ids. False where `previous` is not there (any more).

    `into` is made where it is not there. It keeps what is known of it; the previous one fills the gaps, and its events,
    lists and words on topics become its own. Then the previous one is deleted as `delete_contact` does, with what it
    walks and waits for.
    """
    if previous == into or not await present_contacts(connection, tenant, [previous]):
        return False
    values = {
        "tenant": tenant,
        "previous": ids.contact_id(tenant=tenant, external_id=previous),
        "into": ids.contact_id(tenant=tenant, external_id=into),
    }
    await ensure_contacts(connection, tenant, [into])
    await connection.execute(_LOCK, values)
    locked = {one.id: one for one in await lock_contacts(connection, tenant, [values["previous"], values["into"]])}
    if len(locked) < 2:
        return False
    # Also where nothing is filled: it has done more by now, and who watches contacts is told by a change of the row.
    await write_contacts(connection, tenant, [_filled(locked[values["into"]], locked[values["previous"]])])
    for statement in (_MOVE_EVENTS, _COPY_TOPICS, _COPY_LISTS, _ADD_USAGE):
        await connection.execute(statement, values)
    await delete_contact(connection, tenant, previous)
    return True


def _filled(contact: KnownContact, previous: KnownContact) -> KnownContact:
    plain = ("email", "phone", "time_zone", "locale")
    gaps = {name: getattr(previous, name) for name in plain if getattr(contact, name) is None}
    attributes = {**previous.attributes, **contact.attributes}
    try:
        validate_data(attributes, field="attributes", max_bytes=MAX_ATTRIBUTES_BYTES)
    except LabelError:
        attributes = dict(contact.attributes)  # both together are too much
    return replace(contact, **gaps, attributes=attributes, consent={**previous.consent, **contact.consent})
