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
STREAM_S = 3600.0
"""For an answer that is written while it comes about: a campaign's progress, an export."""

logger = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
"""A caller may make up others; labels are bounded."""
_STREAMED = (b"text/event-stream", b"text/csv")


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
        status, streams = 0, False
        started = perf_counter()
        patience = _Patience(whole=scope["path"] not in self._uploads)

        async def watched(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status, streams = message["status"], _is_stream(message)
                if streams:
                    patience.stream()
            await send(message)

        self._metrics.in_progress.inc()
        try:
            async with patience.deadline:
                await self._app(scope, patience.around(receive), watched)
        except Exception as error:
            await self._answer(error, scope, receive, watched, answered=status != 0)
        finally:
            self._metrics.in_progress.dec()
            self._note(scope, status, perf_counter() - started, streams=streams)

    async def _answer(self, error: Exception, scope: Scope, receive: Receive, send: Send, *, answered: bool) -> None:
        logger.error("request failed", extra={"route": _route(scope)}, exc_info=error)
        if not answered:
            response = respond(error) or internal()
            await response(scope, receive, send)

    def _note(self, scope: Scope, status: int, seconds: float, *, streams: bool) -> None:
        route, method = _route(scope), scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        paced = streams or route in self._uploads  # how long these take is their caller's
        if not streams:
            self._metrics.seconds.labels(route).observe(seconds)
        slow = seconds > SLOW_S and not paced
        if status >= 500 or slow:
            facts = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000)}
            level = logging.ERROR if status >= 500 else logging.WARNING
            logger.log(level, "request answered", extra=facts)


class _Patience:
    """Gives a request until UPLOAD_S for its (whole) body, or for each part of it, and DEADLINE_S from then on; an
    answer that is a stream gets STREAM_S."""

    def __init__(self, *, whole: bool) -> None:
        self.deadline = asyncio.timeout(DEADLINE_S)
        self._whole = whole
        self._clock = asyncio.get_running_loop().time
        self._uploaded_by = self._clock() + UPLOAD_S
        self._streams = False

    def stream(self) -> None:
        """The answer has begun, and goes on."""
        self._streams = True
        self.deadline.reschedule(self._clock() + STREAM_S)

    def around(self, receive: Receive) -> Receive:
        """What the app receives by: asked while it streams, it tells of the caller's going away alone."""

        async def received() -> Message:
            if self._streams:
                return await receive()
            self.deadline.reschedule(self._uploaded_by if self._whole else self._clock() + UPLOAD_S)
            message = await receive()
            if not self._streams:
                self.deadline.reschedule(self._clock() + DEADLINE_S)
            return message

        return received


def _is_stream(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(_STREAMED) for name, value in start["headers"])


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", "none")
