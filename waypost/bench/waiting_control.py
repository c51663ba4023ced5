"""The bare executions that wait, as a process of its own: started, told, read."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from temporalio.client import Client

from waypost.bench.arms import gather_bounded
from waypost.bench.bare import queue_name
from waypost.bench.bare_waiting import SIGNAL, SIGNAL_WORKFLOW, TIMER_WORKFLOW, TimerInput
from waypost.bench.children import stop

_STARTS_AT_ONCE = 16
"""As Waypost starts executions of enrollments."""

_TENANT = str(uuid4())


class WaitingControl:
    """`with WaitingControl(environment, queues=2) as bare:` polls so many queues; all executions are on the first."""

    def __init__(self, environment: Mapping[str, str], *, queues: int) -> None:
        self.prefix = f"waiting-{uuid4().hex[:8]}"
        self._folder = tempfile.TemporaryDirectory(prefix="waypost-bench-")
        self._stamps = Path(self._folder.name) / "stamps"
        where = ("--queues", str(queues), "--prefix", self.prefix, "--stamps", str(self._stamps))
        self._argv = (sys.executable, "-m", "waypost.bench.bare_waiting", *where)
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The worker's process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, env=self._environment, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the control ended before it was ready")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        stop(self._process)
        self._folder.cleanup()

    async def start_timers(self, client: Client, numbers: range, *, until: float) -> None:
        """Executions that wait until a moment, in seconds since 1970; their numbers are theirs alone."""

        async def one(place: int) -> None:
            number = numbers[place]
            await client.start_workflow(
                TIMER_WORKFLOW,
                TimerInput(_TENANT, number, until),
                id=self.workflow_id(number),
                task_queue=queue_name(self.prefix, 0),
            )

        await gather_bounded(len(numbers), _STARTS_AT_ONCE, one)

    async def start_listeners(self, client: Client, count: int) -> None:
        """Executions 0 … that wait for signals."""

        async def one(number: int) -> None:
            await client.start_workflow(
                SIGNAL_WORKFLOW, _TENANT, id=self.workflow_id(number), task_queue=queue_name(self.prefix, 0)
            )

        await gather_bounded(count, _STARTS_AT_ONCE, one)

    async def wake(self, client: Client, *, listener: int, number: int) -> None:
        """Signal an execution; its activity is stamped with the number."""
        await client.get_workflow_handle(self.workflow_id(listener)).signal(SIGNAL, number)

    async def end_listeners(self, client: Client, count: int) -> None:
        """A stack that goes on keeps none of them."""

        async def one(number: int) -> None:
            await client.get_workflow_handle(self.workflow_id(number)).terminate()

        await gather_bounded(count, _STARTS_AT_ONCE, one)

    def workflow_id(self, number: int) -> str:
        """The n-th execution."""
        return f"{self.prefix}/{number}"

    def stamps(self) -> dict[int, float]:
        """When each number's activity began, in seconds since 1970."""
        if not self._stamps.exists():
            return {}
        lines = self._stamps.read_text().splitlines()
        return {int(number): float(at) for number, at in (line.split(" ") for line in lines)}
