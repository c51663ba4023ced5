"""How somebody with a link comes in: the token is the key. Its person and tenant are known before the body is read."""

import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse

from api.link_markup import page, paragraph, remark
from api.services import Services
from waypost.messaging.link_tokens import LinkAction, LinkGrant
from waypost.store.database import DatabaseAway
from waypost.store.link_visits import Visit, visit

PER_PERSON = 10
PER_TENANT = 500
"""Visits a second and API process, apart from the tenant's rate of the API, which keeps nobody from leaving."""

MAX_FORM = 64 * 1024
MAX_FIELDS = 500

logger = logging.getLogger(__name__)


class PageError(Exception):
    """A visit that ends with another page than the one that was asked for."""

    def __init__(self, answer: HTMLResponse) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person with a link: what it grants, and what it is about."""

    grant: LinkGrant
    seen: Visit


class TokenRoute(APIRoute):
    """A route whose path's token lets in, and which answers with pages, whatever happens."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, with what went wrong as a page."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handle(request)
            except PageError as error:
                return error.answer
            except (*DatabaseAway, TimeoutError) as error:
                logger.error("page not served", extra={"route": self.path}, exc_info=error)
                return _away()

        return shown


async def let_in(services: Services, token: str, action: LinkAction) -> Visitor:
    """The visitor, if the token is for this action. Raises `PageError`: 404, 429."""
    grant = services.links.read(token, action)
    if grant is None:
        raise PageError(unknown_link())
    _take_visit(services, grant.contact or grant.message or grant.tenant, PER_PERSON)
    _take_visit(services, grant.tenant, PER_TENANT)
    await services.roles.check()
    async with services.app_db.transaction(grant.tenant) as connection:
        seen = await visit(connection, grant)
    if seen is None:
        raise PageError(unknown_link())
    return Visitor(grant, seen)


async def read_form(request: Request) -> Sequence[tuple[str, str]]:
    """The fields of a form that a page of ours posted. Raises `PageError` 400."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise PageError(_unreadable())
    try:
        return parse_qsl(body.decode(), max_num_fields=MAX_FIELDS)
    except ValueError:
        raise PageError(_unreadable()) from None


def unknown_link() -> HTMLResponse:
    """The page of a link that is none of ours."""
    return page(
        "This link does not work",
        paragraph("It may have been cut off or changed on its way. Please open it again from the message you got."),
        remark("If that does not help, answer the message, and its sender will see to it."),
        status=404,
    )


def _take_visit(services: Services, whose: UUID, per_second: int) -> None:
    wait = services.visits.take(whose, per_second=per_second)
    if wait:
        raise PageError(
            page(
                "One moment, please",
                paragraph("This page is being asked for too often just now. Please try again in a few seconds."),
                status=429,
                headers={"Retry-After": str(math.ceil(wait))},
            )
        )


def _unreadable() -> HTMLResponse:
    return page(
        "That could not be read",
        paragraph("Nothing was changed. Please open the link in the message again, and choose once more."),
        status=400,
    )


def _away() -> HTMLResponse:
    return page(
        "Please try again in a minute",
        paragraph("We cannot look this up just now; nothing was changed. Your link stays good."),
        status=503,
        headers={"Retry-After": "60"},
    )
