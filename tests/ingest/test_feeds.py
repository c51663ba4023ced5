"""The SQS feed: what the simulator publishes ends in the ledger, whatever happens on the way."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from tests.ingest.conftest import Ingest, sealed
from tests.providers.made import email, ses_account
from tests.relay.ledger import Attempt, Ledger, until
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import Credentials, ProviderAccount, ProviderEvent, ReplyKind
from waypost.messaging.values import AttemptState, EventKind
from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import FeedError
from waypost.providers.ses.queue import FeedMessage, QueueDepth, Received
from waypost.providers.ses.sender import SesSender
from waypost.relay.feeds import QueuePoller
from waypost.relay.intake import Intake, IntakeMetrics
from waypost.simulators.running import RunningSimulator
from waypost.store.database import Database


async def queue_account(ledger: Ledger, simulator: RunningSimulator) -> ProviderAccount:
    """An account of its own on the simulator, its row written, its queue to be followed."""
    key = f"AKIA{uuid4().hex[:12].upper()}"
    topic = f"arn:aws:sns:us-east-1:000000000000:waypost-{key}"
    columns = {"endpoint": simulator.url, "topic_arn": topic, "queue_url": simulator.queue_url(key)}
    identity = await ledger.add_account(credentials=sealed(key, "secret"), **columns)
    return ses_account(simulator.url, id=identity, credentials=Credentials(key=key, secret="secret"), topic_arn=topic)


async def send(account: ProviderAccount, attempts: Sequence[UUID]) -> None:
    sender = SesSender(account, Deadlines())
    try:
        for attempt in attempts:
            reply = await asyncio.to_thread(sender.send, email(attempt_id=attempt))
            assert reply.kind is ReplyKind.ACCEPTED
    finally:
        sender.close()


async def test_what_the_queue_brings_ends_in_the_ledger(
    ingest: Ingest, ledger: Ledger, simulator: RunningSimulator
) -> None:
    account = await queue_account(ledger, simulator)
    attempt = Attempt(AttemptState.UNKNOWN, account=account.id)
    messages = [await ledger.add_message(attempt, phase="held", account_id=account.id) for _ in range(25)]
    await send(account, [attempt_id(message=message, number=1) for message in messages])

    async def all_delivered() -> bool:
        rows = [await ledger.message(message) for message in messages]
        return all((row["outcome"], row["delivery"]) == ("sent", "delivered") for row in rows)

    await until(all_delivered)
    assert ingest.count("waypost_events_applied_total") >= 50

    async def read_empty() -> bool:
        (row,) = await ledger.execute("SELECT * FROM feeds WHERE account_id = %s", (account.id,))
        assert row["last_error"] is None
        return row["last_empty_at"] is not None and row["last_event_at"] is not None

    await until(read_empty)


async def test_an_account_that_changes_is_followed(ingest: Ingest, ledger: Ledger, simulator: RunningSimulator) -> None:
    account = await queue_account(ledger, simulator)
    broken = "UPDATE provider_accounts SET queue_url = %s, version = version + 1 WHERE id = %s"
    await ledger.execute(broken, ("http://127.0.0.1:1/000000000000/none", account.id))

    async def noticed() -> bool:
        rows = await ledger.execute("SELECT last_error FROM feeds WHERE account_id = %s", (account.id,))
        return bool(rows) and rows[0]["last_error"] is not None

    await until(noticed)


class FakeQueue:
    """A queue in memory that says what was done to it."""

    def __init__(self, *bodies: str) -> None:
        self.waiting = [
            FeedMessage(message_id=str(number), receipt=f"r{number}", body=body, receive_count=1)
            for number, body in enumerate(bodies)
        ]
        self.deleted: list[str] = []
        self.postponed: list[str] = []
        self.held = 0
        self.failures = 0
        self.receives = 0

    def receive(self, *, wait_seconds: int, visibility_seconds: int) -> Received:
        self.receives += 1
        if self.failures:
            self.failures -= 1
            raise FeedError("throttled")
        taken, self.waiting = self.waiting[:10], self.waiting[10:]
        return Received(messages=tuple(taken), empty=not taken)

    def delete(self, receipts: Sequence[str]) -> int:
        self.deleted += receipts
        return len(receipts)

    def postpone(self, receipts: Sequence[str], *, seconds: int) -> None:
        self.postponed += receipts

    def depth(self) -> QueueDepth:
        return QueueDepth(visible=len(self.waiting), in_flight=self.held)

    def close(self) -> None:
        pass


class Polling:
    """A poller over a fake queue."""

    def __init__(self, store: Database, account: UUID, queue: FakeQueue) -> None:
        self.stop = asyncio.Event()
        self.intake = Intake(store, IntakeMetrics(CollectorRegistry()), batch=500, signal="x")
        self.task = asyncio.create_task(
            QueuePoller(ses_account(None, id=account), queue, self.intake, store).run(self.stop)
        )

    async def end(self) -> None:
        self.stop.set()
        await self.task


async def test_poison_is_kept_aside_and_deleted_and_never_comes_again(store: Database, ledger: Ledger) -> None:
    long_id = os.urandom(5000).hex()  # no index of PostgreSQL holds it
    poison = f'{{"TopicArn": "{ses_account(None).topic_arn}", "Type": "Notification", "MessageId": "{long_id}", '
    poison += '"Timestamp": "", "Message": "{\\"eventType\\": \\"Send\\", \\"mail\\": {\\"timestamp\\": '
    poison += '\\"2026-11-24T00:00:00Z\\", \\"messageId\\": \\"m\\"}}"}'
    queue = FakeQueue("no json", '{"TopicArn": "arn:other", "Message": "", "Type": "Notification"}', poison)
    polling = Polling(store, ledger.account, queue)

    async def emptied() -> bool:
        return len(queue.deleted) == 3

    await until(emptied)
    await polling.end()
    rows = await ledger.execute("SELECT kind, code FROM provider_events WHERE account_id = %s", (ledger.account,))
    assert {row["kind"] for row in rows} == {"unparsable"}
    assert {"malformed_body", "malformed_envelope"} < {row["code"] for row in rows}
    assert len(rows) == 3


async def test_nothing_is_deleted_or_received_while_postgresql_is_away(
    store: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = FakeQueue(*(f'{{"eventType": "Subscription", "n": {number}}}' for number in range(3)))
    away = True
    polling = Polling(store, ledger.account, queue)
    plain = store.transaction
    kept = polling.intake.keep

    def transaction(*args: Any, **kwargs: Any) -> Any:
        if away:
            raise psycopg.OperationalError("away")
        return plain(*args, **kwargs)

    async def keep(*args: Any, **kwargs: Any) -> None:
        transaction()
        await kept(*args, **kwargs)

    monkeypatch.setattr(store, "transaction", transaction)
    monkeypatch.setattr(polling.intake, "keep", keep)
    await asyncio.sleep(0.8)
    assert (queue.deleted, queue.receives, len(queue.postponed)) == ([], 1, 3)
    away = False
    await until(partial(_more_receives, queue))
    await polling.end()


async def _more_receives(queue: FakeQueue) -> bool:
    return queue.receives > 1


async def test_a_queue_that_somebody_still_holds_a_message_of_is_not_empty(store: Database, ledger: Ledger) -> None:
    queue = FakeQueue()
    queue.held = 1
    polling = Polling(store, ledger.account, queue)

    async def polled() -> bool:
        return bool(await ledger.execute("SELECT 1 AS one FROM feeds WHERE account_id = %s", (ledger.account,)))

    await until(polled)
    rows = await ledger.execute("SELECT last_empty_at FROM feeds WHERE account_id = %s", (ledger.account,))
    assert rows == [{"last_empty_at": None}]
    await polling.end()


class BusyQueue(FakeQueue):
    """Never polled in vain: an event comes as soon as the last one is gone."""

    def receive(self, *, wait_seconds: int, visibility_seconds: int) -> Received:
        number = str(self.receives)
        body = '{"eventType": "Subscription"}'
        self.waiting.append(FeedMessage(message_id=number, receipt=number, body=body, receive_count=1))
        return super().receive(wait_seconds=wait_seconds, visibility_seconds=visibility_seconds)


async def test_a_queue_that_always_brings_something_is_seen_empty_in_between(store: Database, ledger: Ledger) -> None:
    polling = Polling(store, ledger.account, BusyQueue())

    async def seen_empty() -> bool:
        rows = await ledger.execute("SELECT last_empty_at FROM feeds WHERE account_id = %s", (ledger.account,))
        return bool(rows) and rows[0]["last_empty_at"] is not None

    await until(seen_empty)
    await polling.end()


async def test_a_failing_queue_is_noted_and_tried_again(store: Database, ledger: Ledger) -> None:
    queue = FakeQueue()
    queue.failures = 1
    polling = Polling(store, ledger.account, queue)
    await until(partial(_more_receives, queue))
    await polling.end()


async def test_more_than_a_batch_is_gathered_while_the_last_is_taken_in(store: Database, ledger: Ledger) -> None:
    queue = FakeQueue(*(f'{{"eventType": "Subscription", "n": {number}}}' for number in range(1_203)))
    polling = Polling(store, ledger.account, queue)

    async def emptied() -> bool:
        return len(queue.deleted) == 1_203

    await until(emptied)
    await polling.end()
    assert len(set(queue.deleted)) == 1_203
    assert queue.postponed == []


async def test_a_batch_gathered_meanwhile_is_shown_again_when_postgresql_goes_away(
    store: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = FakeQueue(*(f'{{"eventType": "Subscription", "n": {number}}}' for number in range(1_000)))
    polling = Polling(store, ledger.account, queue)

    async def keep(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError("away")

    monkeypatch.setattr(polling.intake, "keep", keep)
    await until(partial(_postponed, queue, 20))
    await polling.end()
    taken = 1_000 - len(queue.waiting)
    assert len(queue.postponed) == taken
    assert queue.deleted == []


async def _postponed(queue: FakeQueue, count: int) -> bool:
    return len(queue.postponed) >= count


async def test_an_event_that_cannot_be_applied_at_once_is_kept_first_and_applied_later(
    store: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await ledger.add_message(Attempt(AttemptState.UNKNOWN), phase="held")
    intake = Intake(store, IntakeMetrics(CollectorRegistry()), batch=500, signal="x")

    async def locked(*_: Any, **__: Any) -> None:
        raise psycopg.errors.LockNotAvailable

    monkeypatch.setattr("waypost.relay.intake.store_and_apply", locked)
    sent = ProviderEvent(
        event_id=uuid4().hex,
        kind=EventKind.DELIVERY,
        occurred_at=datetime.now(UTC),
        attempt_id=attempt_id(message=message, number=1),
        provider_message_id="ses-1",
    )
    await intake.keep([(ledger.account, sent)], feed="sqs")
    assert (await ledger.message(message))["outcome"] is None
    applying = asyncio.create_task(intake.run())

    async def applied() -> bool:
        return bool((await ledger.message(message))["outcome"] == "sent")

    await until(applied)
    applying.cancel()
    await asyncio.gather(applying, return_exceptions=True)
