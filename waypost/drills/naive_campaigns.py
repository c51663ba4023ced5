"""The control of duplicate-watchdog: campaigns as the platform that failed had them. `python -m … --jobs FILE …`.

A status column, four workers that each take a queued campaign and go through its recipients one after the other,
marking them sent batch by batch, and a watchdog that queues again what has been `sending` for too long. It is careful
where such code usually is: statuses are committed before and after, each batch reads afresh who is still unsent, and
boto3's own repeats are off.
"""

import argparse
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from waypost.drills.naive import Recipient, Tables, open_ses, try_email

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

WORKERS = 4
_WATCH_EVERY_S = 0.5
BATCH = 50
_IDLE_S = 0.05

SCHEMA = """
CREATE TABLE IF NOT EXISTS campaigns (
    id INTEGER PRIMARY KEY, status TEXT NOT NULL DEFAULT 'queued', taken REAL
);
CREATE TABLE IF NOT EXISTS recipients (
    id INTEGER PRIMARY KEY, campaign INTEGER NOT NULL, address TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS recipients_unsent ON recipients (campaign, id) WHERE sent = 0;
"""


class Campaigns(Tables):
    """The two tables. Durable against a kill of any process; a connection a thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA, patience_s=30)

    def add(self, addresses: Sequence[str]) -> int:
        """Schedule a campaign to these, at once."""
        with self.commit():
            campaign = int(self._db.execute("INSERT INTO campaigns DEFAULT VALUES RETURNING id").fetchone()[0])
            rows = [(campaign, address) for address in addresses]
            self._db.executemany("INSERT INTO recipients (campaign, address) VALUES (?, ?)", rows)
        return campaign

    def take(self) -> int | None:
        """A queued campaign becomes `sending`."""
        row = self._db.execute(
            "UPDATE campaigns SET status = 'sending', taken = ? WHERE id = "
            "(SELECT id FROM campaigns WHERE status = 'queued' ORDER BY id LIMIT 1) RETURNING id",
            (time.time(),),
        ).fetchone()
        return int(row[0]) if row else None

    def unsent(self, campaign: int) -> list[Recipient]:
        """The next batch."""
        rows = self._db.execute(
            "SELECT id, address FROM recipients WHERE campaign = ? AND sent = 0 ORDER BY id LIMIT ?", (campaign, BATCH)
        ).fetchall()
        return [Recipient(*row) for row in rows]

    def mark_sent(self, batch: Sequence[Recipient]) -> None:
        """At the end of a batch."""
        with self.commit():
            self._db.executemany("UPDATE recipients SET sent = 1 WHERE id = ?", [(each.id,) for each in batch])

    def done(self, campaign: int) -> None:
        """Nobody is left."""
        self._db.execute("UPDATE campaigns SET status = 'sent' WHERE id = ?", (campaign,))

    def requeue_unsent(self, older_than_s: float) -> None:
        """The watchdog: whoever is still sending after this time must have died."""
        self._db.execute(
            "UPDATE campaigns SET status = 'queued' WHERE status = 'sending' AND taken < ?",
            (time.time() - older_than_s,),
        )

    def unfinished(self) -> int:
        """Campaigns that are not sent."""
        return int(self._db.execute("SELECT count(*) FROM campaigns WHERE status <> 'sent'").fetchone()[0])


class CampaignWorker:
    """One of the workers."""

    def __init__(self, campaigns: Campaigns, ses: "SESV2Client") -> None:
        self._campaigns = campaigns
        self._ses = ses

    def run(self) -> None:
        """For ever."""
        while True:
            if not self.step():
                time.sleep(_IDLE_S)

    def step(self) -> bool:
        """One campaign from beginning to end, if there is one."""
        campaign = self._campaigns.take()
        if campaign is None:
            return False
        while batch := self._campaigns.unsent(campaign):
            self._campaigns.mark_sent([each for each in batch if try_email(self._ses, each.address)])
        self._campaigns.done(campaign)
        return True


def _work(path: Path, endpoint: str, key: str) -> None:
    CampaignWorker(Campaigns(path), open_ses(endpoint=endpoint, key=key)).run()


def _watch(path: Path, older_than_s: float) -> None:
    campaigns = Campaigns(path)
    while True:
        campaigns.requeue_unsent(older_than_s)
        time.sleep(_WATCH_EVERY_S)


def main() -> None:
    """Run workers and watchdog until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=Path, required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--watchdog", type=float, required=True, help="seconds")
    given = parser.parse_args()
    Campaigns(given.jobs).close()  # the tables are there before anybody looks
    threads = [threading.Thread(target=_work, args=(given.jobs, given.endpoint, given.key)) for _ in range(WORKERS)]
    for thread in [*threads, threading.Thread(target=_watch, args=(given.jobs, given.watchdog))]:
        thread.start()


if __name__ == "__main__":
    main()
