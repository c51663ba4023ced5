"""People of tests/segments/crowd.py as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from tests.segments.crowd import CAMPAIGNS, LISTS, NOW, SEGMENTS, TOPICS
from waypost.messaging import ids
from waypost.segments.people import Person

Connection = psycopg.Connection[Any]


def lay_tenant(connection: Connection, people: Sequence[Person]) -> UUID:
    """A tenant with these contacts and all that is around them; as the owner of the tables."""
    tenant, account, sender = uuid4(), uuid4(), uuid4()
    connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'x')", (tenant,))
    connection.execute(
        "INSERT INTO provider_accounts (id, name, kind, mode, credentials, feed)"
        " VALUES (%s, %s, 'ses', 'test', '{}', 'durable')",
        (account, str(account)),
    )
    connection.execute(
        "INSERT INTO senders (tenant_id, id, key, channel, address, account_id, mode)"
        " VALUES (%s, %s, 's', 'email', 's@example.com', %s, 'test')",
        (tenant, sender, account),
    )
    for key in LISTS:
        row = {"tenant_id": tenant, "id": ids.list_id(tenant=tenant, key=key), "key": key, "name": key}
        _insert(connection, "lists", [row])
    for key in TOPICS:
        row = {"tenant_id": tenant, "id": ids.topic_id(tenant=tenant, key=key), "key": key, "name": key}
        _insert(connection, "topics", [row])
    for key, rule in SEGMENTS.items():
        row = {"id": ids.segment_id(tenant=tenant, key=key), "key": key, "name": key, "rule": Jsonb(rule)}
        _insert(connection, "segments", [{"tenant_id": tenant, **row}])
    runs = {key: _run(connection, tenant, account, sender, key) for key in CAMPAIGNS}
    _contacts(connection, tenant, people)
    _around(connection, tenant, people)
    _messages(connection, tenant, account, sender, runs, people)
    return tenant


def _run(connection: Connection, tenant: UUID, account: UUID, sender: UUID, key: str) -> UUID:
    campaign, run = uuid4(), uuid4()
    row = {"tenant_id": tenant, "id": campaign, "key": key, "name": key, "mode": "test", "definition": Jsonb({})}
    _insert(connection, "campaigns", [row])
    run_row = {
        "tenant_id": tenant, "id": run, "campaign_id": campaign, "number": 1, "kind": "first", "mode": "test",
        "definition": Jsonb({}), "channel": "email", "sender_id": sender, "account_id": account, "scheduled_at": NOW,
    }  # fmt: skip
    _insert(connection, "campaign_runs", [run_row])
    return run


def _contact(tenant: UUID, person: Person) -> UUID:
    return ids.contact_id(tenant=tenant, external_id=person.external_id)


def _contacts(connection: Connection, tenant: UUID, people: Sequence[Person]) -> None:
    _insert(
        connection,
        "contacts",
        [
            {
                "tenant_id": tenant,
                "id": _contact(tenant, person),
                **{name: getattr(person, name) for name in ("external_id", "email", "phone", "time_zone", "locale")},
                "attributes": Jsonb(person.attributes),
                "consent": Jsonb(person.consent),
                "created_at": person.created_at,
            }
            for person in people
        ],
    )


def _around(connection: Connection, tenant: UUID, people: Sequence[Person]) -> None:
    members = [
        {"tenant_id": tenant, "list_id": ids.list_id(tenant=tenant, key=key), "contact_id": _contact(tenant, person)}
        for person in people
        for key in person.lists
    ]
    subscriptions = [
        {
            "tenant_id": tenant,
            "topic_id": ids.topic_id(tenant=tenant, key=key),
            "contact_id": _contact(tenant, person),
            "state": state,
        }
        for person in people
        for key, state in person.topics.items()
    ]
    events = [
        {
            "tenant_id": tenant,
            "id": uuid4(),
            "contact_id": _contact(tenant, person),
            "name": event.name,
            "properties": Jsonb(event.properties),
            "occurred_at": event.occurred_at,
            "month": event.occurred_at.astimezone(UTC).date().replace(day=1),
        }
        for person in people
        for event in person.events
    ]
    _insert(connection, "list_members", members)
    _insert(connection, "topic_subscriptions", subscriptions)
    _insert(connection, "contact_events", events)


def _messages(
    connection: Connection,
    tenant: UUID,
    account: UUID,
    sender: UUID,
    runs: Mapping[str, UUID],
    people: Sequence[Person],
) -> None:
    rows = []
    for person in people:
        for message in person.messages:
            run = runs.get(message.campaign or "")
            template = ids.template_id(tenant=tenant, key=message.template) if message.template else None
            rows.append(
                {
                    "tenant_id": tenant,
                    "id": uuid4(),
                    "source": "campaign" if run else "transactional",
                    "source_id": uuid4(),
                    "run_id": run,
                    "lane": "bulk",
                    "class": "transactional",
                    "mode": "test",
                    "channel": "email",
                    "contact_id": _contact(tenant, person),
                    "address": "a@example.com",
                    "sender_id": sender,
                    "account_id": account,
                    "template_id": template,
                    "phase": "closed" if message.outcome else "ready",
                    "due_at": NOW,
                    "expires_at": NOW,
                    "outcome": message.outcome,
                    "outcome_reason": message.outcome and "accepted",
                    "outcome_at": message.outcome_at,
                    "delivery": message.delivery,
                    "bounced": message.bounced,
                }
            )
    _insert(connection, "messages", rows)


def _insert(connection: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    names = ", ".join(rows[0])
    values = ", ".join(f"%({name})s" for name in rows[0])
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({values})", rows)  # noqa: S608 - our own names
