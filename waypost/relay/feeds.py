"""The SQS feeds: one poller for each account with a queue, following the accounts as they are made and changed.

A message is deleted only after its events are committed. The queue counts as read empty only while nothing of it is
held by anybody: a message that a killed process had received is still to come.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from waypost.messaging.provider import ProviderAccount
from waypost.providers.errors import EventError, FeedError, ProviderError, SignatureError
from waypost.providers.ses.events import parse_ses_event
from waypost.providers.ses.queue import MAX_BATCH, FeedMessage, QueueDepth, Received
from waypost.providers.ses.sns import open_queue_body
from waypost.relay.intake import Arrival, Intake
from waypost.store.database import Database, DatabaseAway
from waypost.store.errors import StoreError
from waypost.store.feeds import FeedNote, note_feed, polled_accounts

logger = logging.getLogger(__name__)
T = TypeVar("T")

FEED = "sqs"
WAIT_S = 2
"""One long poll. Short, because an empty one is what proves absence, and SIGTERM waits for it."""
VISIBILITY_S = 30
"""What a killed process had received is shown again after this long; until then the queue is not empty."""
LINGER_S = 0.12
"""After a batch that was not full, so that a thin stream comes in batches too: a request costs a millisecond of CPU."""
GATHER_S = 0.25
GATHERED = 500
"""Messages of one batch at most, so that its transaction stays short."""
IN_HAND = 2
"""Batches that are taken in while the next is gathered: one is kept while the one before it is deleted."""
RECEIVERS = 2
"""Receives at once while more waits: one is answered while another is asked."""
NOTE_S = 1.0
FOLLOW_S = 2.0
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_AWAY_S = 0.5
_STOP_S = 6.0
_REFUSED_S = 30.0


class EventQueue(Protocol):
    """What a poller needs of `providers.ses.queue.SqsFeed`. Blocking."""

    def receive(self, *, wait_seconds: int, visibility_seconds: int) -> Received:
        """Up to ten messages."""
        ...

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to ten."""
        ...

    def postpone(self, receipts: Sequence[str], *, seconds: int) -> None:
        """Show up to ten again after `seconds`."""
        ...

    def depth(self) -> QueueDepth:
        """How much waits and how much is held."""
        ...

    def close(self) -> None:
        """Give back sockets."""
        ...


OpenQueue = Callable[[ProviderAccount], EventQueue]
LoadAccount = Callable[[UUID], Awaitable[ProviderAccount]]


