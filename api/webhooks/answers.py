"""What the webhooks answer, and how they read a request: bounded, and never further than needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.problems import MEDIA_TYPE

MAX_BODY = 256 * 1024
"""SNS's own bound of a message; Twilio's callbacks have a few kilobytes."""
MAX_FIELDS = 500


@dataclass(frozen=True, slots=True)
class Kind:
    """A code's status and its title, which never varies."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "malformed_event": Kind(422, "The event cannot be read"),
        "untrusted_event": Kind(403, "The event is not proven to be from the provider"),
        "no_event_trust": Kind(403, "The account does not say whose events to believe"),
        "not_found": Kind(404, "There is no such webhook"),
        "method_not_allowed": Kind(405, "The path has no such method"),
        "body_too_large": Kind(413, "The body is too large"),
        "trust_unavailable": Kind(503, "The event cannot be verified just now"),
        "database_away": Kind(503, "The event cannot be kept just now"),
        "internal": Kind(500, "Something went wrong on our side"),
    }
)


class RefusalError(Exception):
    """An answer that is not 2xx. `detail` is a sentence of ours without personal data."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def problem(code: str, detail: str) -> Response:
    """The problem document (RFC 9457) of one of KINDS; 503 asks to be tried again."""
    kind = KINDS[code]
    document = {
        "type": f"/errors/{code}",
        "title": kind.title,
        "status": kind.status,
        "code": code,
        "detail": detail,
        "errors": [],
    }
    headers = {"Retry-After": "5"} if kind.status == 503 else None
    return Response(orjson.dumps(document), kind.status, media_type=MEDIA_TYPE, headers=headers)


async def read_body(request: Request) -> bytes:
    """The body, 256 KiB at most. Raises `RefusalError`."""
    if int(request.headers.get("content-length") or 0) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise _too_large()
    except ClientDisconnect:
        raise RefusalError("malformed_event", "The connection ended before the body did.") from None
    return bytes(body)


async def read_form(request: Request) -> list[tuple[str, str]]:
    """The fields of a form, in order. Raises `RefusalError`."""
    body = await read_body(request)
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, encoding="utf-8", errors="replace"
        )
    except ValueError:
        raise RefusalError("malformed_event", "The body is not a form in UTF-8.") from None


def path_id(request: Request, name: str) -> UUID:
    """An id in the path. Raises `RefusalError`."""
    try:
        return UUID(request.path_params[name])
    except ValueError:
        raise not_found() from None


def not_found() -> RefusalError:
    """The same answer for every path that leads nowhere."""
    return RefusalError("not_found", "Take the URL from the account's page: it carries the account's id.")


def _too_large() -> RefusalError:
    return RefusalError("body_too_large", f"An event may have {MAX_BODY} bytes at most.")
