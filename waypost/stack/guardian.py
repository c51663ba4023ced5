"""The process that outlives a killed supervisor, to stop its children in order.

It reads the supervisor's pipe. `done` means that all was stopped; the end of the pipe without it means that the
supervisor died, by `kill -9` or otherwise. Children are known by what the supervisor told, and, should it have died
between starting one and telling, by a mark in their environment or their pid file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

MARK = "WAYPOST_STACK"
"""Environment variable of every child: `<stack id>:<name>`."""


@dataclass(frozen=True, kw_only=True)
class Ward:
    """A child as the guardian knows it."""

    name: str
    stop_signal: int
    kill_signal: int
    grace_s: float
    pid_file: str | None


def main() -> None:
    """Waits for the pipe's end; logs to stderr, which is a file."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    plan = json.loads(sys.stdin.readline() or "null")
    if plan is None:
        return
    order = [[Ward(**ward) for ward in stage] for stage in plan["order"]]
    told = _listen(sys.stdin)
    if told is None:
        return
    _log("the supervisor is gone: stopping what it started")
    for stage in order:
        _stop_stage(plan["stack"], stage, told)
    _log("all stopped")


def _listen(pipe: IO[str]) -> dict[str, tuple[int, float]] | None:
    """Pid and start time by name when the pipe broke off; None when the supervisor said that all is done."""
    told: dict[str, tuple[int, float]] = {}
    for line in pipe:
        with contextlib.suppress(ValueError):  # a line cut off by the supervisor's death
            message = json.loads(line)
            if message == "done":
                return None
            told[message["name"]] = (message["pid"], message["started"])
    return told


def _stop_stage(stack: str, stage: list[Ward], told: dict[str, tuple[int, float]]) -> None:
    found = [(ward, process) for ward in stage for process in _processes(stack, ward, told.get(ward.name))]
    for ward, process in found:
        _log(f"stopping {ward.name} (process {process.pid})")
        _send(process, ward.stop_signal)
    began = time.monotonic()
    for ward, process in found:
        if not _ends(process, began + ward.grace_s):
            _log(f"{ward.name} did not stop within {ward.grace_s:g} s: killing it")
            _send(process, ward.kill_signal)
            _ends(process, time.monotonic() + 5)
        _kill_session(process.pid)


def _ends(process: psutil.Process, deadline: float) -> bool:
    """Whether it is gone by then. A zombie is: some first processes of containers take seconds to reap."""
    while True:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.Error:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _processes(stack: str, ward: Ward, told: tuple[int, float] | None) -> list[psutil.Process]:
    known = {process.pid: process for process in _marked(f"{stack}:{ward.name}")}
    for pid, started in filter(None, (told, _from_pid_file(ward))):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 1.5:
                known[pid] = process
    return list(known.values())


def _marked(mark: str) -> list[psutil.Process]:
    """Session leaders that carry the mark; what they started in turn is killed with their session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and os.getsid(process.pid) == process.pid:
                found.append(process)
    return found


def _from_pid_file(ward: Ward) -> tuple[int, float] | None:
    """PostgreSQL overwrites its environment with its title, but writes its pid (line 1) and start time (line 3)."""
    if ward.pid_file is None:
        return None
    try:
        lines = Path(ward.pid_file).read_text().splitlines()
        return abs(int(lines[0])), psutil.Process(abs(int(lines[0]))).create_time()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
