from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg

from tests.api.running import ADMIN_KEY, Api, Tenant, ok, problem
from tests.services import Database
from waypost.messaging.values import Mode
from waypost.store.key_tokens import make_token, read_token


def test_a_key_reads_back_and_one_wrong_character_fails_its_checksum() -> None:
    token = make_token(Mode.TEST)
    assert token.text.startswith("wp_test_")
    assert read_token(token.text) == token
    for place in range(len(token.text)):
        wrong = token.text[:place] + ("A" if token.text[place] != "A" else "B") + token.text[place + 1 :]
        assert read_token(wrong) is None
    assert token.text not in repr(token)


async def test_only_the_hash_of_a_key_is_stored(api: Api, module_database: Database) -> None:
    tenant = await api.tenant()
    secret = tenant.key.split("_")[3]
    with psycopg.connect(module_database.owner_url) as connection:
        rows = connection.execute("SELECT k::text FROM api_keys k WHERE tenant_id = %s", (tenant.id,)).fetchall()
    assert len(rows) == 1
    assert secret not in rows[0][0]


async def test_every_wrong_key_gets_the_same_answer(api: Api) -> None:
    tenant = await api.tenant()
    revoked = await api.key(tenant.id)
    await ok(api.admin.delete(f"/v1/tenants/{tenant.id}/keys/{revoked.key.split('_')[2]}"))
    body, checksum = tenant.key.rsplit("_", 1)
    strange = make_token(Mode.TEST).text
    wrong = [
        None,
        "",
        "x",
        ADMIN_KEY,
        f"{body}_000000",
        f"{body[:-1]}{'y' if body.endswith('x') else 'x'}_{checksum}",
        strange,
        revoked.key,
        "ключ"[:0] + "%",
    ]
    answers = [await problem(api.client(key).get("/v1/senders"), 401, "unauthorized") for key in wrong]
    assert all(answer == answers[0] for answer in answers)
    basic = api.client(None).get("/v1/senders", headers={"Authorization": f"Basic {tenant.key}"})
    await problem(basic, 401, "unauthorized")


async def test_a_tenants_key_opens_no_administration(api: Api) -> None:
    tenant = await api.tenant()
    await problem(tenant.client.get("/v1/tenants"), 401, "unauthorized")
    await problem(tenant.client.post(f"/v1/tenants/{tenant.id}/keys", json={}), 401, "unauthorized")


async def test_strangers_are_turned_away_before_their_body_is_read(api: Api) -> None:
    await problem(api.client("x").put("/v1/senders/s", content=b"{"), 401, "unauthorized")


async def test_a_missing_scope_is_named(api: Api) -> None:
    tenant = await api.tenant(scopes=("contacts:read",))
    document = await problem(tenant.client.get("/v1/senders"), 403, "missing_scope")
    assert "senders:read" in document["detail"]


async def test_a_key_expires(api: Api, module_database: Database) -> None:
    tenant = await api.tenant()
    await ok(tenant.client.get("/v1/senders"))
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute(
            "UPDATE api_keys SET expires_at = waypost_now() - interval '1 second' WHERE tenant_id = %s", (tenant.id,)
        )
    api.app.state.services.keys.forget_all()
    await problem(tenant.client.get("/v1/senders"), 401, "unauthorized")


async def test_an_expiry_in_the_past_is_refused(api: Api) -> None:
    tenant = await api.tenant()
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    answer = api.admin.post(f"/v1/tenants/{tenant.id}/keys", json={"name": "k", "mode": "live", "expires_at": past})
    document = await problem(answer, 422, "validation_failed")
    assert document["errors"][0]["field"] == "expires_at"


async def test_rotation_makes_a_twin_and_ends_the_old_key_after_its_grace(api: Api) -> None:
    tenant = await api.tenant(scopes=("senders:read",))
    path = f"/v1/tenants/{tenant.id}/keys/{tenant.key.split('_')[2]}"
    made = await ok(api.admin.post(f"{path}/rotate", json={"grace_seconds": 3600}))
    assert made["scopes"] == ["senders:read"]
    await ok(api.client(made["key"]).get("/v1/senders"))
    await ok(tenant.client.get("/v1/senders"))
    ends = datetime.fromisoformat((await ok(api.admin.get(path)))["expires_at"])
    assert timedelta(minutes=59) < ends - datetime.now(UTC) <= timedelta(hours=1)
    assert made["expires_at"] is None


async def test_without_a_grace_the_old_key_ends_at_once(api: Api) -> None:
    tenant = await api.tenant()
    await ok(api.admin.post(f"{_path(tenant)}/rotate", json={"grace_seconds": 0}))
    await problem(tenant.client.get("/v1/senders"), 401, "unauthorized")


def _path(tenant: Tenant) -> str:
    return f"/v1/tenants/{tenant.id}/keys/{tenant.key.split('_')[2]}"


async def test_an_expired_key_cannot_be_rotated(api: Api, module_database: Database) -> None:
    tenant = await api.tenant()
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute("UPDATE api_keys SET expires_at = waypost_now() WHERE tenant_id = %s", (tenant.id,))
    await problem(api.admin.post(f"{_path(tenant)}/rotate", json={}), 409, "key_expired")


async def test_rotations_at_the_same_time_make_one_key(api: Api) -> None:
    tenant = await api.tenant()
    answers = await asyncio.gather(*(api.admin.post(f"{_path(tenant)}/rotate", json={}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    await problem(api.admin.post(f"{_path(tenant)}/rotate", json={}), 409, "key_rotated")
    assert len((await ok(api.admin.get(f"/v1/tenants/{tenant.id}/keys")))["data"]) == 2


async def test_a_revoked_key_cannot_be_rotated(api: Api) -> None:
    tenant = await api.tenant()
    path = f"/v1/tenants/{tenant.id}/keys/{tenant.key.split('_')[2]}"
    await ok(api.admin.delete(path))
    await ok(api.admin.delete(path))
    await problem(api.admin.post(f"{path}/rotate", json={}), 409, "key_revoked")


async def test_use_is_noted_outside_of_the_request(api: Api) -> None:
    tenant = await api.tenant()
    [before] = (await ok(tenant.client.get("/v1/keys")))["data"]
    assert before["last_used_at"] is None
    assert "key" not in before
    await api.app.state.services.keys.note_use()
    [after] = (await ok(tenant.client.get("/v1/keys")))["data"]
    assert after["last_used_at"] is not None


async def test_a_closed_tenants_keys_are_refused_and_no_new_ones_made(api: Api, module_database: Database) -> None:
    tenant = await api.tenant()
    with psycopg.connect(module_database.owner_url) as connection:
        connection.execute("UPDATE tenants SET state = 'closed' WHERE id = %s", (tenant.id,))
    await problem(tenant.client.get("/v1/senders"), 403, "tenant_closed")
    body = {"name": "k", "mode": "live"}
    await problem(api.admin.post(f"/v1/tenants/{tenant.id}/keys", json=body), 403, "tenant_closed")
    await problem(api.admin.post(f"/v1/tenants/{tenant.id}/resume"), 403, "tenant_closed")


async def test_over_its_rate_a_tenant_is_told_the_bound_and_when_to_come_back(api: Api) -> None:
    tenant = await api.tenant(requests_per_second=2)
    answers = [await tenant.client.get("/v1/senders") for _ in range(4)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    document = answers[-1].json()
    assert document["code"] == "rate_exceeded"
    assert document["errors"][0] == {
        "field": "requests_per_second",
        "message": "This tenant may make 2 requests a second (requests_per_second).",
        "bound": 2.0,
    }
