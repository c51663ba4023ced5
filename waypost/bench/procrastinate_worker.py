"""The control that a team would pick: Procrastinate, a task queue on PostgreSQL, with boto3.

`single`: a task a recipient that sends one e-mail and records nothing but its job. `bulk`: a task for fifty that sends
them by `send_bulk_email` and records the rows that Waypost records: attempts before the call, both after it.
The jobs are there before work begins, and it ends when none is left. Started by `… import main; main()`, for
Procrastinate warns of apps in `__main__`. Source: procrastinate.readthedocs.io, "Launch a worker", "Concurrency".
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import procrastinate
from psycopg_pool import AsyncConnectionPool

from waypost.bench.bare_loop import CALL, open_ses
from waypost.bench.newsletter import bulk_request, person, single_request

_DEFER_AT_ONCE = 1000

_TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    id bigint PRIMARY KEY, address text NOT NULL, phase text NOT NULL DEFAULT 'ready', attempts int NOT NULL DEFAULT 0,
    outcome text, outcome_at timestamptz, dispatched_at timestamptz
) WITH (fillfactor = 80);
CREATE TABLE IF NOT EXISTS attempts (
    id uuid PRIMARY KEY, message_id bigint NOT NULL REFERENCES messages (id), state text NOT NULL,
    claimed_at timestamptz NOT NULL, recorded_at timestamptz, provider_message_id text
) WITH (fillfactor = 80);
"""
_MESSAGES = """
INSERT INTO messages (id, address) SELECT n, 'ok+' || %(word)s || '-' || n || '@crowd.test'
FROM generate_series(0, %(count)s - 1) AS n ON CONFLICT DO NOTHING
"""
_CLAIM = """
WITH mine AS (
    UPDATE messages SET phase = 'dispatched', attempts = 1, dispatched_at = now()
    WHERE id = ANY(%(messages)s) AND phase = 'ready' RETURNING id
)
INSERT INTO attempts (id, message_id, state, claimed_at)
SELECT a.id, a.message, 'in_flight', now()
FROM unnest(%(attempts)s::uuid[], %(messages)s::bigint[]) AS a (id, message) JOIN mine ON mine.id = a.message
"""
_RECORD = """
WITH ended AS (
    UPDATE attempts a SET state = 'accepted', recorded_at = now(), provider_message_id = g.provider_id
    FROM unnest(%(attempts)s::uuid[], %(provider_ids)s::text[]) AS g (id, provider_id)
    WHERE a.id = g.id RETURNING a.message_id
)
UPDATE messages m SET phase = 'closed', outcome = 'sent', outcome_at = now() FROM ended e WHERE m.id = e.message_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are."""

    database: str
    endpoint: str
    key: str
    word: str


class Sending:
    """The two tasks, and what they need."""

    def __init__(self, place: Place, *, concurrency: int) -> None:
        self._word = place.word
        self._ses = open_ses(endpoint=place.endpoint, key=place.key, connections=concurrency)
        self._threads = ThreadPoolExecutor(concurrency)
        self.rows = AsyncConnectionPool(place.database, min_size=1, max_size=concurrency, open=False)
        connector = procrastinate.PsycopgConnector(conninfo=place.database, min_size=1, max_size=concurrency + 2)
        self.app = procrastinate.App(connector=connector)
        self.single = self.app.task(name="single", queue="single")(self._send_one)
        self.bulk = self.app.task(name="bulk", queue="bulk")(self._send_fifty)

    async def _send_one(self, number: int) -> None:
        who = person(number, word=self._word)
        await self._call(lambda: self._ses.send_email(**single_request(who, attempt=str(uuid4()))))

    async def _send_fifty(self, first: int, count: int) -> None:
        people = [person(number, word=self._word) for number in range(first, first + count)]
        attempts = [uuid4() for _ in people]
        await self._commit(_CLAIM, attempts, messages=[who.number for who in people])
        request = bulk_request(people, [str(attempt) for attempt in attempts], whole=False)
        reply: Mapping[str, Any] = await self._call(lambda: self._ses.send_bulk_email(**request))
        provider_ids = [result["MessageId"] for result in reply["BulkEmailEntryResults"]]
        await self._commit(_RECORD, attempts, provider_ids=provider_ids)

    async def _commit(self, statement: str, attempts: Sequence[UUID], **more: Any) -> None:
        async with self.rows.connection() as connection:
            await connection.execute(statement.encode(), {"attempts": list(attempts), **more})

    async def _call(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


async def prepare(sending: Sending, *, kind: str, word: str, count: int) -> None:
    """Make the schema, the rows and the jobs."""
    async with sending.app.open_async(), sending.rows:
        if not await sending.app.check_connection_async():
            await sending.app.schema_manager.apply_schema_async()
        async with sending.rows.connection() as connection:
            await connection.execute(_TABLES)
            await connection.execute("TRUNCATE messages, attempts")
            await connection.execute(_MESSAGES, {"word": word, "count": count})
        task = sending.single if kind == "single" else sending.bulk
        jobs = _jobs(kind, count)
        for first in range(0, len(jobs), _DEFER_AT_ONCE):
            await task.batch_defer_async(*jobs[first : first + _DEFER_AT_ONCE])


def _jobs(kind: str, count: int) -> list[Any]:
    if kind == "single":
        return [{"number": number} for number in range(count)]
    return [{"first": first, "count": min(CALL, count - first)} for first in range(0, count, CALL)]


async def work(sending: Sending, *, kind: str, concurrency: int) -> None:
    """Until no job is left."""
    async with sending.app.open_async(), sending.rows:
        await sending.app.run_worker_async(queues=[kind], concurrency=concurrency, wait=False)


def main() -> None:
    """Prepare or work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "work"))
    parser.add_argument("--kind", choices=("single", "bulk"), required=True)
    for name in ("database", "endpoint", "key", "word"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    given = parser.parse_args()
    place = Place(database=given.database, endpoint=given.endpoint, key=given.key, word=given.word)
    sending = Sending(place, concurrency=given.concurrency)
    if given.what == "prepare":
        asyncio.run(prepare(sending, kind=given.kind, word=given.word, count=given.count))
    else:
        asyncio.run(work(sending, kind=given.kind, concurrency=given.concurrency))
