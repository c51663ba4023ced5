"""Tenants and provider accounts of a drill, made over the admin API as any others."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import httpx

from waypost.drills.staging import Staging

_REGION = "us-east-1"
_RATE = 1000


class DrillSetupError(Exception):
    """The API refused what the drill needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillAccount:
    """A provider account: its row's id, and the key by which the simulator knows it."""

    id: UUID
    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTenant:
    """A tenant with a test key."""

    id: UUID
    api_key: str


class Admin:
    """The admin API of a staging."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._http = httpx.AsyncClient(
            base_url=staging.stack.urls["api"],
            headers={"authorization": f"Bearer {staging.admin_key}"},
            timeout=10.0,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ses_account(self, name: str, *, durable: bool = True) -> DrillAccount:
        """An SES account at the simulators: fed by its queue, or, lossy, by callbacks."""
        simulators, key = self._staging.stack.urls["simulators"], f"DRILL{name.upper().replace('-', '')}"
        account: dict[str, Any] = {
            **self._test_account(name, key, feed="durable" if durable else "lossy"),
            "kind": "ses",
            "region": _REGION,
            "topic_arn": f"arn:aws:sns:{_REGION}:000000000000:waypost-{key}",
            "certificate_origin": simulators,
        }
        if durable:
            account["queue_url"] = f"{simulators}/000000000000/waypost-{key}"
        made = await self._make_account(account, key)
        if not durable:
            await asyncio.to_thread(self._subscribe, made)
        return made

    def _subscribe(self, account: DrillAccount) -> None:
        """Have the topic deliver to ingest's webhook; ingest confirms."""
        url = f"{self._staging.stack.urls['ingest']}/webhooks/{account.id}/ses"
        self._staging.control.account("ses", account.key, webhook_url=url, queues=[])

    async def twilio_account(self, name: str) -> DrillAccount:
        """A Twilio account at the simulators."""
        key = "AC" + name.encode().hex().ljust(32, "0")[:32]
        return await self._make_account({**self._test_account(name, key, feed="lossy"), "kind": "twilio"}, key)

    async def tenant(self, name: str, senders: Mapping[str, DrillAccount]) -> DrillTenant:
        """A tenant with a default sender for each channel of `senders`."""
        tenant = UUID((await self._ask("POST", "/v1/tenants", {"name": name, "requests_per_second": 5000}))["id"])
        for channel, account in senders.items():
            address = {"address": f"drill@{name}.example"} if channel == "email" else {"address": "+14155550100"}
            extra = {"configuration_set": "waypost"} if channel == "email" else {}
            sender = {"channel": channel, "account": account.name, "is_default": True, **address, **extra}
            await self._ask("PUT", f"/v1/tenants/{tenant}/senders/{channel}", sender)
        made = await self._ask("POST", f"/v1/tenants/{tenant}/keys", {"name": "drill", "mode": "test"})
        return DrillTenant(id=tenant, api_key=made["key"])

    async def rate(self, account: DrillAccount, per_second: float) -> None:
        """From now on the account may send this fast."""
        await self._ask("PATCH", f"/v1/provider-accounts/{account.id}", {"rate_per_second": per_second})

    async def rules(self, tenant: DrillTenant, **rules: Any) -> None:
        """Change a tenant's settings."""
        await self._ask("PATCH", f"/v1/tenants/{tenant.id}", rules)

    def _test_account(self, name: str, key: str, *, feed: str) -> dict[str, Any]:
        return {
            "name": name,
            "mode": "test",
            "endpoint": self._staging.stack.urls["simulators"],
            "rate_per_second": _RATE,
            "callback_base": self._staging.stack.urls["ingest"],
            "credentials": {"source": "sealed", "key": key, "secret": "simulated"},
            "feed": feed,
        }

    async def _make_account(self, account: Mapping[str, Any], key: str) -> DrillAccount:
        made = await self._ask("POST", "/v1/provider-accounts", account)
        return DrillAccount(id=UUID(made["id"]), name=account["name"], key=key)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self._http.request(method, path, json=dict(body))
        if answer.is_error:
            raise DrillSetupError(f"{method} {path} gave {answer.status_code}: {answer.text[:500]}")
        content: dict[str, Any] = answer.json()
        return content