class QueuePoller:
    """Reads one account's queue until it is told to stop."""

    def __init__(
        self,
        account: ProviderAccount,
        queue: EventQueue,
        intake: Intake,
        database: Database,
        *,
        visibility_s: int = VISIBILITY_S,
    ) -> None:
        self._account = account
        self._visibility_s = visibility_s
        self._queue = queue
        self._intake = intake
        self._database = database
        # Its own, for a hanging queue must not hold up another account's; as many threads to delete as to receive.
        self._executor = ThreadPoolExecutor(2 * RECEIVERS, thread_name_prefix=f"feed-{account.id.hex[:8]}")
        self._in_hand: deque[asyncio.Task[None]] = deque()
        self._noted = 0.0
        self._ask_depth_at = 0.0
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Poll; what fails is logged by its type and tried again later."""
        try:
            while not stop.is_set():
                try:
                    await self._cycle(stop)
                    self._failures = 0
                except DatabaseAway:
                    await self._until_database_is_back(stop)
                except FeedError as error:
                    await self._back_off(error, stop)
                except Exception as error:
                    logger.error("queue not read", exc_info=True)
                    await self._back_off(error, stop)
        finally:
            await self._let_go()
            self._queue.close()
            self._executor.shutdown(wait=False)

    async def _cycle(self, stop: asyncio.Event) -> None:
        """Gather a batch, and have it taken in while the next is gathered, as long as more waits."""
        started = time.monotonic()
        received = await self._in_thread(self._receive, WAIT_S)
        messages, more = list(received.messages), self._is_full(received)
        if more and not stop.is_set():
            found, more = await self._receive_more(started + GATHER_S)
            messages += found
        await self._hand_in(messages)
        if more:
            await self._note(FeedNote(polled=True, event=True))
            return
        await self._taken_in()
        if messages:
            await self._note(FeedNote(polled=True, event=True))
        # A busy queue is never polled in vain, so it is looked at between two batches too.
        await self._note_empty(started)
        if messages:
            await asyncio.sleep(LINGER_S)

    async def _receive_more(self, until: float) -> tuple[list[FeedMessage], bool]:
        """What several threads receive until then (monotonic), and whether there may be more.

        Each receives on its own: handing every ten over to the event loop takes half as long as receiving them.
        """
        found = await asyncio.gather(*(self._in_thread(self._receive_until, until) for _ in range(RECEIVERS)))
        return [message for messages, _ in found for message in messages], all(more for _, more in found)

    def _receive_until(self, until: float) -> tuple[list[FeedMessage], bool]:
        """In a thread. What fails ends it, and fails again in the next cycle; what came before it is kept."""
        messages: list[FeedMessage] = []
        while time.monotonic() < until and len(messages) < GATHERED // RECEIVERS:
            try:
                received = self._receive(0)
            except FeedError:
                return messages, False
            messages += received.messages
            if not self._is_full(received):
                return messages, False
        return messages, True

    async def _hand_in(self, messages: Sequence[FeedMessage]) -> None:
        """Begin to take these in once there is room; where those before them failed, these are shown again at once."""
        try:
            await self._taken_in(but=IN_HAND - 1)
        except DatabaseAway:
            await self._each_ten(messages, self._postpone)
            raise
        if messages:
            self._in_hand.append(asyncio.create_task(self._take_in(messages)))

    async def _taken_in(self, *, but: int = 0) -> None:
        """Return when no more than `but` batches are in hand. Raises what taking one in raised."""
        while len(self._in_hand) > but:
            await self._in_hand.popleft()

    async def _let_go(self) -> None:
        """Wait for all that is in hand, whatever becomes of it: what is not kept comes again."""
        while self._in_hand:
            with suppress(Exception):
                await self._taken_in()

    async def _take_in(self, messages: Sequence[FeedMessage]) -> None:
        """Keep all, then delete all. Where PostgreSQL is away they are shown again at once, and nothing is lost."""
        opened = [_open(message, self._account) for message in messages]
        try:
            for message, found in zip(messages, opened, strict=True):
                if isinstance(found, str):
                    await self._keep_aside(message, code=found)
            await self._keep([(m, f) for m, f in zip(messages, opened, strict=True) if not isinstance(f, str)])
        except DatabaseAway:
            await self._each_ten(messages, self._postpone)
            raise
        await self._each_ten(messages, self._queue.delete)

    async def _keep(self, opened: Sequence[tuple[FeedMessage, list[Arrival]]]) -> None:
        try:
            await self._intake.keep([arrival for _, arrivals in opened for arrival in arrivals], feed=FEED)
        except DatabaseAway:
            raise
        except Exception:
            for message, arrivals in opened:
                await self._keep_alone(message, arrivals)

    async def _keep_alone(self, message: FeedMessage, arrivals: Sequence[Arrival]) -> None:
        try:
            await self._intake.keep(arrivals, feed=FEED)
        except DatabaseAway:
            raise
        except Exception as error:
            await self._keep_aside(message, code=type(error).__name__)

    async def _keep_aside(self, message: FeedMessage, *, code: str) -> None:
        logger.warning("event kept aside", extra={"account_id": str(self._account.id), "code": code})
        await self._intake.keep_unparsable(
            account=self._account.id, event_id=f"queue:{message.message_id}", code=code, raw=message.body
        )

    async def _note_empty(self, started: float) -> None:
        """Everything that was in the queue when this poll began is stored, if now nobody holds any of it."""
        if time.monotonic() < self._ask_depth_at:
            return
        depth = await self._in_thread(self._queue.depth)
        empty = depth.visible == 0 and depth.in_flight == 0
        self._ask_depth_at = time.monotonic() + (NOTE_S if empty else GATHER_S)
        age = timedelta(seconds=time.monotonic() - started) if empty else None
        await self._note(FeedNote(polled=True, empty=age), at_once=empty)

    async def _note(self, note: FeedNote, *, at_once: bool = False) -> None:
        if not at_once and time.monotonic() - self._noted < NOTE_S:
            return
        self._noted = time.monotonic()
        async with self._database.transaction() as connection:
            await note_feed(connection, account=self._account.id, note=note)

    async def _back_off(self, error: Exception, stop: asyncio.Event) -> None:
        code = error.code if isinstance(error, ProviderError) else type(error).__name__
        logger.warning("feed interrupted", extra={"account_id": str(self._account.id), "code": code})
        with suppress(*DatabaseAway):
            await self._note(FeedNote(error=code))
        pause = _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
        self._failures += 1
        await _sleep(pause, stop)

    async def _until_database_is_back(self, stop: asyncio.Event) -> None:
        """Nothing is received meanwhile: each receive counts towards the queue's own limit of tries."""
        logger.warning("database away, feed paused", extra={"account_id": str(self._account.id)})
        await self._let_go()
        while not stop.is_set():
            await _sleep(_AWAY_S, stop)
            with suppress(*DatabaseAway):
                await self._note(FeedNote(error="database_away"), at_once=True)
                return

    async def _each_ten(self, messages: Sequence[FeedMessage], do: Callable[[list[str]], Any]) -> None:
        """By tens, in a few threads. What fails comes again, and is known by its id."""
        receipts = [message.receipt for message in messages]
        tens = [receipts[start : start + MAX_BATCH] for start in range(0, len(receipts), MAX_BATCH)]
        await asyncio.gather(*(self._in_thread(_do_all, do, tens[n::RECEIVERS]) for n in range(RECEIVERS)))

    def _postpone(self, receipts: list[str]) -> None:
        self._queue.postpone(receipts, seconds=0)

    def _receive(self, wait_seconds: int) -> Received:
        return self._queue.receive(wait_seconds=wait_seconds, visibility_seconds=self._visibility_s)

    @staticmethod
    def _is_full(received: Received) -> bool:
        return len(received.messages) >= MAX_BATCH

    async def _in_thread(self, do: Callable[..., T], *values: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, do, *values)


