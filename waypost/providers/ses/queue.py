"""An account's SQS queue: the durable feed. Blocking; to be called in an executor of its own."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from waypost.messaging.provider import ProviderAccount
from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import AccountUnusableError, FeedError
from waypost.providers.ses.sqs_calls import SqsCalls

T = TypeVar("T")

MAX_BATCH = 10
MAX_WAIT_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMessage:
    """One delivery of a queue message. `body` is an SNS envelope, or SES's event itself under raw delivery."""

    message_id: str
    receipt: str = field(repr=False)
    body: str = field(repr=False)
    receive_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What one receive brought. `empty`: a long poll, which asks every SQS server, found nothing visible."""

    messages: tuple[FeedMessage, ...]
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """SQS's approximate counts: waiting, and received by somebody but not yet deleted."""

    visible: int
    in_flight: int


class SqsFeed:
    """Receive, delete, postpone. Thread-safe. Every method raises `FeedError` (code only) where SQS did not do it."""

    def __init__(self, account: ProviderAccount, deadlines: Deadlines) -> None:
        """Raises `AccountUnusableError` for an account without a queue."""
        if not account.queue_url:
            raise AccountUnusableError("no_queue_url")
        self._url = account.queue_url
        self._total = deadlines.total
        # A long poll is silent for as long as it waits.
        poll = Deadlines(
            connect=deadlines.connect,
            read=deadlines.read + MAX_WAIT_SECONDS,
            total=deadlines.total + MAX_WAIT_SECONDS,
        )
        self._calls = SqsCalls(account, account.queue_url, poll)

    def receive(
        self, *, wait_seconds: int = MAX_WAIT_SECONDS, visibility_seconds: int = 60, max_messages: int = MAX_BATCH
    ) -> Received:
        """Up to ten messages, waiting up to 20 s for the first; each is hidden for `visibility_seconds`."""
        answer = self._call(
            "ReceiveMessage",
            wait_seconds,
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=visibility_seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        messages = _read(lambda: tuple(_message(each) for each in answer.get("Messages") or ()))
        return Received(messages=messages, empty=wait_seconds > 0 and not messages)

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to ten; returns how many SQS deleted. What it did not comes again, which is harmless."""
        entries = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)]
        answer = self._call("DeleteMessageBatch", Entries=entries)
        return _read(lambda: len(answer.get("Successful") or ()))

    def postpone(self, receipts: Sequence[str], *, seconds: int) -> None:
        """Show up to ten again after `seconds` (0: at once), for what could not be stored."""
        entries = [
            {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for index, receipt in enumerate(receipts)
        ]
        self._call("ChangeMessageVisibilityBatch", Entries=entries)

    def depth(self) -> QueueDepth:
        """How much waits, and how much somebody holds: only with both at none is the queue read empty."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._call("GetQueueAttributes", AttributeNames=names)
        visible, in_flight = _read(lambda: [int(answer["Attributes"][name]) for name in names])
        return QueueDepth(visible=visible, in_flight=in_flight)

    def close(self) -> None:
        """Give back sockets; a long poll under way ends by itself."""
        self._calls.close()

    def _call(self, operation: str, waits: float = 0.0, **parameters: object) -> dict[str, Any]:
        return self._calls.call(operation, deadline=time.monotonic() + self._total + waits, **parameters)


def _message(message: dict[str, Any]) -> FeedMessage:
    return FeedMessage(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
    )


def _read(read: Callable[[], T]) -> T:
    """What a 2xx says. Raises `FeedError` where it is not SQS's: something between answered for it."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FeedError("unreadable_reply") from None
