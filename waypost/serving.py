"""/healthz, /readyz and /metrics of a process that is not an HTTP service itself; the registry of one that is.

And what every long-lived process of ours does about Python's collector of cycles.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_TEXT = "text/plain; charset=utf-8"
_COLLECTED_AFTER = (10_000, 20, 20)
"""Objects more than before, collections of the young, and of the middle-aged; Python's own are 700, 10, 10."""


def process_registry() -> CollectorRegistry:
    """A registry that tells of the process what prometheus_client's own one does: memory, CPU, descriptors, Python."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def calm_collector() -> None:
    """Keep the collector of cycles from walking the same objects again and again; call it once all is imported.

    Under load it took a quarter of ingest's CPU: thousands of rows in hand are new objects, but no cycles. What was
    imported is never looked at again, and the rest a tenth as often; reference counts free nearly all of it meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)


class StatusServer:
    """A small ASGI server beside the process's own work. `ready` tells what is missing, in words; nothing if ready."""

    def __init__(self, ready: Callable[[], str | None], *, host: str, port: int) -> None:
        self._ready = ready
        config = uvicorn.Config(
            self._app, host=host, port=port, log_level="warning", access_log=False, lifespan="off", interface="asgi3"
        )
        self._server = _QuietServer(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve in the background."""
        self._task = asyncio.create_task(self._server.serve(), name="status server")

    async def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _app(self, scope: MutableMapping[str, Any], receive: object, send: Send) -> None:  # noqa: ARG002 - ASGI
        status, content_type, body = self._answer(scope["path"])
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type.encode())]}
        )
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/healthz":
            return 200, _TEXT, b"ok\n"
        if path == "/readyz":
            missing = self._ready()
            return (503, _TEXT, f"{missing}\n".encode()) if missing else (200, _TEXT, b"ready\n")
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest()
        return 404, _TEXT, b"not found\n"


class _QuietServer(uvicorn.Server):
    """Signals belong to the process, not to its status page."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave them alone."""
        yield
