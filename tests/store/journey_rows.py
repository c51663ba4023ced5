"""Journeys as publishing leaves them, and contacts, laid down by hand."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.relay.ledger import Ledger
from waypost.journeys.document import read_journey, write_journey
from waypost.journeys.entries import EventEntry
from waypost.journeys.plan import compile_plan, write_plan
from waypost.journeys.watching import watched_events, watches_contact
from waypost.messaging import ids

WAIT: dict[str, Any] = {"kind": "wait", "for": "P2D", "next": "end"}
API: dict[str, Any] = {"kind": "api"}


def document(key: str, **fields: Any) -> dict[str, Any]:
    """A journey of one wait."""
    return {"journey": key, "name": key, "entry": API, "start": "wait", "steps": {"wait": WAIT}} | fields


async def add_version(ledger: Ledger, said: dict[str, Any], *, number: int) -> UUID:
    """A published version of a journey that is there."""
    journey = read_journey(said)
    of = ids.journey_id(tenant=ledger.tenant, key=journey.journey)
    version = ids.journey_version_id(journey=of, number=number)
    await ledger.insert(
        "journey_versions",
        tenant_id=ledger.tenant,
        id=version,
        journey_id=of,
        number=number,
        source="",
        definition=Jsonb(write_journey(journey)),
        plan=write_plan(compile_plan(journey)).decode(),
        watches=list(watched_events(journey)),
        conditions=watches_contact(journey),
        published_by="test",
    )
    return version


async def add_journey(ledger: Ledger, said: dict[str, Any], **columns: Any) -> UUID:
    """A journey that is active in its first version."""
    journey = read_journey(said)
    identity = ids.journey_id(tenant=ledger.tenant, key=journey.journey)
    entry = journey.entry
    base = {
        "tenant_id": ledger.tenant,
        "id": identity,
        "key": journey.journey,
        "name": journey.name,
        "mode": "test",
        "draft": "",
        "state": "active",
        "version": 1,
        "entering": 1,
        "entry_kind": entry.kind,
        "entry_event": entry.event if isinstance(entry, EventEntry) else None,
        "watches_contacts": entry.kind in ("segment", "contact_date") or watches_contact(journey),
    }
    await ledger.insert("journeys", **(base | columns))
    await add_version(ledger, said, number=1)
    return identity


async def add_contact(
    ledger: Ledger, external_id: str, *, attributes: dict[str, Any] | None = None, **more: Any
) -> UUID:
    """A contact."""
    identity = ids.contact_id(tenant=ledger.tenant, external_id=external_id)
    await ledger.insert(
        "contacts",
        tenant_id=ledger.tenant,
        id=identity,
        external_id=external_id,
        attributes=Jsonb(attributes or {}),
        **more,
    )
    return identity


async def end(ledger: Ledger, enrollment: UUID, *, entered_ago: timedelta = timedelta()) -> None:
    """The enrollment is over, and began so long ago."""
    await ledger.execute(
        "UPDATE enrollments SET state = 'ended', how = 'completed', ended_at = waypost_now(),"
        " entered_at = waypost_now() - %s WHERE id = %s",
        (entered_ago, enrollment),
    )


async def enrollments(ledger: Ledger, journey: UUID) -> list[dict[str, Any]]:
    """Everybody who came in, in order."""
    return await ledger.execute("SELECT * FROM enrollments WHERE journey_id = %s ORDER BY entered_at, id", (journey,))
