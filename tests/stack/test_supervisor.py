"""Real children, trivial ones: crash, restart, order, orphans."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from tests.stack.tiny_stack import QUICK, child, plan
from waypost.stack.errors import ChildFailedError
from waypost.stack.lock import StackLock
from waypost.stack.logs import Logs
from waypost.stack.process import StackPlan, TaskSpec
from waypost.stack.supervisor import EventKind, StackEvent, Supervisor


class Recorder:
    def __init__(self) -> None:
        self.events: list[StackEvent] = []

    def __call__(self, event: StackEvent) -> None:
        self.events.append(event)

    def names(self, kind: EventKind) -> list[str]:
        return [event.name for event in self.events if event.kind is kind]


@contextlib.asynccontextmanager
async def supervised(stack: StackPlan, folder: Path, recorder: Recorder) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(stack, logs=Logs(folder / "logs"), report=recorder, policy=QUICK)
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes do what is waited for
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """A zombie is not: some first processes of containers take seconds to reap."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_of(folder: Path, name: str) -> int:
    return int((folder / f"{name}.pid").read_text())


async def test_children_stop_in_the_plans_order_and_not_in_that_of_their_start(tmp_path: Path) -> None:
    recorder = Recorder()
    stages = (child(tmp_path, "a"),), (child(tmp_path, "b"), child(tmp_path, "c"))
    async with supervised(plan(*stages, stop_order=("b", "a", "c")), tmp_path, recorder) as supervisor:
        await supervisor.start()
    assert (tmp_path / "order").read_text().split() == ["b", "a", "c"]
    assert recorder.names(EventKind.STARTING)[0] == "a"
    assert recorder.names(EventKind.STOPPED) == ["b", "a", "c"]


async def test_a_crashed_child_is_started_again_with_a_sentence(tmp_path: Path) -> None:
    recorder = Recorder()
    async with supervised(plan((child(tmp_path, "a"),), stop_order=("a",)), tmp_path, recorder) as supervisor:
        await supervisor.start()
        running = asyncio.create_task(supervisor.run_until(asyncio.Event()))
        first = pid_of(tmp_path, "a")
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: recorder.names(EventKind.READY) == ["a", "a"] and pid_of(tmp_path, "a") != first)
        running.cancel()
    crash = next(event for event in recorder.events if event.kind is EventKind.CRASHED)
    assert "killed by SIGKILL" in crash.detail
    assert "starting it again in 0.02 s" in crash.detail


def session_niceness(pid: int) -> int | None:
    """By sched(7)'s autogroup; None where the kernel has no such feature."""
    group = Path(f"/proc/{pid}/autogroup")
    return int(group.read_text().split()[-1]) if group.exists() else None


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of whole sessions is Linux's")
async def test_a_child_that_stands_back_is_nice_and_its_session_too(tmp_path: Path) -> None:
    modest = dataclasses.replace(child(tmp_path, "a"), niceness=7)
    async with supervised(plan((modest,), stop_order=("a",)), tmp_path, Recorder()) as supervisor:
        await supervisor.start()
        pid = pid_of(tmp_path, "a")
        assert os.getpriority(os.PRIO_PROCESS, pid) == 7
        assert session_niceness(pid) in (7, None)


