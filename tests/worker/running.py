"""`python worker.py` as users run it, against the session's servers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import httpx

from tests.services import Database
from waypost.stack.ports import free_port

ROOT = Path(__file__).parents[2]

KEY, SECRET = "waypost-test-worker", "a-secret-of-the-simulator"


class RunningWorker:
    """One process of the fast lane."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
        self.process = process
        self._log = log
        self._url = f"http://127.0.0.1:{port}/readyz"

    async def ready(self, *, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds), httpx.AsyncClient(trust_env=False) as client:
            while await self._status(client) != 200:
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.05)

    async def _status(self, client: httpx.AsyncClient) -> int:
        try:
            return (await client.get(self._url)).status_code
        except httpx.HTTPError:
            return 0

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self, *, seconds: float) -> int:
        return await asyncio.to_thread(self.process.wait, seconds)

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()


@contextmanager
def running_worker(
    database: Database, *, temporal: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningWorker]:
    """Start one; it is killed if it has not ended."""
    port = free_port()
    settings = {
        **database.environment(),
        "PATH": os.environ["PATH"],
        "TEMPORAL_ADDRESS": temporal,
        "WAYPOST_SECRET_KEY": "a-secret-key-of-at-least-32-characters",
        "WAYPOST_WORKER_METRICS_PORT": str(port),
        "SES_KEY": KEY,
        "SES_SECRET": SECRET,
        **(environment or {}),
    }
    with TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "worker.py", "--lanes", "fast"], cwd=ROOT, env=settings, stdout=log, stderr=log
        )
        try:
            yield RunningWorker(process, port, log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
