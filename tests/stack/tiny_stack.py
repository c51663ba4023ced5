"""A supervisor with three trivial children, in a process of its own that a test can kill: `tiny_stack.py FOLDER`.

Each child writes its name into FOLDER/order when it is told to stop.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from waypost.stack.lock import StackLock
from waypost.stack.logs import Logs
from waypost.stack.process import AtOnce, LineReady, ProcessSpec, StackPlan
from waypost.stack.supervisor import RestartPolicy, StackEvent, Supervisor

QUICK = RestartPolicy(first_pause_s=0.02, longest_pause_s=0.05, crashes=3, window_s=30)

_CHILD = """
trap 'echo {name} >> {folder}/order; exit 0' TERM
echo $$ > {folder}/{name}.pid
while :; do sleep 0.03; done
"""


def child(folder: Path, name: str, *, script: str | None = None, grace_s: float = 5.0) -> ProcessSpec:
    """A shell that is ready once it has written its pid."""
    text = (script or _CHILD).format(folder=folder, name=name)
    ready = AtOnce() if script else LineReady(path=folder / f"{name}.ready", number=1, text="yes")
    text = text if script else text.replace("while", f"echo yes > {folder}/{name}.ready\nwhile", 1)
    env = {"PATH": os.environ["PATH"]}
    return ProcessSpec(name=name, argv=("sh", "-c", text), env=env, ready=ready, ready_timeout_s=5, grace_s=grace_s)


def plan(*stages: tuple[ProcessSpec, ...], stop_order: tuple[str, ...]) -> StackPlan:
    return StackPlan(stages=stages, stop_order=tuple((name,) for name in stop_order))


async def run(folder: Path) -> None:
    lock = StackLock.acquire(folder)
    three = plan(
        (child(folder, "base"),),
        (child(folder, "middle"), child(folder, "top")),
        stop_order=("top", "middle", "base"),
    )
    supervisor = Supervisor(three, logs=Logs(folder / "logs"), report=_print, inherited=(lock.fileno(),))
    await supervisor.start()
    (folder / "started").touch()
    await supervisor.run_until(asyncio.Event())


def _print(event: StackEvent) -> None:
    sys.stdout.write(f"{event}\n")


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
