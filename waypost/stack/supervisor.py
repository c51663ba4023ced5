"""Starts children stage by stage, starts the crashed again, and stops all in order.

Each child has a session of its own, or Ctrl-C would reach PostgreSQL before its clients have drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, BinaryIO

from waypost.stack.errors import ChildFailedError
from waypost.stack.guardian import MARK
from waypost.stack.logs import Logs
from waypost.stack.priority import lower
from waypost.stack.process import ProcessSpec, StackPlan, TaskSpec, http_status, is_ready
from waypost.stack.watch import GuardianLink

_POLL_S = 0.03
_HOUSEKEEPING_S = 1.0
_HURRIED_GRACE_S = 0.5


class EventKind(StrEnum):
    """What happened to a child."""

    STARTING = "starting"
    READY = "ready"
    CRASHED = "crashed"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True, kw_only=True)
class StackEvent:
    """For whoever shows progress; `seconds` is how long it took, `detail` a sentence where there is more to say."""

    kind: EventKind
    name: str
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """A crashed child is started again after a doubling pause; too many crashes within the window end the stack."""

    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    crashes: int = 5
    window_s: float = 60.0

    def pause(self, crashes: int) -> float:
        return float(min(self.longest_pause_s, self.first_pause_s * 2 ** (crashes - 1)))


@dataclass(eq=False)
class _Child:
    spec: ProcessSpec
    process: asyncio.subprocess.Process
    crashed_at: deque[float] = field(default_factory=deque)
    watcher: asyncio.Task[None] | None = None


class Supervisor:
    """`start`, then `run_until`, then `stop`, which is safe whatever of the former happened."""

    def __init__(
        self,
        plan: StackPlan,
        *,
        logs: Logs,
        report: Callable[[StackEvent], None],
        policy: RestartPolicy | None = None,
        inherited: tuple[int, ...] = (),
    ) -> None:
        self._plan = plan
        self._logs = logs
        self._report = report
        self._policy = policy or RestartPolicy()
        self._stack_id = uuid.uuid4().hex
        self._guardian = GuardianLink(plan, stack=self._stack_id, logs=logs, inherited=inherited)
        self._children: dict[str, _Child] = {}
        self._stopping = False
        self._hurry = asyncio.Event()
        self._failure: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Returns when everything is ready. Raises ChildFailedError at the first that is not."""
        self._guardian.ensure()
        try:
            for stage in self._plan.stages:
                async with asyncio.TaskGroup() as group:
                    for spec in stage:
                        group.create_task(self._bring_up(spec))
        except BaseExceptionGroup as group:
            raise next((e for e in group.exceptions if isinstance(e, ChildFailedError)), group) from None

    async def run_until(self, stop: asyncio.Event) -> None:
        """Keeps everything running until `stop`. Raises ChildFailedError when a child crashed too often."""
        self._failure = asyncio.get_running_loop().create_future()
        for child in self._children.values():
            child.watcher = asyncio.create_task(self._watch(child))
        waiter = asyncio.create_task(stop.wait())
        try:
            while not waiter.done() and not self._failure.done():
                await asyncio.wait((waiter, self._failure), timeout=_HOUSEKEEPING_S, return_when="FIRST_COMPLETED")
                self._guardian.ensure()
                self._logs.rotate()
            if self._failure.done():
                self._failure.result()
        finally:
            waiter.cancel()

    def pid(self, name: str) -> int:
        """The child's process as it is now."""
        return self._children[name].process.pid

    async def take_down(self, name: str, how: signal.Signals) -> None:
        """For drills: end a child by a signal and leave it down until `bring_back`."""
        child = self._children[name]
        if child.watcher is not None:
            child.watcher.cancel()
            child.watcher = None
        _signal(child.process, how)
        await child.process.wait()
        _signal_session(child.process, signal.SIGKILL)

    async def bring_back(self, name: str) -> None:
        """Start a child that was taken down, and watch over it again. Raises ChildFailedError."""
        child = self._children[name]
        child.process = await self._launch(child.spec)
        await self._until_ready(child)
        child.watcher = asyncio.create_task(self._watch(child))

    def hurry(self) -> None:
        """From now on nobody is waited for (a second Ctrl-C)."""
        self._hurry.set()

    async def stop(self) -> None:
        """Stops everything in the plan's order, each with its grace."""
        self._stopping = True
        for child in self._children.values():
            if child.watcher is not None:
                child.watcher.cancel()
        if self._plan.quiesce is not None:
            await http_status(self._plan.quiesce)
        for names in self._plan.stop_order:
            await asyncio.gather(*(self._stop_child(self._children[n]) for n in names if n in self._children))
        self._guardian.done()

    async def _bring_up(self, spec: ProcessSpec | TaskSpec) -> None:
        began = time.monotonic()
        self._report(StackEvent(kind=EventKind.STARTING, name=spec.name))
        if isinstance(spec, TaskSpec):
            await self._run_task(spec)
        else:
            child = _Child(spec, await self._launch(spec))
            self._children[spec.name] = child
            await self._until_ready(child)
        self._report(StackEvent(kind=EventKind.READY, name=spec.name, seconds=time.monotonic() - began))

    async def _run_task(self, spec: TaskSpec) -> None:
        with self._logs.open(spec.name) as out:
            process = await self._spawn(spec.name, spec.argv, spec.env, out)
        try:
            async with asyncio.timeout(spec.timeout_s):
                code = await process.wait()
        except TimeoutError:
            raise self._failed(spec.name, f"did not end within {spec.timeout_s:g} s") from None
        finally:
            _signal_session(process, signal.SIGKILL)
        if code != 0:
            raise self._failed(spec.name, f"failed ({_how(code)})")

    async def _launch(self, spec: ProcessSpec) -> asyncio.subprocess.Process:
        with self._logs.open(spec.name) as out:
            options = {"cwd": "/", **spec.user.process_options()} if spec.user else {}
            process = await self._spawn(spec.name, spec.argv, spec.env, out, **options)
        if spec.niceness:
            lower(process.pid, spec.niceness)
        self._guardian.tell(name=spec.name, pid=process.pid)
        return process

    async def _spawn(
        self, name: str, argv: tuple[str, ...], env: Mapping[str, str], out: BinaryIO, **options: Any
    ) -> asyncio.subprocess.Process:
        marked = {**env, MARK: f"{self._stack_id}:{name}"}
        nothing = asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                *argv, env=marked, stdin=nothing, stdout=out, stderr=out, start_new_session=True, **options
            )
        except OSError as error:
            what = f"could not be started ({argv[0]}: {error.strerror}); run `make install`"
            raise ChildFailedError(name=name, what=what) from error

    async def _until_ready(self, child: _Child) -> None:
        deadline = time.monotonic() + child.spec.ready_timeout_s
        while not await is_ready(child.spec.ready):
            if child.process.returncode is not None:
                how = _how(child.process.returncode)
                raise self._failed(child.spec.name, f"ended before it was ready ({how})")
            if time.monotonic() > deadline:
                raise self._failed(child.spec.name, f"was not ready within {child.spec.ready_timeout_s:g} s")
            await asyncio.sleep(_POLL_S)

    async def _watch(self, child: _Child) -> None:
        """Starts the child again whenever it ends, until it has crashed too often."""
        while True:
            code = await child.process.wait()
            _signal_session(child.process, signal.SIGKILL)
            crashes = self._count_crash(child)
            name = child.spec.name
            if crashes > self._policy.crashes:
                self._fail(self._failed(name, f"crashed {crashes} times within {self._policy.window_s:g} s"))
                return
            pause = self._policy.pause(crashes)
            detail = f"ended unexpectedly ({_how(code)}); starting it again in {pause:g} s. See {self._logs.path(name)}"
            self._report(StackEvent(kind=EventKind.CRASHED, name=name, detail=detail))
            await asyncio.sleep(pause)
            await self._restart(child)

    async def _restart(self, child: _Child) -> None:
        began = time.monotonic()
        try:
            child.process = await self._launch(child.spec)
            await self._until_ready(child)
        except ChildFailedError:
            _signal_session(child.process, signal.SIGKILL)  # counts as one more crash
            return
        seconds = time.monotonic() - began
        self._report(StackEvent(kind=EventKind.READY, name=child.spec.name, seconds=seconds, detail="again"))

    def _count_crash(self, child: _Child) -> int:
        now = time.monotonic()
        child.crashed_at.append(now)
        while child.crashed_at[0] < now - self._policy.window_s:
            child.crashed_at.popleft()
        return len(child.crashed_at)

    async def _stop_child(self, child: _Child) -> None:
        spec, process = child.spec, child.process
        if process.returncode is None:
            self._report(StackEvent(kind=EventKind.STOPPING, name=spec.name))
            began = time.monotonic()
            _signal(process, spec.stop_signal)
            kind = EventKind.STOPPED
            if not await self._ends(process, spec.grace_s):
                _signal(process, spec.kill_signal)
                kind = EventKind.KILLED
                if not await self._ends(process, 5.0):
                    _signal(process, signal.SIGKILL)
                    await process.wait()
            self._report(StackEvent(kind=kind, name=spec.name, seconds=time.monotonic() - began))
        _signal_session(process, signal.SIGKILL)

    async def _ends(self, process: asyncio.subprocess.Process, grace_s: float) -> bool:
        """Whether it ended within the grace; in a hurry there is hardly any."""
        ended, hurry = asyncio.ensure_future(process.wait()), asyncio.ensure_future(self._hurry.wait())
        if not self._hurry.is_set():
            await asyncio.wait((ended, hurry), timeout=grace_s, return_when="FIRST_COMPLETED")
        if self._hurry.is_set():
            await asyncio.wait((ended,), timeout=min(grace_s, _HURRIED_GRACE_S))
        for waiter in (ended, hurry):
            waiter.cancel()
        return process.returncode is not None

    def _fail(self, error: ChildFailedError) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _failed(self, name: str, what: str) -> ChildFailedError:
        return ChildFailedError(name=name, what=what, log=self._logs.path(name), tail=self._logs.tail(name))


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _signal_session(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Reaches what a child started and left behind; the child leads its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
