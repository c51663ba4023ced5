from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from tests.api.running import Api, account_body, ok, problem
from tests.services import Database
from waypost.messaging.provider import Credentials
from waypost.settings import SecretSettings
from waypost.store.accounts import (
    EnvironmentCredentials,
    FileCredentials,
    load_account,
    open_credentials,
    stored_reference,
)
from waypost.store.errors import CredentialsError
from waypost.store.sealing import Sealer

TWILIO = {
    "kind": "twilio",
    "feed": "lossy",
    "credentials": {"source": "env", "key_name": "TWILIO_SID", "secret_name": "TWILIO_TOKEN"},
}


async def test_secrets_are_sealed_and_never_shown(api: Api, module_database: Database) -> None:
    made = await api.account("sealed")
    assert made["credentials"] == {"source": "sealed", "key_name": None, "secret_name": None, "path": None}
    with psycopg.connect(module_database.owner_url) as connection:
        [(stored,)] = connection.execute(
            "SELECT credentials::text FROM provider_accounts WHERE name = 'sealed'"
        ).fetchall()
    assert "sesame" not in stored
    services = api.app.state.services
    account = await load_account(services.relay_db, made["id"], sealer=services.sealer)
    assert account.credentials == Credentials(key="AKIATEST", secret="sesame")
    assert "sesame" not in repr(account)


def test_credentials_come_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sealer = Sealer("x" * 32)
    env = stored_reference(EnvironmentCredentials(source="env", key_name="A_KEY", secret_name="A_SECRET"), sealer)
    with pytest.raises(CredentialsError, match="A_KEY is not set"):
        open_credentials(env, sealer)
    monkeypatch.setenv("A_KEY", "k")
    monkeypatch.setenv("A_SECRET", "s")
    assert open_credentials(env, sealer) == Credentials(key="k", secret="s")
    path = tmp_path / "credentials.json"
    file = stored_reference(FileCredentials(source="file", path=str(path)), sealer)
    with pytest.raises(CredentialsError, match="cannot be read"):
        open_credentials(file, sealer)
    path.write_text('{"key": "k2", "secret": "s2"}')
    assert open_credentials(file, sealer) == Credentials(key="k2", secret="s2")


def test_another_secret_key_does_not_open_what_was_sealed() -> None:
    token = Sealer("x" * 32).seal("sesame")
    with pytest.raises(CredentialsError, match="WAYPOST_SECRET_KEY"):
        Sealer("y" * 32).open(token)


def test_what_an_earlier_secret_key_sealed_opens_beside_the_new_one() -> None:
    settings = SecretSettings(
        secret_key=SecretStr("y" * 32), previous_secret_keys=SecretStr(f"{'z' * 32}, {'x' * 32},")
    )
    assert settings.previous == ("z" * 32, "x" * 32)
    renewed = Sealer(settings.secret_key.get_secret_value(), settings.previous)
    assert renewed.open(Sealer("x" * 32).seal("sesame")) == "sesame"
    assert Sealer("y" * 32).open(renewed.seal("sesame")) == "sesame"


async def test_a_new_account_has_its_budget_and_feed(api: Api, module_database: Database) -> None:
    made = await api.account("with-budget")
    with psycopg.connect(module_database.owner_url) as connection:
        for statement in (
            "SELECT 1 FROM account_budgets WHERE account_id = %s",
            "SELECT 1 FROM feeds WHERE account_id = %s",
        ):
            assert len(connection.execute(statement, (made["id"],)).fetchall()) == 1


async def test_a_live_account_refuses_foreign_origins_when_made_and_when_changed(api: Api) -> None:
    body = {**account_body("live-foreign"), "mode": "live"}
    document = await problem(api.admin.post("/v1/provider-accounts", json=body), 422, "endpoint_refused")
    assert document["errors"][0]["field"] == "endpoint"
    made = await ok(api.admin.post("/v1/provider-accounts", json={**body, "endpoint": None}))
    for field in ("endpoint", "certificate_origin", "queue_url"):
        change = {field: "https://sns.eu-west-1.amazonaws.com.evil.test"}
        answer = api.admin.patch(f"/v1/provider-accounts/{made['id']}", json=change)
        document = await problem(answer, 422, "endpoint_refused")
        assert document["errors"][0]["field"] == field


async def test_only_ses_has_ambient_credentials(api: Api) -> None:
    ambient = {"credentials": {"source": "ambient"}}
    await api.account("ambient-ses", **ambient)
    body = {**account_body("ambient-twilio"), **TWILIO, **ambient}
    await problem(api.admin.post("/v1/provider-accounts", json=body), 422, "credentials_unavailable")


