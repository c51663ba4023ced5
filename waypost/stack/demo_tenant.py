"""The demo tenant of a local stack: made over HTTP as any other tenant, once, and found again at the next start.

Its provider accounts are test accounts whose endpoint is the simulators; those accept any key, and an SES account's
topic and queue follow from its access key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from waypost.stack.errors import StackError
from waypost.stack.layout import Stack
from waypost.stack.secrets import StackSecrets

TENANT = "demo"
SES_ACCOUNT, TWILIO_ACCOUNT = "demo-ses", "demo-twilio"
SES_KEY = "WAYPOSTDEMO"
TWILIO_SID = "AC" + "de30" * 8

_REGION = "us-east-1"
_RATE = 1000
_TIMEOUT_S = 10.0

SENDERS: Mapping[str, Mapping[str, object]] = {
    "email": {
        "channel": "email",
        "address": "hello@demo.example",
        "name": "Demo",
        "account": SES_ACCOUNT,
        "configuration_set": "waypost",
        "is_default": True,
    },
    "sms": {"channel": "sms", "address": "+14155550100", "account": TWILIO_ACCOUNT, "is_default": True},
    "whatsapp": {"channel": "whatsapp", "address": "+14155550100", "account": TWILIO_ACCOUNT, "is_default": True},
}


class DemoTenantError(StackError):
    """The tenant could not be made; the stack runs all the same."""


def ensure(stack: Stack) -> str:
    """The tenant's API key, a test key; what is there already is left, but for addresses that changed.

    Raises DemoTenantError.
    """
    admin = {"authorization": f"Bearer {stack.environment['WAYPOST_ADMIN_KEY']}"}
    try:
        with httpx.Client(base_url=stack.urls["api"], headers=admin, timeout=_TIMEOUT_S, trust_env=False) as api:
            for account in accounts(simulators=stack.urls["simulators"], ingest=stack.urls["ingest"]):
                _ensure_account(api, account)
            tenant = _ensure_tenant(api)
            for key, sender in SENDERS.items():
                _answer(api.put(f"/v1/tenants/{tenant}/senders/{key}", json=sender))
            return _ensure_key(api, tenant, stack)
    except httpx.HTTPError as error:
        raise DemoTenantError(
            f"The demo tenant was not made: the API did not answer ({type(error).__name__})."
        ) from error


def accounts(*, simulators: str, ingest: str) -> tuple[dict[str, object], ...]:
    """Bodies of `POST /v1/provider-accounts` for an SES account with a durable feed and a Twilio account."""
    shared = {"mode": "test", "endpoint": simulators, "rate_per_second": _RATE, "callback_base": ingest}
    return (
        {
            **shared,
            "name": SES_ACCOUNT,
            "kind": "ses",
            "region": _REGION,
            "credentials": {"source": "sealed", "key": SES_KEY, "secret": "simulated"},
            "feed": "durable",
            "topic_arn": f"arn:aws:sns:{_REGION}:000000000000:waypost-{SES_KEY}",
            "certificate_origin": simulators,
            "queue_url": f"{simulators}/000000000000/waypost-{SES_KEY}",
        },
        {
            **shared,
            "name": TWILIO_ACCOUNT,
            "kind": "twilio",
            "credentials": {"source": "sealed", "key": TWILIO_SID, "secret": "simulated"},
            "feed": "lossy",
        },
    )


def _ensure_account(api: httpx.Client, wanted: dict[str, object]) -> None:
    found = next((row for row in _all(api, "/v1/provider-accounts") if row["name"] == wanted["name"]), None)
    if found is None:
        _answer(api.post("/v1/provider-accounts", json=wanted))
        return
    # The simulators may have moved to another port since.
    moved = {name: value for name, value in wanted.items() if name in found and found[name] != value}
    moved.pop("credentials", None)
    if moved:
        _answer(api.patch(f"/v1/provider-accounts/{found['id']}", json=moved))


def _ensure_tenant(api: httpx.Client) -> str:
    for row in _all(api, "/v1/tenants"):
        if row["name"] == TENANT and row["state"] in ("active", "suspended"):
            return str(row["id"])
    return str(_answer(api.post("/v1/tenants", json={"name": TENANT}))["id"])


def _ensure_key(api: httpx.Client, tenant: str, stack: Stack) -> str:
    known = StackSecrets.load_or_create(stack.options.data)
    if known.demo_api_key is not None and _is_good(api, known.demo_api_key):
        return known.demo_api_key
    made = _answer(api.post(f"/v1/tenants/{tenant}/keys", json={"name": "waypost dev", "mode": "test"}))
    key = str(made["key"])
    known.model_copy(update={"demo_api_key": key}).save(stack.options.data)
    return key


def _is_good(api: httpx.Client, key: str) -> bool:
    return api.get("/v1/keys", headers={"authorization": f"Bearer {key}"}).is_success


def _all(api: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = _answer(api.get(path, params={"cursor": cursor} if cursor else {}))
        yield from page["data"]
        cursor = page.get("next_cursor")
        if cursor is None:
            return


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        content: dict[str, Any] = response.json()
        return content
    problem = response.json() if "json" in response.headers.get("content-type", "") else {}
    said = problem.get("detail") or problem.get("title") or response.reason_phrase
    request = response.request
    raise DemoTenantError(
        f"The demo tenant was not made: {request.method} {request.url.path} gave {response.status_code} ({said})."
    )
