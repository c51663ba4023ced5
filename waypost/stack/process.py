"""Processes as data: what is started, how its readiness shows, and how it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from waypost.stack.ownership import ServerUser

_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class TcpReady:
    """Ready once it accepts connections."""

    port: int
    host: str = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class HttpReady:
    """Ready once a GET is answered with a 2xx."""

    port: int
    path: str = "/readyz"
    host: str = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class LineReady:
    """Ready once a line of a file says so (PostgreSQL's postmaster.pid)."""

    path: Path
    number: int
    text: str


@dataclass(frozen=True)
class AtOnce:
    """Ready as soon as it runs."""


Readiness = TcpReady | HttpReady | LineReady | AtOnce


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One long-running child."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Readiness = field(default_factory=AtOnce)
    ready_timeout_s: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    grace_s: float = 10.0
    user: ServerUser | None = None
    pid_file: Path | None = None
    niceness: int = 0
    """How far it stands back where all CPUs are taken (`priority.lower`)."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """Something that runs once and must succeed, such as the migrations."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class HttpCall:
    """A request made before the first child is stopped; its failure is ignored."""

    port: int
    path: str
    method: str = "POST"
    host: str = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """Stages are started one after the other, what is in one at the same time; the stop order is its own."""

    stages: tuple[tuple[ProcessSpec | TaskSpec, ...], ...]
    stop_order: tuple[tuple[str, ...], ...]
    quiesce: HttpCall | None = None

    def processes(self) -> tuple[ProcessSpec, ...]:
        """All long-running children, in the order of their start."""
        return tuple(spec for stage in self.stages for spec in stage if isinstance(spec, ProcessSpec))


async def is_ready(readiness: Readiness) -> bool:
    """Asks once, at most two seconds; never raises."""
    match readiness:
        case TcpReady():
            return await _connects(readiness.host, readiness.port)
        case HttpReady():
            status = await http_status(HttpCall(port=readiness.port, path=readiness.path, method="GET"))
            return status is not None and 200 <= status < 300
        case LineReady():
            return _line(readiness.path, readiness.number) == readiness.text
        case AtOnce():
            return True
        case _:
            assert_never(readiness)


async def http_status(call: HttpCall) -> int | None:
    """The status of the answer, or None; a dozen bytes of HTTP rather than an import of a client."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(call.host, call.port)
            try:
                head = f"{call.method} {call.path} HTTP/1.1\r\nHost: {call.host}:{call.port}\r\n"
                writer.write(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
                parts = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None


async def _connects(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _line(path: Path, number: int) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return lines[number - 1].strip() if len(lines) >= number else None
