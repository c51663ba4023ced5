"""The control: bare Temporal. One workflow with one no-op activity, a worker process of its own, nothing else.

The worker is set as Waypost's own (same runner, same pollers, no eager activities), so that what is compared is what
Waypost does besides. `python -m waypost.bench.bare --queues N --prefix P` prints a line of JSON when it is polling.
"""

import argparse
import asyncio
import json
import os
import signal
from dataclasses import dataclass
from datetime import timedelta

import uvloop
from temporalio import activity, workflow

from waypost.settings import TemporalSettings
from waypost.temporal.client import connect
from waypost.temporal.workers import QueueWorkers

WORKFLOW = "bare"
ACTIVITY = "noop"


@dataclass(frozen=True)
class BareInput:
    """As large as a message's references."""

    tenant_id: str
    message_id: str


@dataclass(frozen=True)
class BareResult:
    """As large as a message's result."""

    state: str


class Noop:
    """Counts, so that the bench knows when the last execution has had its activity."""

    def __init__(self) -> None:
        self.count = 0

    @activity.defn(name=ACTIVITY)
    async def noop(self, task: BareInput) -> BareResult:
        """Do nothing."""
        self.count += 1
        return BareResult("sent" if task.message_id else "gone")


@workflow.defn(name=WORKFLOW)
class BareWorkflow:
    """One activity."""

    @workflow.run
    async def run(self, task: BareInput) -> BareResult:
        """Run it."""
        result: BareResult = await workflow.execute_activity(
            ACTIVITY, task, result_type=BareResult, start_to_close_timeout=timedelta(seconds=30)
        )
        return result


def queue_name(prefix: str, number: int) -> str:
    """The n-th queue of a control; the prefix keeps one run's executions from another's worker."""
    return f"{prefix}-{number}"


async def serve(prefix: str, queues: int) -> None:
    """Poll until SIGTERM; print how many activities have run, when polling begins and on each SIGUSR1."""
    noop = Noop()
    workers = QueueWorkers(
        await connect(TemporalSettings()),
        workflows=[BareWorkflow],
        activities=[noop.noop],
        graceful=timedelta(seconds=1),
        width=40,
    )
    await workers.set_queues(frozenset(queue_name(prefix, number) for number in range(queues)))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: _say(noop.count))
    _say(0)
    await stop.wait()
    await workers.close()


def _say(count: int) -> None:
    os.write(1, json.dumps({"activities": count}).encode() + b"\n")


def main() -> None:
    """Run the control's worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, default=1)
    parser.add_argument("--prefix", default="bare")
    options = parser.parse_args()
    uvloop.run(serve(options.prefix, options.queues))


if __name__ == "__main__":
    main()
