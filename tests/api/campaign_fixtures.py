"""Campaigns for tests of the API: a tenant who can have one, runs that are prepared, and what becomes of recipients."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from temporalio.testing import ActivityEnvironment

from activities.campaigns import CampaignActivities
from activities.contracts.campaigns import RunInput
from tests.api.running import Api, Tenant, app_settings, ok
from tests.services import Database
from waypost.store.database import Database as Pool
from waypost.store.database import Role

TEMPLATE = {
    "channel": "email",
    "default_locale": "en",
    "locales": {
        "en": {
            "subject": "News, {{ contact.attributes.first_name }}",
            "html": "<p>{{ data.offer }}</p><a href='{{ unsubscribe_url }}'>leave</a>",
        }
    },
}


async def tenant_with_contacts(api: Api, name: str, *, contacts: int = 10) -> Tenant:
    """A tenant with an account, a default sender, a template `news`, and contacts c-0 to c-n at two domains."""
    account = await api.account(name)
    tenant = await api.tenant()
    sender = {"channel": "email", "address": "news@example.com", "account": account["name"], "is_default": True}
    await ok(tenant.client.put("/v1/senders/news", json=sender))
    await ok(tenant.client.put("/v1/templates/news", json=TEMPLATE))
    people = [
        {
            "external_id": f"c-{n}",
            "email": f"c{n}@{'a' if n % 2 else 'b'}.example",
            "attributes": {"first_name": f"N{n}"},
        }
        for n in range(contacts)
    ]
    await ok(tenant.client.post("/v1/contacts/batch", json={"contacts": people}))
    return tenant


def campaign(**fields: Any) -> dict[str, Any]:
    """The body of `PUT /v1/campaigns/{key}`."""
    body = {
        "name": "News",
        "channel": "email",
        "template": "news",
        "audience": {"all": True},
        "data": {"offer": "Half price"},
    }
    return {name: value for name, value in {**body, **fields}.items() if value is not None}


async def scheduled(tenant: Tenant, key: str, **fields: Any) -> UUID:
    """A campaign that is scheduled; its run's id."""
    await ok(tenant.client.put(f"/v1/campaigns/{key}", json=campaign(**fields)))
    shown = await ok(tenant.client.post(f"/v1/campaigns/{key}/schedule"))
    return UUID(shown["run"]["id"])


async def prepare(database: Database, tenant: UUID, run: UUID) -> None:
    """Freeze the run's audience, as its execution would."""
    relay = Pool(app_settings(database).database, Role.RELAY, size=1)
    await relay.open()
    try:
        activities = CampaignActivities(relay=relay, pages=None)  # type: ignore[arg-type]  # nothing is sent
        await ActivityEnvironment().run(activities.prepare, RunInput(str(tenant), str(run)))
    finally:
        await relay.close()


def happen(database: Database, run: UUID, contact: str, changes: str) -> None:
    """What becomes of a recipient: `changes` is the SET list."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(
            f"UPDATE messages m SET {changes} FROM contacts c WHERE m.run_id = %s AND c.id = m.contact_id "  # noqa: S608 - the tests' own
            "AND c.external_id = %s",
            (run, contact),
        )


def end(database: Database, run: UUID, contact: str, outcome: str, reason: str = "accepted", more: str = "") -> None:
    """A recipient gets its outcome."""
    ended = f"phase = 'closed', outcome = '{outcome}', outcome_reason = '{reason}', outcome_at = waypost_now(){more}"
    happen(database, run, contact, ended)


def set_run(database: Database, run: UUID, changes: str) -> None:
    """The run, and its campaign's state with it, are moved as its execution would."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(f"UPDATE campaign_runs SET {changes} WHERE id = %s", (run,))  # noqa: S608 - the tests' own
        owner.execute(
            "UPDATE campaigns c SET state = r.state FROM campaign_runs r WHERE r.id = %s AND c.id = r.campaign_id "
            "AND c.last_run = r.number",
            (run,),
        )
