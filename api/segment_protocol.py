"""The Segment protocol, so that its client libraries work by changing their host: `/v1/identify`, `/v1/track`, ….

Source: segment.com/docs/connections/sources/catalog/libraries/server/http-api. What it means here: docs/segment.md.
"""

import zlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api.dependencies import Caller, Scope, needs_write_key
from api.errors import field_errors
from api.problems import ApiError, FieldError
from api.routes import GuardedRoute, JsonRequest
from api.segment_calls import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_CALL_BYTES,
    Alias,
    AnyCall,
    Call,
    Group,
    Identify,
    Page,
    Screen,
    Track,
)
from api.segment_intake import CallProblem, Placed, take_calls
from api.services import Services, WithServices

_BATCHES = frozenset({"/v1/batch", "/v1/import"})
_CALL: TypeAdapter[Call] = TypeAdapter(AnyCall)


class SegmentRequest(JsonRequest):
    """A request of the protocol: its body may be compressed, and has the protocol's bounds."""

    async def body(self) -> bytes:
        """The body before it was compressed. Raises `ApiError`: 413 over its bound, 400 where it is not gzip."""
        if not hasattr(self, "_plain"):
            bound = MAX_BATCH_BYTES if self.url.path in _BATCHES else MAX_CALL_BYTES
            body = await super().body()
            match self.headers.get("content-encoding", "identity").lower():
                case "gzip" | "x-gzip":
                    body = _decompressed(body, bound)
                case "identity" | "":
                    pass
                case _:
                    raise ApiError("bad_request", "Send the body as it is, or with Content-Encoding: gzip.")
            if len(body) > bound:
                raise _too_large(bound)
            self._plain = body
        return self._plain

    async def json(self) -> Any:
        """The body. U+0000 is each call's own mistake: one that holds it keeps the others of its batch not out."""
        return orjson.loads(await self.body())


def _decompressed(body: bytes, bound: int) -> bytes:
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip's header
    try:
        plain = reader.decompress(body, bound + 1)
    except zlib.error:
        plain = None
    if plain is None or (len(plain) <= bound and not reader.eof):
        raise ApiError("bad_request", "The body is not what its Content-Encoding says; compress it by gzip again.")
    return plain


def _too_large(bound: int) -> ApiError:
    advice = f"A call may have {MAX_CALL_BYTES} bytes of JSON, a batch {MAX_BATCH_BYTES}; send less at a time."
    return ApiError("body_too_large", advice, errors=[FieldError(field="body", message=advice, bound=bound)])


class SegmentRoute(GuardedRoute):
    """A route of the protocol. Its key comes as a Basic user, or as everywhere else."""

    request_class = SegmentRequest

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.openapi_extra = {**(self.openapi_extra or {}), "security": [{"TenantKey": []}, {"WriteKey": []}]}


router = APIRouter(route_class=SegmentRoute, tags=["segment protocol"])

Writer = Annotated[Caller, needs_write_key(Scope.TRACKING_WRITE)]


class _AsCall:
    """Any object, documented as a call: each is judged by itself."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(_CALL.core_schema)


class SegmentBatch(BaseModel):
    """Calls of any type, in the order in which they were made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    batch: Annotated[tuple[Annotated[dict[str, Any], _AsCall()], ...], Field(max_length=MAX_BATCH)]


class CallsTaken(BaseModel):
    """The protocol's answer. `problems` is ours: it names the calls of which not all was taken."""

    success: Literal[True] = True
    problems: Sequence[CallProblem] | None = None


_AS_IT_IS: dict[str, Any] = {"response_model_exclude_none": True}


@router.post("/v1/track", **_AS_IT_IS)
async def track(caller: Writer, services: WithServices, body: Track) -> CallsTaken:
    """A contact did something."""
    return await _take_one(services, caller, body)


@router.post("/v1/identify", **_AS_IT_IS)
async def identify(caller: Writer, services: WithServices, body: Identify) -> CallsTaken:
    """Say who a contact is: its traits become attributes, and what is not named stays."""
    return await _take_one(services, caller, body)


@router.post("/v1/page", **_AS_IT_IS)
async def page(caller: Writer, services: WithServices, body: Page) -> CallsTaken:
    """A contact looked at a page."""
    return await _take_one(services, caller, body)


@router.post("/v1/screen", **_AS_IT_IS)
async def screen(caller: Writer, services: WithServices, body: Screen) -> CallsTaken:
    """A contact looked at a screen of an app."""
    return await _take_one(services, caller, body)


@router.post("/v1/group", **_AS_IT_IS)
async def group(caller: Writer, services: WithServices, body: Group) -> CallsTaken:
    """A contact is in a group, of which the traits are."""
    return await _take_one(services, caller, body)


@router.post("/v1/alias", **_AS_IT_IS)
async def alias(caller: Writer, services: WithServices, body: Alias) -> CallsTaken:
    """Two ids are one contact's."""
    return await _take_one(services, caller, body)


@router.post("/v1/batch", **_AS_IT_IS)
async def batch(caller: Writer, services: WithServices, body: SegmentBatch) -> CallsTaken:
    """Calls of all types. One that cannot be taken keeps no other out: `problems` names it."""
    return await _take_batch(services, caller, body)


@router.post("/v1/import", **_AS_IT_IS)
async def import_batch(caller: Writer, services: WithServices, body: SegmentBatch) -> CallsTaken:
    """The same as a batch, for what happened before."""
    return await _take_batch(services, caller, body)


async def _take_one(services: Services, caller: Caller, call: Call) -> CallsTaken:
    problems = await take_calls(services, caller, [(0, call)])
    _note(services, problems, calls=1)
    for one in problems:
        if not one.taken:
            raise ApiError(one.code, "The call was not taken: correct the fields under errors.", errors=one.errors)
    return CallsTaken(problems=problems or None)


async def _take_batch(services: Services, caller: Caller, body: SegmentBatch) -> CallsTaken:
    calls, problems = _judge(body.batch)
    if calls:
        problems += await take_calls(services, caller, calls)
    _note(services, problems, calls=len(body.batch))
    return CallsTaken(problems=sorted(problems, key=lambda one: one.index) or None)


def _judge(batch: Sequence[dict[str, Any]]) -> tuple[list[Placed], list[CallProblem]]:
    calls: list[Placed] = []
    problems: list[CallProblem] = []
    for place, given in enumerate(batch):
        try:
            if len(orjson.dumps(given)) > MAX_CALL_BYTES:
                raise _too_large(MAX_CALL_BYTES)
            calls.append((place, _CALL.validate_python(given)))
        except ApiError as error:
            problems.append(CallProblem(index=place, taken=False, code=error.code, errors=error.errors))
        except ValidationError as error:
            errors = field_errors(_located(error))
            problems.append(CallProblem(index=place, taken=False, code="validation_failed", errors=errors))
    return calls, problems


def _located(error: ValidationError) -> list[Any]:
    """Where in the call: pydantic puts its type before the field."""
    found = error.errors(include_url=False, include_input=False)
    return [{**one, "loc": ("body", *(one["loc"][1:] or ("type",)))} for one in found]


def _note(services: Services, problems: Sequence[CallProblem], *, calls: int) -> None:
    refused = sum(not one.taken for one in problems)
    incomplete = len({one.index for one in problems}) - refused
    for result, count in (
        ("taken", calls - refused - incomplete),
        ("incomplete", incomplete),
        ("refused", refused),
    ):
        if count:
            services.metrics.segment_calls.labels(result).inc(count)