async def test_a_name_is_given_to_one_account_only(api: Api) -> None:
    await api.account("taken")
    other = await api.account("free")
    await problem(api.admin.post("/v1/provider-accounts", json=account_body("taken")), 409, "name_taken")
    answer = api.admin.patch(f"/v1/provider-accounts/{other['id']}", json={"name": "taken"})
    await problem(answer, 409, "name_taken")


async def test_an_account_is_changed_paused_and_resumed(api: Api) -> None:
    made = await api.account("paused")
    path = f"/v1/provider-accounts/{made['id']}"
    changed = await ok(api.admin.patch(path, json={"rate_per_second": 3}))
    assert (changed["rate_per_second"], changed["endpoint"], changed["version"]) == (3, made["endpoint"], 2)
    paused = await ok(api.admin.post(f"{path}/pause", json={"reason": "maintenance"}))
    assert (paused["state"], paused["pause_reason"]) == ("paused", "maintenance")
    resumed = await ok(api.admin.post(f"{path}/resume"))
    assert (resumed["state"], resumed["pause_reason"], resumed["paused_at"]) == ("open", None, None)


async def test_a_sender_is_put_read_replaced_and_deleted(api: Api) -> None:
    account = await api.account("for-senders")
    tenant = await api.tenant()
    body = {"channel": "email", "address": "news@Example.COM", "account": "for-senders", "configuration_set": "events"}
    made = await ok(tenant.client.put("/v1/senders/news", json=body))
    assert (made["address"], made["mode"], made["account_id"]) == ("news@example.com", "test", account["id"])
    replaced = await ok(tenant.client.put("/v1/senders/news", json={**body, "account": account["id"], "name": "News"}))
    assert (replaced["name"], replaced["created_at"]) == ("News", made["created_at"])
    assert await ok(tenant.client.get("/v1/senders/news")) == replaced
    assert (await ok(tenant.client.get("/v1/senders")))["data"] == [replaced]
    await ok(tenant.client.delete("/v1/senders/news"))
    await problem(tenant.client.get("/v1/senders/news"), 404, "not_found")


async def test_a_new_default_takes_the_place_of_the_old(api: Api) -> None:
    await api.account("for-defaults")
    tenant = await api.tenant()
    body = {"channel": "email", "address": "a@example.com", "account": "for-defaults", "is_default": True}
    for key in ("one", "two", "two"):
        await ok(tenant.client.put(f"/v1/senders/{key}", json=body))
    listed = (await ok(tenant.client.get("/v1/senders")))["data"]
    assert {row["key"]: row["is_default"] for row in listed} == {"one": False, "two": True}


async def test_a_sender_must_fit_its_account(api: Api) -> None:
    await api.account("only-ses")
    await api.account("only-twilio", **TWILIO)
    tenant = await api.tenant()
    email = {"channel": "email", "address": "a@example.com"}
    await problem(tenant.client.put("/v1/senders/a", json={**email, "account": "nobodys"}), 422, "unknown_account")
    await problem(tenant.client.put("/v1/senders/a", json={**email, "account": "only-twilio"}), 422, "account_channel")
    sms = {"channel": "sms", "account": "only-twilio"}
    assert (await ok(tenant.client.put("/v1/senders/b", json={**sms, "address": "+1 500 555 0006"})))["address"] == (
        "+15005550006"
    )
    assert (await ok(tenant.client.put("/v1/senders/c", json={**sms, "address": "ACME Shop"})))[
        "address"
    ] == "ACME Shop"
    document = await problem(
        tenant.client.put("/v1/senders/d", json={**sms, "address": "12 34 not a number"}), 422, "invalid_address"
    )
    assert document["errors"][0]["field"] == "address"


async def test_a_test_key_leaves_live_senders_alone(api: Api) -> None:
    await api.account("live", mode="live", endpoint=None)
    live = await api.tenant(mode="live")
    test = await api.key(live.id, mode="test")
    body = {"channel": "email", "address": "a@example.com", "account": "live"}
    await ok(live.client.put("/v1/senders/a", json=body))
    await problem(test.client.put("/v1/senders/b", json=body), 403, "test_key")
    await problem(test.client.delete("/v1/senders/a"), 403, "test_key")
    await api.account("its-test-account")
    taken_over = {**body, "address": "b@example.com", "account": "its-test-account"}
    await problem(test.client.put("/v1/senders/a", json=taken_over), 403, "test_key")
    assert (await ok(live.client.get("/v1/senders/a")))["address"] == "a@example.com"


async def test_administration_makes_senders_for_a_tenant(api: Api) -> None:
    await api.account("for-admin")
    tenant = await api.tenant()
    body = {"channel": "email", "address": "a@example.com", "account": "for-admin"}
    made = await ok(api.admin.put(f"/v1/tenants/{tenant.id}/senders/a", json=body))
    assert await ok(tenant.client.get("/v1/senders/a")) == made
    assert (await ok(api.admin.get(f"/v1/tenants/{tenant.id}/senders")))["data"] == [made]
