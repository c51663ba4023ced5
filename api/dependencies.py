"""Who may come in: keys, scopes and rates. A route names what it needs; api/routes.py asks before it reads the body."""

import math
from base64 import b64decode
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Request

from api.problems import ApiError, FieldError
from api.services import Services
from waypost.messaging.values import Mode, TenantState
from waypost.store.keys import KnownKey

_ADMITTED = "waypost.admitted"
_LIVING = (TenantState.ACTIVE, TenantState.SUSPENDED)


class Scope(StrEnum):
    """What a key may be good for; `*` is all of it."""

    ALL = "*"
    MESSAGES_READ = "messages:read"
    MESSAGES_WRITE = "messages:write"
    CONTACTS_READ = "contacts:read"
    CONTACTS_WRITE = "contacts:write"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    SENDERS_READ = "senders:read"
    SENDERS_WRITE = "senders:write"
    KEYS_READ = "keys:read"
    AUDIENCES_READ = "audiences:read"
    AUDIENCES_WRITE = "audiences:write"
    EVENTS_WRITE = "events:write"
    TRACKING_WRITE = "tracking:write"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    JOURNEYS_READ = "journeys:read"
    JOURNEYS_WRITE = "journeys:write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The tenant that asks, and with which key."""

    tenant_id: UUID
    key_id: str
    mode: Mode
    scopes: frozenset[str]


class NeedsScope:
    """A tenant's key with this scope. As a dependency it gives the `Caller`."""

    security = "TenantKey"

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        """The caller that `admit` found."""
        return cast(Caller, request.scope[_ADMITTED])

    async def admit(self, request: Request) -> None:
        """Let the request in, or raise `ApiError`: 401, 403 with the scope that is missing, 429."""
        services = _services(request)
        await services.roles.check()
        key = await services.keys.find(self._given(request))
        if key is None:
            raise unauthorized()
        caller = self._caller(key)
        take_request(services, key)
        request.scope[_ADMITTED] = caller

    def _given(self, request: Request) -> str:
        return bearer(request)

    def _caller(self, key: KnownKey) -> Caller:
        if key.tenant_state not in _LIVING:
            raise ApiError("tenant_closed", "This tenant is closed: its keys are good for nothing any more.")
        scopes = frozenset(key.scopes)
        if self.scope not in scopes and Scope.ALL not in scopes:
            raise ApiError(
                "missing_scope", f"This key lacks the scope {self.scope}; use a key that has it, or have one made."
            )
        return Caller(tenant_id=key.tenant_id, key_id=key.key_id, mode=Mode(key.mode), scopes=scopes)


class NeedsWriteKey(NeedsScope):
    """The same key as the user of Basic authentication, without a password, as the Segment protocol has it."""

    def _given(self, request: Request) -> str:
        return bearer(request) or basic_user(request)


class NeedsAdmin:
    """The admin key, WAYPOST_ADMIN_KEY."""

    security = "AdminKey"

    async def __call__(self, request: Request) -> None:
        """Nothing to give: `admit` let the request in."""

    async def admit(self, request: Request) -> None:
        """Let the request in, or raise `ApiError` 401."""
        services = _services(request)
        expected = services.settings.admin.admin_key.get_secret_value()
        if not compare_digest(bearer(request).encode(), expected.encode()):
            raise unauthorized()
        await services.roles.check()


Guard = NeedsScope | NeedsAdmin


def needs(scope: Scope) -> Any:
    """For a route's signature: `caller: Annotated[Caller, needs(Scope.MESSAGES_WRITE)]`."""
    return Depends(NeedsScope(scope))


def needs_write_key(scope: Scope) -> Any:
    """For a route of the Segment protocol: the key may come as a Basic user, too."""
    return Depends(NeedsWriteKey(scope))


Admin = Annotated[None, Depends(NeedsAdmin())]
"""For an administration route's signature: `_: Admin`."""


def bearer(request: Request) -> str:
    """The key in the Authorization header, or an empty text."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""


def basic_user(request: Request) -> str:
    """The user in the Authorization header, or an empty text."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return b64decode(given.strip(), validate=True).decode("ascii").partition(":")[0]
    except ValueError:  # binascii's and the decoding's are both one
        return ""


def unauthorized() -> ApiError:
    """One answer for every reason, so that nobody learns which part was wrong."""
    return ApiError(
        "unauthorized",
        "Send a valid key of this API in the header Authorization: Bearer <key>.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def take_request(services: Services, key: KnownKey) -> None:
    """Count a request against its tenant's rate. Raises `ApiError` 429."""
    wait = services.rates.take(key.tenant_id, per_second=key.requests_per_second)
    if wait:
        bound = f"This tenant may make {key.requests_per_second} requests a second (requests_per_second)."
        raise ApiError(
            "rate_exceeded",
            f"{bound} Wait and try again, or send several at once by a batch route.",
            errors=[FieldError(field="requests_per_second", message=bound, bound=key.requests_per_second)],
            headers={"Retry-After": str(math.ceil(wait))},
        )


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)
