"""A worker process that can be killed at set points: `python -m waypost.drills.worker --lanes fast`.

The product's own worker with adapters that kill, told by the folder in WAYPOST_DRILL_FAULTS.
"""

import argparse

import uvloop

from waypost.drills.fault_points import FaultPoints
from waypost.drills.killing import KillingDatabase, kill_after_writing, killing
from waypost.logs import configure_logs
from waypost.messaging.provider import ProviderAccount, Sender
from waypost.messaging.values import Lane
from waypost.providers.accounts import open_sender
from waypost.providers.deadlines import Deadlines
from waypost.settings import WorkerSettings
from worker import WorkerProcess, until_signalled


def main() -> None:
    """As worker.py's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", choices=[lane.value for lane in Lane], required=True)
    lane = Lane(parser.parse_args().lanes)
    configure_logs(f"worker-{lane}")
    points = FaultPoints.of_this_process()
    kill_after_writing(points)
    uvloop.run(_run(lane, points))


async def _run(lane: Lane, points: FaultPoints) -> None:
    def open_account(account: ProviderAccount, deadlines: Deadlines) -> Sender:
        return killing(open_sender(account, deadlines), points)

    process = WorkerProcess(lane, WorkerSettings(), open_database=KillingDatabase, open_account=open_account)
    await until_signalled(process)


if __name__ == "__main__":
    main()
