"""The bare control as a process of its own: started, asked, stopped."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from uuid import uuid4

from temporalio.client import Client

from waypost.bench.arms import gather_bounded, until
from waypost.bench.bare import WORKFLOW, BareInput, queue_name
from waypost.bench.children import stop


class BareControl:
    """`with BareControl(environment, queues=1) as bare:` polls queues of its own until the block ends."""

    def __init__(self, environment: Mapping[str, str], *, queues: int = 1) -> None:
        self.prefix = f"bare-{uuid4().hex[:8]}"
        self._argv = (sys.executable, "-m", "waypost.bench.bare", "--queues", str(queues), "--prefix", self.prefix)
        self._environment = {**os.environ, **environment}
        self._queues = queues
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The worker's process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, env=self._environment, stdout=subprocess.PIPE)
        self._read()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        stop(self._process)

    def activities(self) -> int:
        """How many activities have run."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        return self._read()

    async def start(self, client: Client, number: int) -> None:
        """Start one execution, on the queues in turn."""
        await client.start_workflow(
            WORKFLOW,
            BareInput(str(uuid4()), str(number)),
            id=f"{self.prefix}/{uuid4()}",
            task_queue=queue_name(self.prefix, number % self._queues),
        )

    async def run(self, client: Client) -> float:
        """One execution from start to result; seconds."""
        began = time.perf_counter()
        await client.execute_workflow(
            WORKFLOW,
            BareInput(str(uuid4()), "0"),
            id=f"{self.prefix}/{uuid4()}",
            task_queue=queue_name(self.prefix, 0),
        )
        return time.perf_counter() - began

    async def rate(self, client: Client, *, count: int, at_once: int) -> float:
        """Executions a second, from the first start to the last activity."""
        before = await asyncio.to_thread(self.activities)
        began = time.perf_counter()
        await gather_bounded(count, at_once, lambda number: self.start(client, number))

        async def all_ran() -> bool:
            return await asyncio.to_thread(self.activities) - before >= count

        await until(all_ran)
        return count / (time.perf_counter() - began)

    def _read(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        return int(json.loads(self._process.stdout.readline())["activities"])
