"""Contacts: the people a tenant may write to. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.store.errors import NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.tables import ContactRow
from waypost.store.withdrawing import Withdrawal, withdraw


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """All that a caller says of a contact; addresses are normalised. `consent` is a word on each channel."""

    external_id: str
    email: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)
    time_zone: str | None = None
    locale: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    consent: dict[str, bool] = field(default_factory=dict)


# Any number of contacts in one statement, each replaced whole. Sorted, so that two batches lock the rows they share in
# the same order. xmax tells a row that was there from one that was not.
_PUT = """
INSERT INTO contacts (tenant_id, id, external_id, email, phone, time_zone, locale, attributes, consent)
SELECT %(tenant)s, given.*
FROM jsonb_to_recordset(%(contacts)s::jsonb) AS given (
    id uuid, external_id text, email text, phone text, time_zone text, locale text, attributes jsonb, consent jsonb)
ORDER BY given.id
ON CONFLICT (tenant_id, external_id) DO UPDATE SET
    email = excluded.email, phone = excluded.phone, time_zone = excluded.time_zone, locale = excluded.locale,
    attributes = excluded.attributes, consent = excluded.consent, updated_at = waypost_now()
RETURNING external_id, xmax = 0 AS created
"""


async def put_contacts(connection: AsyncConnection[Any], tenant: UUID, contacts: Sequence[Contact]) -> dict[str, bool]:
    """Make or replace contacts, no external id twice. Whether each was made, by external id."""
    given = [{"id": ids.contact_id(tenant=tenant, external_id=one.external_id), **asdict(one)} for one in contacts]
    cursor = await connection.execute(_PUT, {"tenant": tenant, "contacts": orjson.dumps(given).decode()})
    return dict(await cursor.fetchall())


async def get_contact(session: AsyncSession, tenant: UUID, external_id: str) -> ContactRow:
    """One contact. Raises `NotFoundError`."""
    query = select(ContactRow).where(col(ContactRow.tenant_id) == tenant, col(ContactRow.external_id) == external_id)
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError("contact")
    return row


async def list_contacts(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[ContactRow]:
    """A tenant's contacts in the order they were made."""
    query = select(ContactRow).where(col(ContactRow.tenant_id) == tenant)
    return await fetch_page(session, query, ContactRow, after=after, limit=limit)


_DELETE = "DELETE FROM contacts WHERE tenant_id = %(tenant)s AND id = %(contact)s RETURNING id"

# Those that are under way empty themselves when they end, for which they are woken.
_EMPTY_ENROLLMENTS = """
UPDATE enrollments SET data = '{}'
WHERE tenant_id = %(tenant)s AND contact_id = %(contact)s AND state = 'ended' AND data <> '{}'
"""


async def delete_contact(connection: AsyncConnection[Any], tenant: UUID, external_id: str) -> None:
    """Forget a contact, and cancel its messages that nobody has claimed: its word went with it.

    Messages that went out keep their own address. Raises `NotFoundError`.
    """
    values = {"tenant": tenant, "contact": ids.contact_id(tenant=tenant, external_id=external_id)}
    if await (await connection.execute(_DELETE, values)).fetchone() is None:
        raise NotFoundError("contact")
    await withdraw(connection, Withdrawal.CONTACT_DELETED, **values)
    await connection.execute(_EMPTY_ENROLLMENTS, values)
