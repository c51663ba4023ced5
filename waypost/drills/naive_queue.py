"""The control of pause-and-caps: campaigns as pages in one queue. `python -m waypost.drills.naive_queue --jobs FILE …`.

A campaign that starts puts its pages at the end of the queue, and eight workers take them from its front, as with any
queue of jobs. A page is gated when it is begun, in one look: whether its campaign is paused, and who of it has had as
many messages as the cap allows. It is careful where such code usually is: a page that is paused goes back whole, each
send is written down at once, what failed is tried again, and boto3's own repeats are off.
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

WORKERS = 8
PAGE = 25
CAP = 1
"""Messages a person, of all campaigns."""
_IDLE_S = 0.05

SCHEMA = """
CREATE TABLE IF NOT EXISTS campaigns (id INTEGER PRIMARY KEY, paused INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pages (
    id INTEGER PRIMARY KEY, campaign INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'queued'
);
CREATE INDEX IF NOT EXISTS pages_queued ON pages (id) WHERE status = 'queued';
CREATE TABLE IF NOT EXISTS recipients (
    id INTEGER PRIMARY KEY, page INTEGER NOT NULL, address TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'queued'
);
CREATE INDEX IF NOT EXISTS recipients_of_page ON recipients (page, id);
CREATE INDEX IF NOT EXISTS recipients_sent ON recipients (address) WHERE status = 'sent';
"""


class PageQueue(Tables):
    """The three tables. A connection a thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA, patience_s=30)

    def add(self, *campaigns: Sequence[str], paused: bool = False) -> list[int]:
        """Start campaigns to these addresses, in one moment; their ids."""
        with self.commit():
            return [self._add(addresses, paused=paused) for addresses in campaigns]

    def _add(self, addresses: Sequence[str], *, paused: bool) -> int:
        made = "INSERT INTO campaigns (paused) VALUES (?) RETURNING id"
        campaign = int(self._db.execute(made, (paused,)).fetchone()[0])
        for start in range(0, len(addresses), PAGE):
            made = "INSERT INTO pages (campaign) VALUES (?) RETURNING id"
            page = int(self._db.execute(made, (campaign,)).fetchone()[0])
            rows = [(page, address) for address in addresses[start : start + PAGE]]
            self._db.executemany("INSERT INTO recipients (page, address) VALUES (?, ?)", rows)
        return campaign

    def pause(self, campaign: int, *, paused: bool) -> None:
        """Set the flag. Committed when this returns."""
        self._db.execute("UPDATE campaigns SET paused = ? WHERE id = ?", (paused, campaign))

    def take(self) -> int | None:
        """The first page of the queue whose campaign is not paused; its id."""
        row = self._db.execute(
            "UPDATE pages SET status = 'sending' WHERE id = (SELECT p.id FROM pages p JOIN campaigns c "
            "ON c.id = p.campaign WHERE p.status = 'queued' AND NOT c.paused ORDER BY p.id LIMIT 1) RETURNING id"
        ).fetchone()
        return int(row[0]) if row else None

    def skip_capped(self, page: int) -> None:
        """Who of the page has had enough is skipped."""
        self._db.execute(
            "UPDATE recipients SET status = 'skipped' WHERE page = ? AND status = 'queued' AND ? <= "
            "(SELECT count(*) FROM recipients s WHERE s.address = recipients.address AND s.status = 'sent')",
            (page, CAP),
        )

    def unsent(self, page: int) -> list[Recipient]:
        """Who is left of the page."""
        rows = self._db.execute(
            "SELECT id, address FROM recipients WHERE page = ? AND status = 'queued' ORDER BY id", (page,)
        ).fetchall()
        return [Recipient(*row) for row in rows]

    def sent(self, recipient: Recipient) -> None:
        """It was sent."""
        self._db.execute("UPDATE recipients SET status = 'sent' WHERE id = ?", (recipient.id,))

    def done(self, page: int) -> None:
        """The page is over; with somebody left it goes back to where it was in the queue."""
        left = "SELECT count(*) FROM recipients WHERE page = ?1 AND status = 'queued'"
        self._db.execute(
            f"UPDATE pages SET status = CASE WHEN ({left}) = 0 THEN 'done' ELSE 'queued' END WHERE id = ?1",  # noqa: S608  a constant
            (page,),
        )

    def unfinished(self) -> int:
        """Pages that are not done."""
        return int(self._db.execute("SELECT count(*) FROM pages WHERE status <> 'done'").fetchone()[0])


class PageWorker:
    """One of the workers."""

    def __init__(self, queue: PageQueue, ses: "SESV2Client") -> None:
        self._queue = queue
        self._ses = ses

    def run(self) -> None:
        """For ever."""
        while True:
            if not self.step():
                time.sleep(_IDLE_S)

    def step(self) -> bool:
        """One page, if there is one."""
        page = self._queue.take()
        if page is None:
            return False
        self._queue.skip_capped(page)
        for recipient in self._queue.unsent(page):
            if try_email(self._ses, recipient.address):
                self._queue.sent(recipient)
        self._queue.done(page)
        return True


def _work(path: Path, endpoint: str, key: str) -> None:
    PageWorker(PageQueue(path), open_ses(endpoint=endpoint, key=key)).run()


def main() -> None:
    """Run the workers until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=Path, required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", required=True)
    given = parser.parse_args()
    PageQueue(given.jobs).close()  # the tables are there before anybody looks
    for _ in range(WORKERS):
        threading.Thread(target=_work, args=(given.jobs, given.endpoint, given.key)).start()


if __name__ == "__main__":
    main()
