"""The control that a team would pick: Procrastinate, a task queue on PostgreSQL, with boto3.

`single`: a task a recipient that sends one e-mail and records nothing but its job. `bulk`: a task for fifty that sends
them by `send_bulk_email` and records the rows that Waypost records, in Waypost's own tables: attempts before the call,
both after it, and by the same ingest what the provider's events say of them. It asks no gate and locks nothing.
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

# A run beside that of the campaign before it, which no loop of Waypost's looks at, for it is completed.
_RUN = """
INSERT INTO campaign_runs
SELECT made.* FROM campaign_runs r, LATERAL jsonb_populate_record(r, jsonb_build_object(
    'id', %(run)s::text, 'number', (SELECT max(number) + 1 FROM campaign_runs WHERE campaign_id = r.campaign_id),
    'audience', %(count)s::int)) AS made
WHERE r.id = %(like)s AND r.state = 'completed'
RETURNING tenant_id
"""
_MESSAGES = """
INSERT INTO messages
SELECT made.* FROM messages m, unnest(%(ids)s::uuid[]) WITH ORDINALITY AS n (id, number),
    LATERAL jsonb_populate_record(m, jsonb_build_object(
    'id', n.id, 'run_id', %(run)s::text, 'source_id', %(run)s::text, 'part', n.id, 'contact_id', NULL, 'attempts', 0,
    'address', 'ok+' || %(word)s || '-' || n.number - 1 || '@crowd.test', 'phase', 'ready', 'dispatched_at', NULL,
    'outcome', NULL, 'outcome_reason', NULL, 'outcome_at', NULL, 'delivery', 'none')) AS made
WHERE (m.tenant_id, m.id) = (SELECT tenant_id, id FROM messages WHERE run_id = %(like)s LIMIT 1)
"""
_CLAIM = """
WITH mine AS (
    UPDATE messages SET phase = 'dispatched', attempts = 1, dispatched_at = now()
    WHERE tenant_id = %(tenant)s AND id = ANY(%(messages)s) AND phase = 'ready' RETURNING id, account_id, created_at
)
INSERT INTO attempts (tenant_id, id, message_id, number, account_id, claimed_at, process, month)
SELECT %(tenant)s, a.id, a.message, 1, mine.account_id, now(), 'control', waypost_month(mine.created_at)
FROM unnest(%(attempts)s::uuid[], %(messages)s::uuid[]) AS a (id, message) JOIN mine ON mine.id = a.message
"""
_RECORD = """
WITH ended AS (
    UPDATE attempts a SET state = 'accepted', recorded_at = now(), provider_message_id = g.provider_id
    FROM unnest(%(attempts)s::uuid[], %(provider_ids)s::text[]) AS g (id, provider_id)
    WHERE a.tenant_id = %(tenant)s AND a.id = g.id AND a.month = waypost_month(now()) RETURNING a.message_id
)
UPDATE messages m SET phase = 'closed', outcome = 'sent', outcome_reason = 'accepted', outcome_at = now()
FROM ended e WHERE m.tenant_id = %(tenant)s AND m.id = e.message_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are."""

    database: str
    endpoint: str
    key: str
    word: str
    ledger: str
    """Waypost's own database, for `bulk`."""
    tenant: UUID
    run: UUID
    """Whose rows are sent to: the high half of a message's id is of its run, the low half its number."""
    like: UUID
    """A run that was sent, whose rows these are made like."""

    def message(self, number: int) -> UUID:
        """The id of the n-th message."""
        return UUID(int=(self.run.int >> 64 << 64) | number)


class Sending:
    """The two tasks, and what they need."""

    def __init__(self, place: Place, *, concurrency: int) -> None:
        self.place = place
        self._ses = open_ses(endpoint=place.endpoint, key=place.key, connections=concurrency)
        self._threads = ThreadPoolExecutor(concurrency)
        self.rows = AsyncConnectionPool(place.ledger, min_size=1, max_size=concurrency, open=False)
        connector = procrastinate.PsycopgConnector(conninfo=place.database, min_size=1, max_size=concurrency + 2)
        self.app = procrastinate.App(connector=connector)
        self.single = self.app.task(name="single", queue="single")(self._send_one)
        self.bulk = self.app.task(name="bulk", queue="bulk")(self._send_fifty)

    async def _send_one(self, number: int) -> None:
        who = person(number, word=self.place.word)
        await self._call(lambda: self._ses.send_email(**single_request(who, attempt=str(uuid4()))))

    async def _send_fifty(self, first: int, count: int) -> None:
        people = [person(number, word=self.place.word) for number in range(first, first + count)]
        attempts = [uuid4() for _ in people]
        await self._commit(_CLAIM, attempts, messages=[self.place.message(who.number) for who in people])
        request = bulk_request(people, [str(attempt) for attempt in attempts], whole=False)
        reply: Mapping[str, Any] = await self._call(lambda: self._ses.send_bulk_email(**request))
        provider_ids = [result["MessageId"] for result in reply["BulkEmailEntryResults"]]
        await self._commit(_RECORD, attempts, provider_ids=provider_ids)

    async def _commit(self, statement: str, attempts: Sequence[UUID], **more: Any) -> None:
        async with self.rows.connection() as connection:
            known = {"tenant": self.place.tenant, "attempts": list(attempts)}
            await connection.execute(statement.encode(), {**known, **more})

    async def _call(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


async def prepare(sending: Sending, *, kind: str, count: int) -> None:
    """Make the queue's schema, the rows and the jobs."""
    async with sending.app.open_async(), sending.rows:
        if not await sending.app.check_connection_async():
            await sending.app.schema_manager.apply_schema_async()
        if kind == "bulk":
            await _make_rows(sending, count)
        task = sending.single if kind == "single" else sending.bulk
        jobs = _jobs(kind, count)
        for first in range(0, len(jobs), _DEFER_AT_ONCE):
            await task.batch_defer_async(*jobs[first : first + _DEFER_AT_ONCE])


async def _make_rows(sending: Sending, count: int) -> None:
    place = sending.place
    ids = [place.message(number) for number in range(count)]
    values = {"run": place.run, "like": place.like, "word": place.word, "count": count, "ids": ids}
    async with sending.rows.connection() as connection:
        if not (await connection.execute(_RUN, values)).rowcount:
            raise SystemExit(f"run {place.like} is not there, or not completed: there are no rows to make others like")
        await connection.execute(_MESSAGES, values)


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
    for name in ("database", "endpoint", "key", "word", "ledger"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("tenant", "run", "like"):
        parser.add_argument(f"--{name}", type=UUID, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    given = vars(parser.parse_args())
    what, kind, count, concurrency = (given.pop(name) for name in ("what", "kind", "count", "concurrency"))
    sending = Sending(Place(**given), concurrency=concurrency)
    if what == "prepare":
        asyncio.run(prepare(sending, kind=kind, count=count))
    else:
        asyncio.run(work(sending, kind=kind, concurrency=concurrency))
