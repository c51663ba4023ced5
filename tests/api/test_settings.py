"""A tenant's rules of sending: set by itself and by the administration, shown as they were set, refused with advice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.running import Api, ok, problem

RULES: dict[str, Any] = {
    "time_zone": "Europe/Vienna",
    "quiet_hours": {"start": "21:00:00", "end": "08:00:00"},
    "frequency_caps": [
        {"channel": "email", "limit": 3, "period": "P7D"},
        {"channel": None, "limit": 1, "period": "PT6H"},
    ],
    "approval_over": 10_000,
}
UNRULED: dict[str, Any] = {"time_zone": "UTC", "quiet_hours": None, "frequency_caps": [], "approval_over": None}


def rules(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in RULES}


async def test_a_tenant_sets_its_own_rules(api: Api) -> None:
    tenant = await api.tenant()
    assert rules(await ok(tenant.client.get("/v1/settings"))) == UNRULED
    changed = await ok(tenant.client.patch("/v1/settings", json=RULES))
    assert rules(changed) == RULES
    assert changed == await ok(tenant.client.get("/v1/settings"))
    assert rules(await ok(api.admin.get(f"/v1/tenants/{tenant.id}"))) == RULES


async def test_what_is_left_out_stays_and_null_takes_a_rule_away(api: Api) -> None:
    tenant = await api.tenant(**RULES)
    assert rules(await ok(tenant.client.patch("/v1/settings", json={"approval_over": 5}))) == RULES | {
        "approval_over": 5
    }
    free: dict[str, Any] = {"quiet_hours": None, "frequency_caps": [], "approval_over": None}
    assert rules(await ok(tenant.client.patch("/v1/settings", json=free))) == RULES | free


async def test_the_administration_sets_rules_and_retention(api: Api) -> None:
    tenant = await api.tenant()
    keeping = {"message_retention_days": 30, "event_retention_days": 15}
    changed = await ok(api.admin.patch(f"/v1/tenants/{tenant.id}", json=RULES | keeping))
    assert (rules(changed), {name: changed[name] for name in keeping}) == (RULES, keeping)
    changed = await ok(api.admin.patch(f"/v1/tenants/{tenant.id}", json={"message_retention_days": None}))
    assert (changed["message_retention_days"], changed["event_retention_days"]) == (None, 15)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"time_zone": "Vienna"}, "time_zone"),
        ({"time_zone": None}, "time_zone"),
        ({"quiet_hours": {"start": "9pm", "end": "08:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "21:00+01:00", "end": "08:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": 75600, "end": "08:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "08:00", "end": "08:00"}}, "quiet_hours"),
        ({"quiet_hours": {"start": "21:00"}}, "quiet_hours.end"),
        ({"frequency_caps": [{"limit": 0, "period": "P1D"}]}, "frequency_caps.0.limit"),
        ({"frequency_caps": [{"limit": 101, "period": "P1D"}]}, "frequency_caps.0.limit"),
        ({"frequency_caps": [{"limit": 1, "period": "P91D"}]}, "frequency_caps.0.period"),
        ({"frequency_caps": [{"limit": 1, "period": "P1D", "channel": "fax"}]}, "frequency_caps.0.channel"),
        ({"frequency_caps": [{"limit": 1, "period": "P1D"}, {"limit": 2, "period": "PT24H"}]}, "frequency_caps"),
        ({"frequency_caps": [{"limit": 1, "period": f"P{days}D"} for days in range(1, 12)]}, "frequency_caps"),
        ({"approval_over": -1}, "approval_over"),
        ({"message_retention_days": 30}, "message_retention_days"),
    ],
)
async def test_a_rule_that_cannot_be_meant_is_refused_by_its_field(
    api: Api, change: dict[str, Any], field: str
) -> None:
    tenant = await api.tenant()
    document = await problem(tenant.client.patch("/v1/settings", json=change), 422, "validation_failed")
    assert document["errors"][0]["field"] == field
    assert rules(await ok(tenant.client.get("/v1/settings"))) == UNRULED


async def test_a_retention_under_what_queues_keep_is_refused(api: Api) -> None:
    tenant = await api.tenant()
    changing = api.admin.patch(f"/v1/tenants/{tenant.id}", json={"event_retention_days": 14})
    document = await problem(changing, 422, "validation_failed")
    assert document["errors"][0]["field"] == "event_retention_days"


async def test_marketing_is_not_for_requests(api: Api) -> None:
    tenant = await api.tenant()
    message = {"to": {"email": "a@example.com"}, "class": "marketing", "content": {"subject": "S", "text": "T"}}
    document = await problem(tenant.client.post("/v1/messages", json=message), 422, "validation_failed")
    assert "campaigns" in document["errors"][0]["message"]