def _do_all(do: Callable[[list[str]], Any], tens: Sequence[list[str]]) -> None:
    for ten in tens:
        try:
            do(ten)
        except FeedError as error:
            logger.warning("queue not written", extra={"code": error.code})


def _open(message: FeedMessage, account: ProviderAccount) -> list[Arrival] | str:
    """The events of one queue message, or the code of why it cannot be read."""
    try:
        notification = open_queue_body(message.body, topic_arn=account.topic_arn)
        if notification is None:
            return []
        events = parse_ses_event(notification.message, event_id=notification.event_id)
    except (EventError, SignatureError) as error:
        return error.code
    return [(account.id, event) for event in events]


@dataclass(frozen=True, slots=True)
class _Running:
    version: int
    task: asyncio.Task[None]
    stop: asyncio.Event


class FeedFollower:
    """Keeps a poller running for each account that has a queue."""

    def __init__(
        self,
        database: Database,
        intake: Intake,
        *,
        load: LoadAccount,
        open_queue: OpenQueue,
        visibility_s: int = VISIBILITY_S,
    ) -> None:
        self._visibility_s = visibility_s
        self._database = database
        self._intake = intake
        self._load = load
        self._open_queue = open_queue
        self._running: dict[UUID, _Running] = {}
        self._refused: dict[UUID, tuple[int, float]] = {}
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="feed-opener")

    async def run(self) -> None:
        """Follow the accounts until cancelled; the pollers then finish what they hold."""
        try:
            while True:
                with suppress(*DatabaseAway):  # the pollers that run go on
                    await self.follow()
                await asyncio.sleep(FOLLOW_S)
        finally:
            await self._stop(list(self._running))
            self._opener.shutdown(wait=False)

    async def follow(self) -> None:
        """Start, stop and restart pollers as the accounts' rows say now."""
        async with self._database.transaction() as connection:
            wanted = await polled_accounts(connection)
        await self._stop([account for account, each in self._running.items() if wanted.get(account) != each.version])
        for account, version in wanted.items():
            if account not in self._running and not self._was_refused(account, version):
                await self._start(account, version)

    def _was_refused(self, account: UUID, version: int) -> bool:
        refused = self._refused.get(account)
        return refused is not None and refused[0] == version and time.monotonic() - refused[1] < _REFUSED_S

    async def _start(self, identity: UUID, version: int) -> None:
        try:
            account = await self._load(identity)
            queue = await asyncio.get_running_loop().run_in_executor(self._opener, self._open_queue, account)
        except (StoreError, ProviderError) as error:
            self._refused[identity] = (version, time.monotonic())
            await self._say(identity, error.code)
            return
        stop = asyncio.Event()
        poller = QueuePoller(account, queue, self._intake, self._database, visibility_s=self._visibility_s)
        self._running[identity] = _Running(version, asyncio.create_task(poller.run(stop)), stop)

    async def _say(self, account: UUID, code: str) -> None:
        logger.error("account has no usable queue", extra={"account_id": str(account), "code": code})
        async with self._database.transaction() as connection:
            await note_feed(connection, account=account, note=FeedNote(error=code))

    async def _stop(self, accounts: Sequence[UUID]) -> None:
        stopping = [self._running.pop(account) for account in accounts]
        for each in stopping:
            each.stop.set()
        if stopping:
            _, late = await asyncio.wait([each.task for each in stopping], timeout=_STOP_S)
            for task in late:
                task.cancel()


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
