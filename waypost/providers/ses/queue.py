"""An account's SQS queue: the durable feed. Blocking; to be called in an executor of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from waypost.messaging.provider import ProviderAccount
from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import AccountUnusableError, FeedError
from waypost.providers.ses.connection import open_sqs
from waypost.providers.ses.errors import classify

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
        self._client, self._wire = open_sqs(account, self._url, poll)

    def receive(
        self, *, wait_seconds: int = MAX_WAIT_SECONDS, visibility_seconds: int = 60, max_messages: int = MAX_BATCH
    ) -> Received:
        """Up to ten messages, waiting up to 20 s for the first; each is hidden for `visibility_seconds`."""
        with self._asking(self._total + wait_seconds):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=visibility_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            messages = tuple(
                FeedMessage(
                    message_id=message["MessageId"],
                    receipt=message["ReceiptHandle"],
                    body=message["Body"],
                    receive_count=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
                )
                for message in answer.get("Messages", ())
            )
        return Received(messages=messages, empty=wait_seconds > 0 and not messages)

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to ten; returns how many SQS deleted. What it did not comes again, which is harmless."""
        with self._asking(self._total):
            answer = self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)],
            )
            return len(answer.get("Successful", ()))

    def postpone(self, receipts: Sequence[str], *, seconds: int) -> None:
        """Show up to ten again after `seconds` (0: at once), for what could not be stored."""
        with self._asking(self._total):
            self._client.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                    for index, receipt in enumerate(receipts)
                ],
            )

    def depth(self) -> QueueDepth:
        """How much waits, and how much somebody holds: only with both at none is the queue read empty."""
        with self._asking(self._total):
            answer = self._client.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )
            counts = answer["Attributes"]
            return QueueDepth(
                visible=int(counts["ApproximateNumberOfMessages"]),
                in_flight=int(counts["ApproximateNumberOfMessagesNotVisible"]),
            )

    def close(self) -> None:
        """Give back sockets; a long poll under way ends by itself."""
        self._wire.close()

    @contextmanager
    def _asking(self, total: float) -> Iterator[None]:
        with self._wire.call(total=total) as call:
            try:
                yield
            except Exception as failure:
                raise FeedError(classify(failure, reached_wire=call.reached_wire).code or "failed") from None
