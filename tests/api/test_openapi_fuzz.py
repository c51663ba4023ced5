"""schemathesis over the whole OpenAPI document and the real app: no 5xx, no answer that the document does not name.

Every operation gets data that fits the document, data that does not, and data that fits with ids of rows that exist.
Examples are derandomised: the same ones each time. WAYPOST_FUZZ_EXAMPLES asks for more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from tests.api.running import ADMIN_KEY, account_body, app_settings
from tests.api.serving import serving
from tests.services import Database

EXAMPLES = int(os.environ.get("WAYPOST_FUZZ_EXAMPLES", "5"))

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

UNGUARDED = {"/healthz", "/readyz", "/metrics", "/errors/{code}"}

JUDGES_EACH = {"/v1/contacts/batch", "/v1/batch", "/v1/import"}
"""Answers 200 with a verdict for each, also to what the document does not allow."""


@pytest.fixture(scope="module")
def base_url(module_database: Database) -> Iterator[str]:
    with serving(create_app(app_settings(module_database))) as url:
        yield url


class World:
    """A tenant that asks, another that is administered, and a row of everything."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        asks = self._make("/v1/tenants", {"name": "Asks", "requests_per_second": 100_000})["id"]
        self.keys = {"AdminKey": ADMIN_KEY, "TenantKey": self._make_key(asks)["key"]}
        administered = self._make("/v1/tenants", {"name": "Administered"})["id"]
        account = self._make("/v1/provider-accounts", account_body("fuzzed"))["id"]
        sender = {"channel": "email", "address": "a@example.com", "account": "fuzzed", "is_default": True}
        self._make("/v1/senders/fuzzed", sender, method="PUT")
        self._make("/v1/contacts/fuzzed", {"email": "a@example.com"}, method="PUT")
        content = {"en": {"subject": "Hello", "text": "{{ data.x | default: 'x' }}"}}
        template = {"channel": "email", "default_locale": "en", "locales": content}
        self._make("/v1/templates/fuzzed", template, method="PUT")
        self._make("/v1/topics/fuzzed", {"name": "Fuzzed"}, method="PUT")
        self._make("/v1/lists/fuzzed", {"name": "Fuzzed"}, method="PUT")
        self._make("/v1/lists/fuzzed/members", {"external_ids": ["fuzzed"]})
        rule = {"kind": "list", "key": "fuzzed"}
        self._make("/v1/segments/fuzzed", {"name": "Fuzzed", "rule": rule}, method="PUT")
        enrollment = self._make_enrollment()
        message = self._make("/v1/messages", {"to": {"contact": "fuzzed"}, "template": {"key": "fuzzed"}})["id"]
        begun = self._make(f"/v1/imports?sha256={'0' * 64}&size=1000000", {})["id"]
        address = {"channel": "email", "address": "b@example.com"}
        suppression = self._make("/v1/suppressions", address)["id"]
        self.ids: Mapping[str, Any] = {
            "tenant_id": administered,
            "key_id": self._make_key(administered)["id"],
            "account_id": account,
            "key": "fuzzed",
            "external_id": "fuzzed",
            "message_id": message,
            "enrollment_id": enrollment,
            "number": 1,
            "suppression_id": suppression,
            "import_id": begun,
            "code": "not_found",
        }

    def headers(self, path: str, *, scheme: str | None) -> dict[str, str]:
        """The key that the operation asks for."""
        assert (scheme is None) == (path in UNGUARDED), path
        return {"Authorization": f"Bearer {self.keys[scheme]}"} if scheme else {}

    def _make_enrollment(self) -> Any:
        approval = {"kind": "approval", "question": "?", "timeout": "P1D", "on_timeout": "end", "on_reject": "end"}
        body = {"journey": "fuzzed", "name": "Fuzzed", "entry": {"kind": "api"}, "start": "a"}
        self._make("/v1/journeys/fuzzed", body | {"steps": {"a": approval | {"next": "end"}}}, method="PUT")
        self._make("/v1/journeys/fuzzed/publish", {})
        return self._make("/v1/journeys/fuzzed/enrollments", {"contact": "fuzzed"})["id"]

    def _make_key(self, tenant: str) -> Any:
        return self._make(f"/v1/tenants/{tenant}/keys", {"name": "k", "mode": "test"})

    def _make(self, path: str, body: Mapping[str, Any], *, method: str = "POST") -> Any:
        admin = path.startswith(("/v1/tenants", "/v1/provider-accounts"))
        key = ADMIN_KEY if admin else self.keys["TenantKey"]
        response = httpx.request(method, self._base_url + path, json=body, headers={"Authorization": f"Bearer {key}"})
        assert response.is_success, response.text
        return response.json()


def test_no_operation_answers_with_a_5xx_or_an_undocumented_status(base_url: str) -> None:
    world = World(base_url)
    document = httpx.get(f"{base_url}/openapi.json").json()
    schemes = _take_security(document)
    found: list[Any] = list(schemathesis.openapi.from_dict(document).get_all_operations())
    operations = [one.ok() for one in found]
    assert len(operations) == len(schemes) > 40
    for operation in operations:
        headers = world.headers(operation.path, scheme=schemes[operation.method, operation.path])
        for cases, checks in _cases(operation, world.ids):
            _fuzz(cases, checks, base_url=base_url, headers=headers)


def _take_security(document: dict[str, Any]) -> dict[tuple[str, str], str | None]:
    """Each operation's security scheme, taken out: keys are ours to give, not schemathesis's to make up."""
    schemes = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            [scheme] = [*(name for one in operation.pop("security", ()) for name in one), None][:1]
            schemes[method, path] = scheme
    return schemes


def _cases(operation: Any, ids: Mapping[str, Any]) -> Iterator[tuple[SearchStrategy[Any], list[CheckFunction]]]:
    named = {parameter.name for parameter in operation.path_parameters}
    yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE), CHECKS
    if named:
        known = {name: ids[name] for name in named}
        yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE, path_parameters=known), CHECKS
    if named or operation.body or operation.query:
        rejects = [] if operation.path in JUDGES_EACH else [negative_data_rejection]
        yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), [*CHECKS, *rejects]


def _fuzz(
    cases: SearchStrategy[Any], checks: list[CheckFunction], *, base_url: str, headers: Mapping[str, str]
) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def fuzzed(case: Any) -> None:
        case.call_and_validate(base_url=base_url, headers=dict(headers), checks=checks)

    fuzzed()
