"""From what went wrong to the problem document that says so: the one place where domain errors meet HTTP."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg import DataError, OperationalError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.problems import ApiError, FieldError, problem_response
from waypost.messaging.content_errors import ContentError
from waypost.messaging.errors import BacklogFullError, MessageRefusedError, MessagingError
from waypost.messaging.values import Channel
from waypost.providers.errors import EndpointRefusedError
from waypost.store.errors import StoreError

_BOUNDS = ("max_length", "min_length", "le", "lt", "ge", "gt", "bound", "multiple_of")

_CHANNELS = frozenset(Channel)

_BY_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}

_ENDPOINT_ADVICE = {
    "endpoint_not_the_providers": "A live account may name its provider's own https origins only; "
    "leave the field out, or make the account a test account.",
    "test_account_needs_endpoint": "A test account must name the endpoint it talks to, "
    "or its messages would reach real people.",
    "endpoint_malformed": "Give an http or https URL without user, query or fragment; origins have no path.",
    "region_malformed": "Give an AWS region such as eu-central-1.",
}


def install(app: FastAPI) -> None:
    """Answer every error of the app's routes with a problem document."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for kind in (
        StoreError,
        MessagingError,
        ContentError,
        EndpointRefusedError,
        OperationalError,
        DataError,
        DBAPIError,
    ):
        app.add_exception_handler(kind, _domain_error)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, ApiError):
        return problem_response(error.code, error.detail, errors=error.errors, headers=error.headers)
    code = _BY_STATUS.get(error.status_code, "bad_request")
    return problem_response(code, _sentence(error.status_code), headers=error.headers)


def _sentence(status: int) -> str:
    match status:
        case 404:
            return "There is nothing at this path; docs/api.md and /openapi.json list what there is."
        case 405:
            return "This path does not take this method; the Allow header lists those it takes."
        case _:
            return "The request cannot be read; send a JSON body with Content-Type: application/json."


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        at = found[0]["loc"][-1]
        return problem_response(
            "invalid_json",
            f"The body is not well-formed JSON at character {at}: {found[0]['ctx']['error']}.",
        )
    return problem_response(
        "validation_failed",
        "The request is not valid: correct the fields under errors and send again.",
        errors=field_errors(found),
    )


async def _domain_error(_: Request, error: Exception) -> Response:
    return respond(error) or internal()


def respond(error: BaseException) -> Response | None:
    """The answer to an error of the packages below; None where nobody foresaw it."""
    if isinstance(error, DBAPIError):
        return respond(error.orig) if error.orig is not None else None
    match error:
        case ApiError():
            return problem_response(error.code, error.detail, errors=error.errors, headers=error.headers)
        case OperationalError():
            return problem_response(
                "database_away",
                "The database cannot be reached just now; nothing was stored. Try again after Retry-After seconds.",
                headers={"Retry-After": "1"},
            )
        case DataError():
            return problem_response("unstorable_value", "A value is out of the range that can be stored; correct it.")
        case TimeoutError():
            return problem_response(
                "deadline_passed",
                "The request took too long and was given up; ask again to see what was stored.",
                headers={"Retry-After": "1"},
            )
        case StoreError():
            errors = [FieldError(field=error.field, message=error.message)] if error.field else []
            return problem_response(error.code, error.message, errors=errors)
        case ContentError():
            return content_problem([error])
        case MessagingError():
            return _messaging_problem(error)
        case EndpointRefusedError():
            advice = _ENDPOINT_ADVICE.get(error.code, "The account may not name this origin.")
            return problem_response(
                "endpoint_refused", advice, errors=[FieldError(field=error.field, message=advice, code=error.code)]
            )
        case _:
            return None


def _messaging_problem(error: MessagingError) -> Response:
    advice = f"{error.message} {error.hint}" if error.hint else error.message
    variable = error.variable if isinstance(error, MessageRefusedError) else None
    bound, headers = None, None
    if isinstance(error, BacklogFullError):
        bound, headers = error.bound, {"Retry-After": str(error.retry_after_s)}
    errors = [FieldError(field=error.field, message=advice, bound=bound, variable=variable)] if error.field else []
    return problem_response(error.code, advice, errors=errors, headers=headers)


def content_problem(found: Sequence[ContentError], *, prefix: str = "") -> Response:
    """Content that cannot be taken; the first error gives the code. `prefix` is put before each field."""
    first = found[0]
    return problem_response(first.code, _advice(first), errors=[content_field_error(one, prefix) for one in found])


def content_field_error(error: ContentError, prefix: str = "") -> FieldError:
    """A content error as one entry of a problem's errors."""
    return FieldError(
        field=prefix + (error.field or "content"),
        message=_advice(error),
        code=error.code,
        bound=error.bound,
        line=error.line,
        variable=error.variable,
    )


def _advice(error: ContentError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message


def field_errors(found: Iterable[Any]) -> list[FieldError]:
    """Pydantic's errors in our words; what the caller sent is not repeated."""
    return [
        FieldError(
            field=_path(error["loc"]),
            message=_message(error),
            code=error["type"].removeprefix("waypost_"),
            bound=_bound(error.get("ctx") or {}),
        )
        for error in found
    ]


def _path(location: Sequence[int | str]) -> str:
    place, *rest = location
    parts = rest if place == "body" else [place, *rest]
    # Content is a union: pydantic puts the channel that it went by between `content` and the field.
    parts = [part for before, part in pairwise(["", *parts]) if before != "content" or part not in _CHANNELS]
    return ".".join(str(part) for part in parts) or "body"


def _message(error: Any) -> str:
    hint = (error.get("ctx") or {}).get("hint")
    return f"{error['msg']} {hint}" if hint else str(error["msg"])


def _bound(context: dict[str, Any]) -> float | None:
    return next((float(context[name]) for name in _BOUNDS if isinstance(context.get(name), int | float)), None)


def internal() -> Response:
    """What is said of a fault of ours: nothing of its inside."""
    return problem_response(
        "internal", "Something went wrong on our side; nothing about it can be changed in the request. Try again later."
    )
