"""Around every request, as plain ASGI: a bound on the body, a deadline, counting, and the last catch of an error."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import internal, respond
from api.metrics import ApiMetrics
from api.problems import ApiError, FieldError, problem_response

DEADLINE_S = 8.0
"""Once the body is there. Longer than PostgreSQL's statement time-out: what takes longer hangs on something."""
UPLOAD_S = 60.0
"""For the body, which may come slowly."""
SLOW_S = 1.0

logger = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
"""A caller may make up others; labels are bounded."""


class BodyBound:
    """Refuses a body over the bound with 413, by its Content-Length or, sent in chunks, once the bound is passed.

    `uploads`: paths that stream their body instead of holding it, with a bound of their own.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, uploads: Mapping[str, int]) -> None:
        self._app = app
        self._max = max_bytes
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bound = self._uploads.get(scope["path"], self._max)
        if _content_length(scope) > bound:
            error = _too_large(bound)
            await problem_response(error.code, error.detail, errors=error.errors)(scope, receive, send)
            return
        await self._app(scope, _counted(receive, bound), send)


def _counted(receive: Receive, bound: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > bound:
                raise _too_large(bound)
        return message

    return counted


def _too_large(bound: int) -> ApiError:
    advice = f"A body may have {bound} bytes at most; send less at a time."
    return ApiError("body_too_large", advice, errors=[FieldError(field="body", message=advice, bound=bound)])


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


class Observed:
    """Counts and times every request, ends what hangs, and answers what nobody caught without telling its inside."""

    def __init__(self, app: ASGIApp, *, metrics: ApiMetrics, uploads: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        started = perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_progress.inc()
        try:
            async with asyncio.timeout(DEADLINE_S) as deadline:
                uploads = scope["path"] in self._uploads
                await self._app(scope, _unhurried(receive, deadline, whole=not uploads), watched)
        except Exception as error:
            await self._answer(error, scope, receive, watched, answered=status != 0)
        finally:
            self._metrics.in_progress.dec()
            self._note(scope, status, perf_counter() - started)

    async def _answer(self, error: Exception, scope: Scope, receive: Receive, send: Send, *, answered: bool) -> None:
        logger.error("request failed", extra={"route": _route(scope)}, exc_info=error)
        if not answered:
            response = respond(error) or internal()
            await response(scope, receive, send)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = _route(scope), scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        slow = seconds > SLOW_S and route not in self._uploads  # how long these take is their caller's
        if status >= 500 or slow:
            facts = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000)}
            level = logging.ERROR if status >= 500 else logging.WARNING
            logger.log(level, "request answered", extra=facts)


def _unhurried(receive: Receive, deadline: asyncio.Timeout, *, whole: bool) -> Receive:
    """Gives a request until UPLOAD_S for its (whole) body, or for each part of it, and DEADLINE_S from then on."""
    clock = asyncio.get_running_loop().time
    uploaded_by = clock() + UPLOAD_S

    async def received() -> Message:
        deadline.reschedule(uploaded_by if whole else clock() + UPLOAD_S)
        message = await receive()
        deadline.reschedule(clock() + DEADLINE_S)
        return message

    return received


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", "none")
