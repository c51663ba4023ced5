"""The supervisor's end of the guardian's pipe."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import psutil

from waypost.stack.guardian import Ward
from waypost.stack.logs import Logs
from waypost.stack.process import StackPlan

NAME = "guardian"


class GuardianLink:
    """Starts the guardian, tells it of each child, and starts another should it be killed."""

    def __init__(self, plan: StackPlan, *, stack: str, logs: Logs, inherited: tuple[int, ...]) -> None:
        self._order = _order(plan)
        self._stack = stack
        self._logs = logs
        self._inherited = inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._told: dict[str, dict[str, object]] = {}

    def ensure(self) -> None:
        """Starts it if it doesn't run."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        with self._logs.open(NAME) as out:
            self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", "waypost.stack.guardian"),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                bufsize=0,
                start_new_session=True,
                pass_fds=self._inherited,
            )
        self._send({"stack": self._stack, "order": self._order})
        for message in self._told.values():
            self._send(message)

    def tell(self, *, name: str, pid: int) -> None:
        """A child was started; one that is gone already is nobody's worry."""
        with contextlib.suppress(psutil.Error):
            started = psutil.Process(pid).create_time()
            self._told[name] = {"name": name, "pid": pid, "started": started}
            self._send(self._told[name])

    def done(self) -> None:
        """All children are stopped: the guardian ends without doing anything."""
        self._send("done")
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def _send(self, message: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                os.write(self._process.stdin.fileno(), json.dumps(message).encode() + b"\n")


def _order(plan: StackPlan) -> list[list[dict[str, object]]]:
    specs = {spec.name: spec for spec in plan.processes()}
    wards = {
        name: Ward(
            name=name,
            stop_signal=int(spec.stop_signal),
            kill_signal=int(spec.kill_signal),
            grace_s=spec.grace_s,
            pid_file=str(spec.pid_file) if spec.pid_file else None,
        )
        for name, spec in specs.items()
    }
    return [[dict(vars(wards[name])) for name in stage if name in wards] for stage in plan.stop_order]