async def test_a_child_that_was_taken_down_stays_down_until_it_is_brought_back(tmp_path: Path) -> None:
    recorder = Recorder()
    async with supervised(plan((child(tmp_path, "a"),), stop_order=("a",)), tmp_path, recorder) as supervisor:
        await supervisor.start()
        running = asyncio.create_task(supervisor.run_until(asyncio.Event()))
        await asyncio.sleep(0)
        first = supervisor.pid("a")
        await supervisor.take_down("a", signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert not is_alive(first)
        assert recorder.names(EventKind.CRASHED) == []
        await supervisor.bring_back("a")
        assert is_alive(supervisor.pid("a"))
        os.kill(supervisor.pid("a"), signal.SIGKILL)
        await eventually(lambda: recorder.names(EventKind.CRASHED) == ["a"])
        running.cancel()


async def test_a_child_that_crashes_too_often_ends_the_stack_with_the_tail_of_its_log(tmp_path: Path) -> None:
    failing = child(tmp_path, "a", script="echo no database here; sleep 0.05; exit 3")
    async with supervised(plan((failing,), stop_order=("a",)), tmp_path, Recorder()) as supervisor:
        await supervisor.start()
        with pytest.raises(ChildFailedError, match=r"a crashed 4 times within 30 s") as failure:
            await supervisor.run_until(asyncio.Event())
    assert "no database here" in str(failure.value)


async def test_a_child_that_ends_before_it_is_ready_fails_the_start_at_once(tmp_path: Path) -> None:
    never = child(tmp_path, "a").__class__(
        name="a", argv=("sh", "-c", "echo broken; exit 7"), env={}, ready=child(tmp_path, "z").ready
    )
    async with supervised(plan((never,), stop_order=("a",)), tmp_path, Recorder()) as supervisor:
        with pytest.raises(ChildFailedError, match=r"ended before it was ready \(exit code 7\)[\s\S]*broken"):
            await supervisor.start()


async def test_a_missing_program_is_named(tmp_path: Path) -> None:
    task = TaskSpec(name="migrate", argv=("/nowhere/at/all",))
    async with supervised(StackPlan(stages=((task,),), stop_order=()), tmp_path, Recorder()) as supervisor:
        with pytest.raises(ChildFailedError, match=r"migrate could not be started \(/nowhere/at/all"):
            await supervisor.start()


async def test_a_child_that_ignores_the_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    recorder = Recorder()
    deaf = child(tmp_path, "a", script="trap '' TERM; echo $$ > {folder}/a.pid; sleep 60", grace_s=0.2)
    async with supervised(plan((deaf,), stop_order=("a",)), tmp_path, recorder) as supervisor:
        await supervisor.start()
        await eventually(lambda: (tmp_path / "a.pid").exists())
    assert recorder.names(EventKind.KILLED) == ["a"]
    assert not is_alive(pid_of(tmp_path, "a"))


async def test_in_a_hurry_nobody_is_waited_for(tmp_path: Path) -> None:
    deaf = child(tmp_path, "a", script="trap '' TERM; sleep 60", grace_s=60)
    began = time.monotonic()
    async with supervised(plan((deaf,), stop_order=("a",)), tmp_path, Recorder()) as supervisor:
        await supervisor.start()
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.1, supervisor.hurry)
    assert time.monotonic() - began < 3


async def test_a_grown_log_is_rotated_while_its_writer_goes_on(tmp_path: Path) -> None:
    logs = Logs(tmp_path, max_bytes=100)
    with logs.open("a") as writer:
        writer.write(b"x" * 200)
        logs.rotate()
        writer.write(b"after\n")
    assert (tmp_path / "a.log").read_bytes() == b"after\n"
    assert (tmp_path / "a.log.1").stat().st_size == 200


async def test_kill_nine_of_the_supervisor_leaves_no_orphan_and_keeps_the_order(tmp_path: Path) -> None:
    supervisor = _tiny_stack(tmp_path)
    await eventually((tmp_path / "started").exists)
    pids = [pid_of(tmp_path, name) for name in ("base", "middle", "top")]
    supervisor.kill()
    supervisor.wait()
    await eventually(lambda: not any(is_alive(pid) for pid in pids))
    assert (tmp_path / "order").read_text().split() == ["top", "middle", "base"]


async def test_a_child_the_supervisor_had_no_time_to_tell_of_is_found_by_its_mark(tmp_path: Path) -> None:
    supervisor = _tiny_stack(tmp_path)
    await eventually((tmp_path / "base.ready").exists)  # the others may be anywhere between fork and telling
    supervisor.kill()
    supervisor.wait()
    await asyncio.to_thread(lambda: StackLock.acquire(tmp_path).release())
    left = [pid for name in ("base", "middle", "top") for pid in _marked(tmp_path, name)]
    assert left == []


async def test_a_killed_guardian_is_replaced_and_still_knows_the_children(tmp_path: Path) -> None:
    supervisor = _tiny_stack(tmp_path)
    await eventually((tmp_path / "started").exists)
    (guardian,) = _guardians_of(supervisor.pid)
    guardian.kill()
    await eventually(lambda: [g.pid for g in _guardians_of(supervisor.pid)] not in ([], [guardian.pid]))
    supervisor.kill()
    supervisor.wait()
    await eventually(lambda: (tmp_path / "order").exists() and len((tmp_path / "order").read_text().split()) == 3)


def _tiny_stack(folder: Path) -> subprocess.Popen[bytes]:
    argv = (sys.executable, "-m", "tests.stack.tiny_stack", str(folder))
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL)


def _guardians_of(pid: int) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if "waypost.stack.guardian" in process.cmdline():  # a zombie has no command line
                found.append(process)
    return found


def _marked(folder: Path, name: str) -> list[int]:
    file = folder / f"{name}.pid"
    return [pid for pid in ([int(file.read_text())] if file.exists() else []) if is_alive(pid)]
