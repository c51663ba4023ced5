"""A stack that runs: its record in the data folder, how to find it, and how to have one for a while."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from waypost.stack.errors import StackError
from waypost.stack.layout import Stack
from waypost.stack.lock import read_holder
from waypost.stack.ports import write_atomically

_STOP_TIMEOUT_S = 90.0


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """Where a ready stack is; `environment` is what a process needs to be part of it, secrets included."""

    pid: int
    data: Path
    urls: Mapping[str, str]
    ports: Mapping[str, int]
    environment: Mapping[str, str]
    demo_api_key: str | None

    @property
    def admin_key(self) -> str:
        return self.environment["WAYPOST_ADMIN_KEY"]


def announce(stack: Stack, *, pid: int, demo_api_key: str | None) -> RunningStack:
    """Writes `stack.json` and `env` (for `. .waypost/env` in a shell), both with mode 0600."""
    running = RunningStack(
        pid=pid,
        data=stack.options.data,
        urls=stack.urls,
        ports=stack.ports,
        environment=stack.environment,
        demo_api_key=demo_api_key,
    )
    record = json.dumps({**asdict(running), "data": str(running.data)}, indent=2)
    write_atomically(_record_path(running.data), record + "\n", mode=0o600)
    write_atomically(running.data / "env", _exports(running), mode=0o600)
    return running


def _exports(running: RunningStack) -> str:
    """The settings, and what the documentation's curl lines use: `$WAYPOST_URL` and `$WAYPOST_KEY`."""
    caller = {"WAYPOST_URL": running.urls["api"], "WAYPOST_KEY": running.demo_api_key or ""}
    return "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in sorted({**running.environment, **caller}.items())
    )


def withdraw(data: Path) -> None:
    """The stack is no longer ready."""
    _record_path(data).unlink(missing_ok=True)


def find(data: Path) -> RunningStack | None:
    """The stack that runs and is ready on the folder, if there is one."""
    holder = read_holder(data)
    if holder is None or not holder.is_alive():
        return None
    try:
        content = json.loads(_record_path(data).read_text())
    except (OSError, ValueError):
        return None
    return RunningStack(**{**content, "data": Path(content["data"])}) if content["pid"] == holder.pid else None


@contextlib.contextmanager
def ensured(
    data: Path, *arguments: str, told: Callable[[Mapping[str, Any]], None] = lambda _: None
) -> Iterator[RunningStack]:
    """The running stack of the folder, or one started for the time being by `waypost dev ARGUMENTS`.

    `told` gets what `waypost dev --json` prints on the way. Raises StackError with what it said when it doesn't become
    ready.
    """
    existing = find(data)
    if existing is not None:
        yield existing
        return
    process = _start(data, arguments)
    try:
        yield _await_ready(process, data, told)
    finally:
        _stop(process)


def _start(data: Path, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
    argv = (sys.executable, "-P", "-m", "waypost.cli.main", "dev", "--json", "--data", str(data), *arguments)
    # Its own session: Ctrl-C is ours to hand on, once we have finished with the stack.
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _await_ready(process: subprocess.Popen[str], data: Path, told: Callable[[Mapping[str, Any]], None]) -> RunningStack:
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        event = json.loads(line)
        told(event)
        if event.get("event") == "stack":
            found = find(data)
            if found is not None:
                return found
    raise StackError(process.stderr.read().strip() or "The stack ended before it was ready.")


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()  # the guardian stops what is left
        process.communicate()


def _record_path(data: Path) -> Path:
    return data / "stack.json"
