"""Journeys over the API: documents, and tenants who have what those name."""

from __future__ import annotations

from typing import Any

import httpx
import psycopg

from tests.api.running import Api, Tenant, ok
from tests.services import Database

YAML = {"Content-Type": "application/yaml"}


def document(
    steps: str, *, key: str = "tour", head: str = "entry: {kind: api, expects: [plan]}", start: str = "a"
) -> str:
    """A journey of these steps, each a line of YAML."""
    lines = "\n".join(f"  {line.strip()}" for line in steps.strip().splitlines())
    return f"journey: {key}\nname: A tour\n{head.strip()}\nstart: {start}\nsteps:\n{lines}\n"


WAITS = document(
    """
    a: {kind: wait, for: P1D, next: b}
    b: {kind: wait_for, for: {event: bought}, timeout: P2D, on_timeout: end, next: c}
    c: {kind: approval, question: "Well?", timeout: P1D, on_timeout: end, on_reject: end, next: end}
    """
)


async def put(tenant: Tenant, text: str, *, key: str = "tour") -> Any:
    """Put a draft."""
    return await ok(tenant.client.put(f"/v1/journeys/{key}", content=text, headers=YAML))


async def publish(tenant: Tenant, text: str, *, key: str = "tour") -> Any:
    """Put a draft and publish it."""
    await put(tenant, text, key=key)
    return await ok(tenant.client.post(f"/v1/journeys/{key}/publish"))


async def enroll(tenant: Tenant, contact: str, *, journey: str = "tour", **body: Any) -> httpx.Response:
    """Enroll a contact; the answer as it is."""
    return await tenant.client.post(f"/v1/journeys/{journey}/enrollments", json={"contact": contact, **body})


async def tenant_with(api: Api, *contacts: str, **fields: Any) -> Tenant:
    """A tenant with contacts."""
    tenant = await api.tenant(**fields)
    for contact in contacts:
        await ok(tenant.client.put(f"/v1/contacts/{contact}", json={"email": f"{contact}@example.com"}))
    return tenant


async def have_sender(api: Api, tenant: Tenant) -> None:
    """A default sender for email."""
    account = await api.account(f"of-{tenant.id.hex[:20]}")
    sender = {"channel": "email", "address": "a@example.com", "account": account["name"], "is_default": True}
    await ok(tenant.client.put("/v1/senders/main", json=sender))


def owner(database: Database) -> psycopg.Connection[Any]:
    """Rows as their owner sees and sets them: what executions would have done."""
    return psycopg.connect(database.owner_url, autocommit=True)


def rest_at(database: Database, enrollment: str, step: str, *, visits: int = 1) -> None:
    """As if the enrollment's execution had come to rest there."""
    with owner(database) as connection:
        connection.execute(
            "UPDATE enrollments SET step = %s, visits = %s, resting_since = waypost_now(), started_at = waypost_now(),"
            " wakes_at = waypost_now() + interval '1 day' WHERE id = %s",
            (step, visits, enrollment),
        )


def inbox(database: Database, enrollment: str) -> list[tuple[str, Any]]:
    """What an enrollment was told and has not taken."""
    with owner(database) as connection:
        return connection.execute(
            "SELECT kind, detail FROM enrollment_inbox WHERE enrollment_id = %s ORDER BY id", (enrollment,)
        ).fetchall()


def hints(database: Database, enrollment: str) -> int:
    """How many hints wait for its execution."""
    with owner(database) as connection:
        row = connection.execute("SELECT count(*) FROM outbox WHERE workflow_id = %s", (f"journey/{enrollment}",))
        return int(row.fetchall()[0][0])
