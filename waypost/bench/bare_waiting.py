"""The control of the journeys' benches: bare executions that wait for a moment or a signal, then run one activity.

The worker is set as Waypost's own. `python -m waypost.bench.bare_waiting --queues N --prefix P --stamps FILE` prints a
line when it is polling, and writes a line with number and time (seconds since 1970) for each activity that it begins.
"""

import argparse
import asyncio
import os
import signal
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop
from temporalio import activity, workflow

from waypost.bench.bare import queue_name
from waypost.settings import TemporalSettings
from waypost.temporal.client import connect
from waypost.temporal.workers import QueueWorkers

TIMER_WORKFLOW = "bare-timer"
SIGNAL_WORKFLOW = "bare-signal"
SIGNAL = "wake"
ACTIVITY = "stamp"


@dataclass(frozen=True)
class TimerInput:
    """As large as an enrollment's references. `until` in seconds since 1970."""

    tenant_id: str
    number: int
    until: float


@dataclass(frozen=True)
class StampInput:
    """As large as a decision's references."""

    tenant_id: str
    number: int


class Stamps:
    """Does nothing but say when."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @activity.defn(name=ACTIVITY)
    async def stamp(self, task: StampInput) -> str:
        """Write the time down."""
        os.write(self._file, f"{task.number} {time.time():.6f}\n".encode())
        return "done"


@workflow.defn(name=TIMER_WORKFLOW)
class TimerWorkflow:
    """A timer, one activity, the end."""

    @workflow.run
    async def run(self, task: TimerInput) -> str:
        """Wait until the moment."""
        await workflow.sleep(max(timedelta(), datetime.fromtimestamp(task.until, UTC) - workflow.now()))
        return await _stamp(task.tenant_id, task.number)


@workflow.defn(name=SIGNAL_WORKFLOW)
class SignalWorkflow:
    """One activity for each signal, for ever."""

    def __init__(self) -> None:
        self._told: deque[int] = deque()

    @workflow.run
    async def run(self, tenant_id: str) -> None:
        """Wait for the next one."""
        while True:
            await workflow.wait_condition(lambda: bool(self._told))
            await _stamp(tenant_id, self._told.popleft())

    @workflow.signal(name=SIGNAL)
    def wake(self, number: int) -> None:
        """What it is told."""
        self._told.append(number)


async def _stamp(tenant_id: str, number: int) -> str:
    said: str = await workflow.execute_activity(
        ACTIVITY, StampInput(tenant_id, number), result_type=str, start_to_close_timeout=timedelta(seconds=30)
    )
    return said


async def serve(prefix: str, queues: int, stamps: Path) -> None:
    """Poll until SIGTERM."""
    workers = QueueWorkers(
        await connect(TemporalSettings()),
        workflows=[TimerWorkflow, SignalWorkflow],
        activities=[Stamps(stamps).stamp],
        graceful=timedelta(seconds=1),
        width=40,
    )
    await workers.set_queues(frozenset(queue_name(prefix, number) for number in range(queues)))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    os.write(1, b"ready\n")
    await stop.wait()
    await workers.close()


def main() -> None:
    """Run the control's worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--stamps", type=Path, required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.prefix, options.queues, options.stamps))


if __name__ == "__main__":
    main()
