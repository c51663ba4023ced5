"""What happens over the API leads into journeys: events at once, segments by a loop that is told to look."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from tests.api.journey_fixtures import document, hints, inbox, owner, publish, rest_at, tenant_with
from tests.api.running import Api, Tenant, ok
from tests.services import Database
from waypost.store.notifications import JOURNEYS_CHANNEL, OUTBOX_CHANNEL

BEGINS = document(
    "a: {kind: wait_for, for: {event: bought}, timeout: P2D, on_timeout: end, next: end}",
    head="entry: {kind: event, event: signed_up, expects: [plan]}",
)
PRO = {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "pro"}}


async def _happens(tenant: Tenant, key: str, name: str, **properties: Any) -> None:
    body = {"id": key, "contact": "ann", "name": name, "properties": properties}
    await ok(tenant.client.post("/v1/events", json=body))


async def _told(connection: psycopg.Connection[Any], channel: str) -> bool:
    """Whether this channel is told of soon."""
    return await asyncio.to_thread(lambda: any(one.channel == channel for one in connection.notifies(timeout=5)))


async def test_an_event_begins_a_journey_and_the_next_one_wakes_who_waits_for_it(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with(api, "ann")
    await publish(tenant, BEGINS)
    with owner(module_database) as told:
        told.execute(f"LISTEN {JOURNEYS_CHANNEL}")
        told.execute(f"LISTEN {OUTBOX_CHANNEL}")
        await _happens(tenant, "1", "signed_up", plan="pro")
        assert await _told(told, JOURNEYS_CHANNEL)
        (enrollment,) = (await ok(tenant.client.get("/v1/journeys/tour/enrollments")))["data"]
        rest_at(module_database, enrollment["id"], "a")
        told.execute("UPDATE enrollments SET awaits = '{bought}' WHERE id = %s", (enrollment["id"],))
        batch = [{"id": f"{n}", "contact": "ann", "name": "bought"} for n in range(2, 5)]
        await ok(tenant.client.post("/v1/events/batch", json={"events": batch}))
        assert await _told(told, OUTBOX_CHANNEL)
    assert [kind for kind, _ in inbox(module_database, enrollment["id"])] == ["event"] * 3
    assert hints(module_database, enrollment["id"]) == 1


async def test_who_is_in_a_segment_at_publication_stays_out_and_a_new_rule_has_it_looked_at(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with(api, "ann")
    await ok(tenant.client.put("/v1/contacts/ann", json={"attributes": {"plan": "pro"}}))
    await ok(tenant.client.put("/v1/segments/pro", json={"name": "Pro", "rule": PRO}))
    await publish(tenant, document("a: {kind: wait, for: P1D, next: end}", head="entry: {kind: segment, segment: pro}"))
    mine = {"tenant": tenant.id}
    look = "SELECT next_entry_at <= waypost_now() FROM journeys WHERE tenant_id = %(tenant)s"
    inside = "SELECT next_at FROM journey_watched WHERE tenant_id = %(tenant)s"
    later = "UPDATE journeys SET next_entry_at = waypost_now() + interval '15 minutes' WHERE tenant_id = %(tenant)s"
    with owner(module_database) as rows:
        assert rows.execute(inside, mine).fetchall() == [(None,)]
        rows.execute(later, mine)
        assert rows.execute(look, mine).fetchall() == [(False,)]
        await ok(tenant.client.put("/v1/segments/pro", json={"name": "All", "rule": {"kind": "not", "rule": PRO}}))
        assert rows.execute(look, mine).fetchall() == [(True,)]
