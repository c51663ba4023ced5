"""Duplicating, testing, approving, choosing the winner, resending to who failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from tests.api.campaign_fixtures import campaign, end, prepare, scheduled, set_run, tenant_with_contacts
from tests.api.running import Api, Tenant, app_settings, ok, problem
from tests.services import Database
from waypost.campaigns.definition import CampaignDefinition
from waypost.campaigns.resending import resend_definition
from waypost.relay.recurrences import recur
from waypost.store.database import Database as Pool
from waypost.store.database import Role

VARIANTS = [{"name": "plain", "template": "news"}, {"name": "loud", "template": "news"}]


def _post(tenant: Tenant, action: str, body: Any = None, **more: Any) -> Any:
    return tenant.client.post(f"/v1/campaigns/news/{action}", json=body, **more)


def _rows(database: Database, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.owner_url) as owner:
        return owner.execute(query, values).fetchall()


async def test_a_copy_is_a_draft_that_says_the_same_and_is_made_once(api: Api) -> None:
    tenant = await tenant_with_contacts(api, "copy", contacts=1)
    await scheduled(tenant, "news")
    for _ in range(2):
        copy = await ok(_post(tenant, "duplicate", {"key": "again"}))
        assert (copy["key"], copy["name"], copy["state"], copy["run"]) == ("again", "News", "draft", None)
    assert copy["definition"] == (await ok(tenant.client.get("/v1/campaigns/news")))["definition"]
    await ok(tenant.client.put("/v1/campaigns/other", json=campaign(data={})))
    await problem(_post(tenant, "duplicate", {"key": "other"}), 409, "name_taken")


async def test_a_key_of_the_other_mode_neither_sees_nor_moves_nor_takes_a_campaign(api: Api) -> None:
    tenant = await tenant_with_contacts(api, "modes", contacts=1)
    await scheduled(tenant, "news")
    other = await api.key(tenant.id, mode="live")
    for what in ("", "/recipients", "/report", "/progress"):
        await problem(other.client.get(f"/v1/campaigns/news{what}"), 404, "not_found")
    for action in ("schedule", "pause", "resume", "cancel", "approve", "resend-failed"):
        await problem(_post(other, action), 404, "not_found")
    await problem(_post(other, "send-test", {"to": [{"contact": "c-0"}]}), 404, "not_found")
    await problem(_post(other, "choose-winner", {"variant": "A"}), 404, "not_found")
    await problem(_post(other, "duplicate", {"key": "copy"}), 404, "not_found")
    await problem(other.client.put("/v1/campaigns/news", json=campaign()), 409, "name_taken")
    assert (await ok(other.client.get("/v1/campaigns")))["data"] == []


async def test_a_test_is_marked_rendered_for_its_reader_and_transactional(api: Api, module_database: Database) -> None:
    tenant = await tenant_with_contacts(api, "test", contacts=2)
    odd = {"email": "odd@example.com", "attributes": {"first_name": "{{ data.x }}{% if %}"}}
    await ok(tenant.client.put("/v1/contacts/odd", json=odd))
    await ok(tenant.client.put("/v1/campaigns/news", json=campaign()))
    body = {"to": [{"contact": "odd"}, {"email": "me@example.com"}], "sample": "c-1"}
    first = await ok(_post(tenant, "send-test", body, headers={"Idempotency-Key": "t"}))
    assert [verdict["status"] for verdict in first["verdicts"]] == ["accepted", "accepted"]
    again = await ok(_post(tenant, "send-test", body, headers={"Idempotency-Key": "t"}))
    assert [one["status"] for one in again["verdicts"]] == ["duplicate", "duplicate"]
    rows = _rows(
        module_database,
        "SELECT address, class, run_id, payload -> 'content' FROM messages WHERE tenant_id = %s ORDER BY address",
        tenant.id,
    )
    assert [(address, kind, run) for address, kind, run, _ in rows] == [
        ("me@example.com", "transactional", None),
        ("odd@example.com", "transactional", None),
    ]
    assert rows[0][3]["subject"] == "[Test] News, N1"
    preview = {"channel": "email", "default_locale": "en", "locales": {"en": rows[1][3]}}
    await ok(tenant.client.put("/v1/templates/sent", json=preview))
    shown = await ok(tenant.client.post("/v1/templates/sent/preview", json={}))
    assert shown["subject"] == "[Test] News, {{ data.x }}{% if %}"
    assert "Half price" in shown["html"]
    assert "/u/preview" in shown["html"]


async def test_a_test_names_what_is_not_there(api: Api) -> None:
    tenant = await tenant_with_contacts(api, "untestable", contacts=1)
    await ok(tenant.client.put("/v1/campaigns/news", json=campaign(template=None, variants=VARIANTS)))
    me = [{"email": "me@example.com"}]
    await problem(_post(tenant, "send-test", {"to": me, "variant": "quiet"}), 422, "validation_failed")
    await problem(_post(tenant, "send-test", {"to": [{"contact": "nobody"}]}), 404, "not_found")
    await problem(_post(tenant, "send-test", {"to": me * 11}), 422, "validation_failed")
    await problem(_post(tenant, "send-test", {"to": [{}]}), 422, "validation_failed")


async def test_a_run_over_the_bound_waits_for_an_approval_which_is_recorded(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with_contacts(api, "approval", contacts=3)
    with psycopg.connect(module_database.owner_url) as owner:
        owner.execute("UPDATE tenants SET approval_over = 2 WHERE id = %s", (tenant.id,))
    run = await scheduled(tenant, "news")
    await problem(_post(tenant, "approve"), 409, "campaign_needs_no_approval")
    await prepare(module_database, tenant.id, run)
    shown = await ok(tenant.client.get("/v1/campaigns/news"))
    assert (shown["state"], shown["run"]["state_reason"]) == ("paused", "needs_approval")
    await problem(_post(tenant, "resume"), 409, "campaign_needs_approval")
    approved = (await ok(_post(tenant, "approve")))["run"]
    assert approved["state"] == "sending"
    assert approved["approved_by"] == tenant.key.split("_")[2]
    assert approved["approved_at"] and approved["started_at"]
    assert (await ok(_post(tenant, "approve")))["run"]["approved_at"] == approved["approved_at"]


async def test_the_winner_is_chosen_by_hand_once(api: Api, module_database: Database) -> None:
    tenant = await tenant_with_contacts(api, "winner", contacts=10)
    winner = {"by": "manual", "test_share": 0.5}
    run = await scheduled(tenant, "news", template=None, variants=VARIANTS, winner=winner)
    await problem(_post(tenant, "choose-winner", {"variant": "loud"}), 409, "campaign_awaits_no_winner")
    await prepare(module_database, tenant.id, run)
    await problem(_post(tenant, "choose-winner", {"variant": "quiet"}), 422, "validation_failed")
    for _ in range(2):
        shown = await ok(_post(tenant, "choose-winner", {"variant": "loud"}))
        assert shown["run"]["winner"] == "loud"
    await problem(_post(tenant, "choose-winner", {"variant": "plain"}), 409, "campaign_awaits_no_winner")
    query = "SELECT open_cohort, winner, released_at IS NOT NULL FROM campaign_runs WHERE id = %s"
    assert _rows(module_database, query, run) == [(1, 1, True)]
    woken = {row[0] for row in _rows(module_database, "SELECT workflow_id FROM outbox WHERE signal = 'wake'")}
    assert f"campaign/{run}/shard-0" in woken


async def test_who_failed_is_sent_to_again_by_one_new_run(api: Api, module_database: Database) -> None:
    tenant = await tenant_with_contacts(api, "resend", contacts=5)
    at = {"at": "2020-01-01T08:00:00Z"}
    run = await scheduled(tenant, "news", schedule=at)
    await prepare(module_database, tenant.id, run)
    await problem(_post(tenant, "resend-failed"), 409, "campaign_not_over")
    ends = {"c-0": "sent", "c-1": "failed", "c-2": "expired", "c-3": "suppressed", "c-4": "maybe_sent"}
    for contact, outcome in ends.items():
        end(module_database, run, contact, outcome)
    set_run(module_database, run, "state = 'completed', ended_at = waypost_now()")
    first = (await ok(_post(tenant, "resend-failed")))["run"]
    assert (first["number"], first["kind"], first["state"]) == (2, "resend", "scheduled")
    assert (await ok(_post(tenant, "resend-failed")))["run"]["id"] == first["id"]
    await prepare(module_database, tenant.id, UUID(first["id"]))
    listed = await ok(tenant.client.get("/v1/campaigns/news/recipients", params={"run": 2}))
    assert {row["contact"] for row in listed["data"]} == {"c-1", "c-2"}
    for contact in ("c-1", "c-2"):
        end(module_database, UUID(first["id"]), contact, "sent")
    set_run(module_database, UUID(first["id"]), "state = 'completed', ended_at = waypost_now()")
    await problem(_post(tenant, "resend-failed"), 409, "nobody_to_resend_to")


def test_a_resend_goes_at_once_with_the_winners_content_and_tests_nothing() -> None:
    said = campaign(template=None, variants=VARIANTS, winner={}, expires_in="PT6H")
    said["schedule"] = {"local": "2026-01-01T09:00:00", "spread": "PT1H", "throttle_per_minute": 60}
    definition = CampaignDefinition.model_validate({name: value for name, value in said.items() if name != "name"})
    again = resend_definition(definition, winner=1)
    assert again.template == "news"
    assert (again.variants, again.winner, again.canary) == ((), None, None)
    assert (again.schedule.local, again.schedule.at, again.schedule.spread) == (None, None, None)
    assert again.schedule.throttle_per_minute == 60
    assert again.expires_in == definition.expires_in
    assert resend_definition(definition, winner=None).variants == definition.variants


async def test_a_recurring_campaign_tells_its_next_time_and_is_paused_and_cancelled_between_its_runs(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with_contacts(api, "recurring", contacts=1)
    run = await scheduled(tenant, "news", schedule={"at": "2026-01-05T08:00:00Z", "every": "P7D"})
    shown = await ok(tenant.client.get("/v1/campaigns/news"))
    slot = datetime.fromisoformat(shown["next_at"])
    assert slot > datetime.fromisoformat(shown["run"]["scheduled_at"])
    assert (slot - datetime(2026, 1, 5, 8, tzinfo=UTC)) % timedelta(days=7) == timedelta()
    set_run(module_database, run, "state = 'completed', ended_at = waypost_now()")
    assert (await ok(_post(tenant, "pause")))["state"] == "paused"
    resumed = await ok(_post(tenant, "resume"))
    assert (resumed["state"], resumed["run"]["state"]) == ("completed", "completed")
    for _ in range(2):
        cancelled = await ok(_post(tenant, "cancel"))
        assert (cancelled["state"], cancelled["next_at"], cancelled["run"]["state"]) == ("cancelled", None, "completed")
    await problem(_post(tenant, "resume"), 409, "campaign_over")
    await problem(_post(tenant, "pause"), 409, "campaign_over")


async def test_pausing_and_cancelling_reach_a_run_that_the_next_one_overtook(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with_contacts(api, "overtaken", contacts=1)
    first = await scheduled(tenant, "news", schedule={"at": "2026-01-05T08:00:00Z", "every": "P7D"})
    await prepare(module_database, tenant.id, first)
    with psycopg.connect(module_database.owner_url) as owner:
        owner.execute("UPDATE campaigns SET next_at = waypost_now() WHERE tenant_id = %s", (tenant.id,))
    relay = Pool(app_settings(module_database).database, Role.RELAY, size=1)
    await relay.open()
    async with relay.transaction() as connection:
        assert await recur(connection, limit=10) == 1
    await relay.close()
    query = "SELECT state FROM campaign_runs WHERE tenant_id = %s ORDER BY number"
    for action, states in (
        ("pause", ["paused", "paused"]),
        ("resume", ["sending", "scheduled"]),
        ("cancel", ["cancelled", "cancelled"]),
    ):
        await ok(_post(tenant, action))
        assert [row[0] for row in _rows(module_database, query, tenant.id)] == states


async def test_a_canary_that_decides_when_the_rest_has_expired_is_refused_at_its_field(api: Api) -> None:
    tenant = await tenant_with_contacts(api, "late-canary", contacts=1)
    late = campaign(canary={"after": "PT2H"}, expires_in="PT1H")
    document = await problem(tenant.client.put("/v1/campaigns/news", json=late), 422, "validation_failed")
    (error,) = document["errors"]
    assert (error["field"], error["bound"]) == ("canary.after", 3600)
    assert "longer expires_in" in error["message"]


async def test_a_list_stays_until_the_campaigns_that_are_sent_to_it_have_begun_or_end(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with_contacts(api, "listed", contacts=1)
    await ok(tenant.client.put("/v1/lists/vip", json={"name": "VIP"}))
    await ok(tenant.client.post("/v1/lists/vip/members", json={"external_ids": ["c-0"]}))
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    schedule = {"at": at, "every": "P7D"}
    begun = await scheduled(tenant, "begun", audience={"list": "vip"})
    await scheduled(tenant, "waiting", audience={"all": True}, exclude={"list": "vip"}, schedule=schedule)
    document = await problem(tenant.client.delete("/v1/lists/vip"), 409, "referred_to")
    assert "begun, waiting" in document["detail"]
    await prepare(module_database, tenant.id, begun)
    document = await problem(tenant.client.delete("/v1/lists/vip"), 409, "referred_to")
    assert "begun" not in document["detail"].partition(":")[2]
    await ok(tenant.client.post("/v1/campaigns/waiting/cancel"))
    await ok(tenant.client.delete("/v1/lists/vip"))
