"""`waypost accounts check` against the simulators and a real ingest: it proves a feed, or names what is missing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

from tests.api.running import SECRET_KEY, Api, ok
from tests.ingest import conftest as ingest_process
from tests.services import Database
from waypost.relay.account_check import Finding, check
from waypost.simulators.running import RunningSimulator
from waypost.store.database import Database as Pool


async def ses_account(api: Api, simulator: RunningSimulator, name: str, **fields: Any) -> None:
    key = f"AKIA{uuid4().hex[:12].upper()}"
    body = {
        "endpoint": simulator.url,
        "credentials": {"source": "sealed", "key": key, "secret": "secret"},
        "topic_arn": f"arn:aws:sns:us-east-1:000000000000:waypost-{key}",
        "queue_url": simulator.queue_url(key),
        "certificate_origin": simulator.url,
    }
    await api.account(name, **{**body, **fields})


async def sender(api: Api, account: str, **fields: Any) -> None:
    tenant = await api.tenant()
    body = {"channel": "email", "address": "a@example.com", "account": account, "configuration_set": "waypost"}
    await ok(tenant.client.put("/v1/senders/s", json={**body, **fields}))


async def findings(api: Api, named: str, *, wait_s: float = 10) -> list[Finding]:
    pool: Pool = api.app.state.services.relay_db
    return [one async for one in check(pool, named, sealer=api.app.state.services.sealer, wait_s=wait_s)]


async def test_a_feed_that_works_is_proven(api: Api, module_database: Database, simulator: RunningSimulator) -> None:
    await ses_account(api, simulator, "works")
    await sender(api, "works")
    async with ingest_process.serving(module_database):
        found = await findings(api, "works")
    assert [one for one in found if not one.ok] == []
    assert "came back" in found[-1].what


async def test_a_queue_that_nobody_reads_is_named(api: Api, simulator: RunningSimulator) -> None:
    await ses_account(api, simulator, "unread")
    await sender(api, "unread")
    found = await findings(api, "unread", wait_s=0.5)
    assert not found[-1].ok
    assert "start `waypost ingest`" in found[-1].advice


async def test_a_missing_configuration_set_and_queue_are_named(api: Api, simulator: RunningSimulator) -> None:
    await ses_account(api, simulator, "lacking", queue_url=None)
    await sender(api, "lacking", configuration_set=None)
    advice = " ".join(one.advice for one in await findings(api, "lacking", wait_s=0.1) if not one.ok)
    assert "queue_url" in advice
    assert "configuration_set" in advice


async def test_an_account_without_sender_or_endpoint_or_credentials_is_told_so(
    api: Api, simulator: RunningSimulator
) -> None:
    await ses_account(api, simulator, "senderless")
    assert "PUT /v1/senders" in (await findings(api, "senderless"))[-1].advice
    await ses_account(api, simulator, "unreachable", endpoint="http://127.0.0.1:9")
    assert "ses:GetAccount" in (await findings(api, "unreachable"))[-1].advice
    missing = {"source": "env", "key_name": "NOT_SET_KEY", "secret_name": "NOT_SET_SECRET"}
    await ses_account(api, simulator, "keyless", credentials=missing)
    assert "NOT_SET_KEY is not set" in (await findings(api, "keyless"))[-1].advice
    assert "GET /v1/provider-accounts" in (await findings(api, "nobodys"))[-1].advice


async def test_twilio_is_asked_for_its_list(api: Api, simulator: RunningSimulator) -> None:
    fields = {
        "kind": "twilio",
        "feed": "lossy",
        "endpoint": simulator.url,
        "callback_base": "https://events.example.com",
        "credentials": {"source": "sealed", "key": "AC" + "0" * 32, "secret": "token"},
    }
    await api.account("texts", **fields)
    assert all(one.ok for one in await findings(api, "texts"))
    await api.account("texts-away", **{**fields, "endpoint": "http://127.0.0.1:9", "callback_base": None})
    found = await findings(api, "texts-away")
    assert [one.ok for one in found] == [True, False, False]


async def test_the_command_prints_findings_and_fails_on_what_is_missing(
    api: Api, module_database: Database, simulator: RunningSimulator
) -> None:
    await ses_account(api, simulator, "by-command")
    environment = {
        **os.environ,
        **module_database.environment(),
        "WAYPOST_SECRET_KEY": SECRET_KEY,
    }
    command = [sys.executable, "-m", "waypost.cli.main", "accounts", "check", "by-command"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "✓ The test account is there" in done.stdout
    assert "✗ No email sender goes through the account" in done.stdout
