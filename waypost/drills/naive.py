"""The control: the smallest honest platform of the kind that failed. `python -m waypost.drills.naive --jobs FILE …`.

One table with a status column, one loop that takes the oldest queued job, real boto3, five tries, and a watchdog that
queues again what has been `sending` for too long. It is careful where such code usually is: the status is committed
before and after the call, boto3's own repeats are off. It can be killed at the same points as Waypost's worker.
"""

import argparse
import contextlib
import http.client
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from waypost.drills.fault_points import FaultPoint, FaultPoints

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

TRIES = 5
RETRY_AFTER_S = 0.5
WATCHDOG_AFTER_S = 4.0
"""Twice the longest call: whoever is still sending after this must have died."""
CALL_TIMEOUT_S = 2.0
_IDLE_S = 0.05

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, recipient TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'queued',
    tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, taken REAL
)
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One message to send."""

    id: int
    recipient: str
    tries: int


@dataclass(frozen=True, slots=True)
class Recipient:
    """One of a campaign's or a page's, in the controls that have such."""

    id: int
    address: str


class Tables:
    """A control's tables in one file. Durable against a kill of any process; a connection a thread."""

    def __init__(self, path: Path, schema: str, *, patience_s: float) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=patience_s)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(schema)

    @contextlib.contextmanager
    def commit(self) -> Iterator[None]:
        """One transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Jobs(Tables):
    """The table."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA, patience_s=10)

    def add(self, recipients: list[str]) -> None:
        """Accept messages."""
        with self.commit():
            self._db.executemany("INSERT INTO jobs (recipient) VALUES (?)", [(each,) for each in recipients])

    def take(self) -> Job | None:
        """The oldest that is due becomes `sending`."""
        row = self._db.execute(
            "UPDATE jobs SET status = 'sending', tries = tries + 1, taken = ?1 WHERE id = "
            "(SELECT id FROM jobs WHERE status = 'queued' AND due <= ?1 ORDER BY id LIMIT 1) "
            "RETURNING id, recipient, tries",
            (time.time(),),
        ).fetchone()
        return Job(*row) if row else None

    def done(self, job: Job) -> None:
        """It was sent."""
        self._db.execute("UPDATE jobs SET status = 'sent' WHERE id = ?", (job.id,))

    def again(self, job: Job) -> None:
        """It failed: try it later, or give it up."""
        status = "queued" if job.tries < TRIES else "failed"
        self._db.execute(
            "UPDATE jobs SET status = ?, due = ? WHERE id = ?", (status, time.time() + RETRY_AFTER_S, job.id)
        )

    def requeue_stuck(self) -> None:
        """The watchdog."""
        self._db.execute(
            "UPDATE jobs SET status = 'queued' WHERE status = 'sending' AND taken < ?",
            (time.time() - WATCHDOG_AFTER_S,),
        )

    def unfinished(self) -> int:
        """How many are neither sent nor given up."""
        row = self._db.execute("SELECT count(*) FROM jobs WHERE status IN ('queued', 'sending')").fetchone()
        return int(row[0])

    def tries(self) -> int:
        """How many times a job was taken, all together."""
        return int(self._db.execute("SELECT COALESCE(sum(tries), 0) FROM jobs").fetchone()[0])


class NaiveWorker:
    """The one loop."""

    def __init__(self, jobs: Jobs, ses: "SESV2Client", points: FaultPoints) -> None:
        self._jobs = jobs
        self._ses = ses
        self._points = points
        self._watched = 0.0

    def run(self) -> None:
        """For ever."""
        while True:
            self._watch()
            if not self.step():
                time.sleep(_IDLE_S)

    def step(self) -> bool:
        """One job, if there is one."""
        with self._jobs.commit():
            job = self._jobs.take()
            if job is not None:
                self._points.reach(FaultPoint.BEFORE_CLAIM_COMMIT)
        if job is None:
            return False
        self._points.reach(FaultPoint.AFTER_CLAIM_COMMIT)
        sent = try_email(self._ses, job.recipient)
        self._points.reach(FaultPoint.AFTER_REPLY)
        with self._jobs.commit():
            (self._jobs.done if sent else self._jobs.again)(job)
            self._points.reach(FaultPoint.BEFORE_RECORD_COMMIT)
        self._points.reach(FaultPoint.AFTER_RECORD_COMMIT)
        return True

    def _watch(self) -> None:
        if time.monotonic() - self._watched > 1.0:
            self._watched = time.monotonic()
            with self._jobs.commit():
                self._jobs.requeue_stuck()


def try_email(ses: "SESV2Client", recipient: str) -> bool:
    """Send one; whether the provider said that it took it."""
    try:
        send_email(ses, recipient)
    except (BotoCoreError, ClientError):
        return False
    return True


def open_ses(*, endpoint: str, key: str) -> "SESV2Client":
    """boto3 as its documentation has it, with time-outs, and without its own repeats."""
    config = Config(
        connect_timeout=CALL_TIMEOUT_S, read_timeout=CALL_TIMEOUT_S, retries={"total_max_attempts": 1}, proxies={}
    )
    return boto3.client(
        "sesv2",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="simulated",  # noqa: S106  a simulator takes any
        config=config,
    )


def send_email(ses: "SESV2Client", recipient: str) -> None:
    """One email with a content of its own. Raises what boto3 raises."""
    ses.send_email(
        FromEmailAddress="control@example.test",
        Destination={"ToAddresses": [recipient]},
        Content={"Simple": {"Subject": {"Data": "Receipt"}, "Body": {"Text": {"Data": f"For {recipient}."}}}},
    )


def kill_after_writing(points: FaultPoints) -> None:
    """The request is written and the reply not yet read: http.client is what boto3 stands on."""
    getresponse = http.client.HTTPConnection.getresponse

    def killing(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        points.reach(FaultPoint.AFTER_REQUEST_WRITTEN)
        return getresponse(connection)

    http.client.HTTPConnection.getresponse = killing  # type: ignore[method-assign, assignment]  # the drill's own process


def main() -> None:
    """Run the loop until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=Path, required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", required=True)
    given = parser.parse_args()
    points = FaultPoints.of_this_process()
    kill_after_writing(points)
    NaiveWorker(Jobs(given.jobs), open_ses(endpoint=given.endpoint, key=given.key), points).run()


if __name__ == "__main__":
    main()
