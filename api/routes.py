"""The kind of route that all of `/v1` is: guarded before its body is read, strict about JSON, and documented whole."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.dependencies import Guard, NeedsAdmin, NeedsScope
from api.problems import MEDIA_TYPE, ApiError, FieldError

_MEANINGS = {
    400: "The body is not JSON",
    401: "The key is missing or not valid",
    403: "The key lacks the scope, or the tenant is closed",
    404: "There is no such thing, or it belongs to another tenant",
    409: "The present state forbids this",
    413: "The body is over its bound",
    422: "Not valid; errors names the fields",
    429: "Over the tenant's rate, or over a bound of what may wait; see Retry-After",
    503: "The database is away; see Retry-After",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: problem documents of these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def guarded_router(tag: str) -> APIRouter:
    """A router whose every route is guarded and says which problems it may answer with."""
    return APIRouter(route_class=GuardedRoute, tags=[tag])


class JsonRequest(Request):
    """A request whose body is JSON as RFC 8259 has it: no NaN, no lone surrogates, and no U+0000 in any text."""

    async def json(self) -> Any:
        """The body. Raises orjson's JSONDecodeError, or `ApiError` naming the field with the NUL."""
        if not hasattr(self, "_json"):
            body = await self.body()
            value = orjson.loads(body)
            if b"\\u0000" in body:
                _refuse_nul(value)
            self._json = value
        return self._json


def _refuse_unknown(request: Request, known: frozenset[str]) -> None:
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        advice = f"There is no such parameter; this path takes {', '.join(sorted(known)) or 'none'}."
        errors = [FieldError(field=f"query.{name[:64]}", message=advice) for name in unknown[:10]]
        raise ApiError("validation_failed", advice, errors=errors)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for child in dependant.dependencies:
        yield from _query_names(child)


def _refuse_nul(value: object) -> None:
    # A backslash may itself be escaped, so that only the parsed value tells.
    pending: list[tuple[tuple[int | str, ...], object]] = [((), value)]
    while pending:
        place, item = pending.pop()
        if isinstance(item, str) and "\0" in item:
            advice = "The character U+0000 is not allowed; remove it."
            field = ".".join(map(str, place)) or "body"
            raise ApiError("validation_failed", advice, errors=[FieldError(field=field, message=advice)])
        if isinstance(item, dict):
            pending += [((*place, "(key)"), key) for key in item]
            pending += [((*place, key), child) for key, child in item.items()]
        elif isinstance(item, list):
            pending += [((*place, index), child) for index, child in enumerate(item)]


class GuardedRoute(APIRoute):
    """A route that names one guard (a key's scope, or the admin key) among its dependencies."""

    request_class: type[JsonRequest] = JsonRequest

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.responses = {**problems(*self._statuses()), **self.responses}
        self.openapi_extra = {"security": [{self.guard.security: []}], **(self.openapi_extra or {})}

    @property
    def guard(self) -> Guard:
        """What the route asks for. Raises LookupError where it asks for nothing."""
        return find_guard(self.dependant)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Admission first, so that strangers are turned away before their body is read."""
        handle = super().get_route_handler()
        guard = self.guard
        known = frozenset(_query_names(self.dependant))

        async def guarded(request: Request) -> Response:
            await guard.admit(request)
            if request.scope["query_string"]:
                _refuse_unknown(request, known)
            return await handle(self.request_class(request.scope, request.receive))

        return guarded

    def _statuses(self) -> list[int]:
        statuses = [401, 422, 503]
        if isinstance(self.guard, NeedsScope):
            statuses += [403, 429]
        if self.body_field is not None:
            statuses += [400, 413]
        if self.dependant.path_params:
            statuses.append(404)
        return statuses


def find_guard(dependant: Dependant) -> Guard:
    """The guard among a route's dependencies. Raises LookupError where there is not exactly one."""
    (guard,) = _guards(dependant)
    return guard


def _guards(dependant: Dependant) -> list[Guard]:
    own = [dependant.call] if isinstance(dependant.call, NeedsAdmin | NeedsScope) else []
    return [*own, *(guard for child in dependant.dependencies for guard in _guards(child))]
