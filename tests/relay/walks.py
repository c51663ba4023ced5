"""Enrollments and the messages of their visits, laid by hand as a decision leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from tests.relay.ledger import Ledger
from tests.relay.runs import add_contacts, add_template
from waypost.messaging import ids
from waypost.messaging.values import Part

NEWS = {"channel": "email", "subject": "News", "text": "Hello {{ data.name }}\n{{ unsubscribe_url }}"}


@dataclass(frozen=True)
class Walked:
    """One contact in a journey."""

    journey: UUID
    enrollment: UUID
    contact: UUID
    template: UUID


async def add_journey(ledger: Ledger, rules: dict[str, Any] | None = None, **columns: Any) -> UUID:
    """An active journey with one version, whose definition is these rules: the gate reads nothing else of it."""
    identity = uuid4()
    base: dict[str, Any] = {"tenant_id": ledger.tenant, "id": identity, "key": str(identity), "name": "Walk"}
    state = {"mode": "test", "draft": "{}", "state": "active", "version": 1, "entering": 1}
    await ledger.insert("journeys", **(base | state | columns))
    await ledger.insert(
        "journey_versions",
        tenant_id=ledger.tenant,
        id=ids.journey_version_id(journey=identity, number=1),
        journey_id=identity,
        number=1,
        source="{}",
        definition=Jsonb(rules or {}),
        plan="{}",
        watches=[],
        conditions=False,
        published_by="test",
    )
    return identity


async def add_enrollment(
    ledger: Ledger, rules: dict[str, Any] | None = None, *, contact: dict[str, Any] | None = None, **columns: Any
) -> Walked:
    """A contact (columns as given) that is in a journey of its own."""
    journey = await add_journey(ledger, rules)
    [person] = await add_contacts(ledger, 1, **(contact or {}))
    identity = ids.enrollment_id(journey=journey, contact=person, key="", number=1)
    base: dict[str, Any] = {"tenant_id": ledger.tenant, "id": identity, "journey_id": journey, "contact_id": person}
    version = ids.journey_version_id(journey=journey, number=1)
    where = {"version_id": version, "number": 1, "mode": "test", "source": "api", "step": "welcome", "visits": 1}
    await ledger.insert("enrollments", **(base | where | columns))
    return Walked(journey, identity, person, await add_template(ledger, NEWS))


async def add_visit(ledger: Ledger, walked: Walked, *, visit: int = 1, **columns: Any) -> UUID:
    """The primary message of a visit, which waits for the enrollment's execution."""
    now: datetime = (await ledger.execute("SELECT waypost_now() AS now"))[0]["now"]
    source = ids.visit_id(enrollment=walked.enrollment, number=visit)
    part = columns.get("part", Part.PRIMARY)
    base: dict[str, Any] = {
        "id": ids.message_id(tenant=ledger.tenant, source_id=source, part=part),
        "source": "journey",
        "source_id": source,
        "enrollment_id": walked.enrollment,
        "contact_id": walked.contact,
        "lane": "bulk",
        "class": "marketing",
        "template_id": walked.template,
        "template_version": 1,
        "payload": Jsonb({"data": {"name": "Ann"}}),
        "metadata": Jsonb({"visit": visit}),
        "phase": "waiting",
        "send_at": now,
    }
    return await ledger.add_message(**(base | columns))


async def add_pair(ledger: Ledger, walked: Walked, **primary: Any) -> tuple[UUID, UUID]:
    """A primary with its fallback ten minutes after it."""
    first = await add_visit(ledger, walked, fallback_after=timedelta(minutes=10), **primary)
    second = await add_visit(ledger, walked, part="fallback", primary_id=first, due_at=None)
    return first, second


async def inbox(ledger: Ledger, walked: Walked) -> list[tuple[str, dict[str, Any]]]:
    """What the enrollment is told."""
    rows = await ledger.execute(
        "SELECT kind, detail FROM enrollment_inbox WHERE enrollment_id = %s ORDER BY id", (walked.enrollment,)
    )
    return [(row["kind"], row["detail"]) for row in rows]


async def wakes(ledger: Ledger, walked: Walked) -> int:
    """How many hints wait for its execution."""
    rows = await ledger.execute("SELECT id FROM outbox WHERE workflow_id = %s", (f"journey/{walked.enrollment}",))
    return len(rows)


async def add_topic(ledger: Ledger, *, opt_in: bool = False) -> UUID:
    """A topic of the tenant's."""
    topic = uuid4()
    await ledger.insert("topics", tenant_id=ledger.tenant, id=topic, key=str(topic), name="News", opt_in=opt_in)
    return topic


async def say_of_topic(ledger: Ledger, walked: Walked, topic: UUID, state: str) -> None:
    """The contact's word on it."""
    columns = {"tenant_id": ledger.tenant, "topic_id": topic, "contact_id": walked.contact, "state": state}
    await ledger.insert("topic_subscriptions", **columns)


async def set_tenant(ledger: Ledger, **columns: Any) -> None:
    """Change columns of the tenant's row."""
    for name, value in columns.items():
        await ledger.execute(f"UPDATE tenants SET {name} = %s WHERE id = %s", (value, ledger.tenant))  # noqa: S608 - the test's own
