"""What is said of contacts bit by bit: each word changes what it names and leaves the rest. Nothing here commits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from waypost.messaging import ids
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import MAX_ATTRIBUTES_BYTES, validate_data

GROUPS = "groups"
"""The attribute that holds a contact's groups by their ids."""

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is said of one contact. None takes a field or an attribute away.

    `gaps` fill fields that nobody has said anything of; `groups` are attributes of each group that the contact is in.
    """

    external_id: str
    fields: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    gaps: Mapping[str, str] = field(default_factory=dict, repr=False)
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownContact:
    """A contact's row as far as words about it change it."""

    id: UUID
    email: str | None = field(repr=False)
    phone: str | None = field(repr=False)
    time_zone: str | None
    locale: str | None
    attributes: Mapping[str, Any] = field(repr=False)
    consent: Mapping[str, Any]

    def told(self, traits: Traits) -> "KnownContact":
        """The contact once this is said of it. Raises `LabelError` where its attributes would pass their bound."""
        fields: dict[str, Any] = {name: said for name, said in traits.gaps.items() if getattr(self, name) is None}
        fields |= traits.fields
        if traits.attributes or traits.groups:
            fields["attributes"] = _merged_attributes(self.attributes, traits)
        return replace(self, **fields)


def _merged_attributes(attributes: Mapping[str, Any], traits: Traits) -> dict[str, Any]:
    merged = _merged(attributes, traits.attributes)
    if traits.groups:
        known = merged.get(GROUPS)
        groups = dict(known) if isinstance(known, dict) else {}
        for name, said in traits.groups.items():
            group = groups.get(name)
            groups[name] = _merged(group if isinstance(group, dict) else {}, said)
        merged[GROUPS] = groups
    return validate_data(merged, field="attributes", max_bytes=MAX_ATTRIBUTES_BYTES)


def _merged(known: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**known, **said}.items() if name not in said or value is not None}


# Sorted, so that two batches lock the rows they share in the same order.
_ENSURE = """
INSERT INTO contacts (tenant_id, id, external_id)
SELECT %(tenant)s, g.id, g.external_id FROM unnest(%(ids)s::uuid[], %(external_ids)s::text[]) AS g (id, external_id)
WHERE NOT EXISTS (SELECT FROM contacts c WHERE c.tenant_id = %(tenant)s AND c.id = g.id)
ORDER BY g.id ON CONFLICT DO NOTHING
"""

_READ = """
SELECT id, email, phone, time_zone, locale, attributes::text, consent FROM contacts
WHERE tenant_id = %(tenant)s AND id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE
"""

_WRITE = """
UPDATE contacts c SET email = g.email, phone = g.phone, time_zone = g.time_zone, locale = g.locale,
    attributes = g.attributes, consent = g.consent, updated_at = waypost_now()
FROM jsonb_to_recordset(%(contacts)s::jsonb) AS g (
    id uuid, email text, phone text, time_zone text, locale text, attributes jsonb, consent jsonb)
WHERE c.tenant_id = %(tenant)s AND c.id = g.id
"""


async def ensure_contacts(connection: Connection, tenant: UUID, external_ids: Collection[str]) -> None:
    """Make the contacts that are not there, with nothing known of them."""
    if external_ids:
        names = sorted(set(external_ids))
        rows = [ids.contact_id(tenant=tenant, external_id=name) for name in names]
        await connection.execute(_ENSURE, {"tenant": tenant, "ids": rows, "external_ids": names})


async def tell_contacts(connection: Connection, tenant: UUID, said: Sequence[Traits]) -> dict[int, LabelError]:
    """Say these things of contacts that are there, in order; those of no contact are passed over.

    By their places in `said`, what was not taken because a contact's attributes would have passed their bound.
    """
    if not said:
        return {}
    rows = [ids.contact_id(tenant=tenant, external_id=one.external_id) for one in said]
    before = {one.id: one for one in await lock_contacts(connection, tenant, rows)}
    after, refused = dict(before), {}
    for place, (row, one) in enumerate(zip(rows, said, strict=True)):
        if row in after:
            try:
                after[row] = after[row].told(one)
            except LabelError as error:
                refused[place] = error
    await write_contacts(connection, tenant, [one for row, one in after.items() if changed(before[row], one)])
    return refused


def changed(before: KnownContact, after: KnownContact) -> bool:
    """Whether there is anything to write. Compared as JSON: to Python, 1 and true are the same."""
    return orjson.dumps(before) != orjson.dumps(after)


async def lock_contacts(connection: Connection, tenant: UUID, rows: Collection[UUID]) -> list[KnownContact]:
    """The contacts of these ids that are there, locked against changes, in the order of their ids."""
    found = await (await connection.execute(_READ, {"tenant": tenant, "ids": list(set(rows))})).fetchall()
    return [
        KnownContact(
            id=row[0],
            email=row[1],
            phone=row[2],
            time_zone=row[3],
            locale=row[4],
            # Not psycopg's: Python's json reads 1e20 as an integer, which orjson does not write.
            attributes=orjson.loads(row[5]),
            consent=row[6],
        )
        for row in found
    ]


async def write_contacts(connection: Connection, tenant: UUID, contacts: Sequence[KnownContact]) -> None:
    """Write down contacts that are locked."""
    if contacts:
        given = orjson.dumps(list(contacts)).decode()
        await connection.execute(_WRITE, {"tenant": tenant, "contacts": given})
