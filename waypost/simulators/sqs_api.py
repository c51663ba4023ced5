"""The part of SQS that a consumer uses, in its JSON protocol (`X-Amz-Target: AmazonSQS.*`)."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from waypost.simulators.accounts import AWS_ACCOUNT_ID
from waypost.simulators.errors import AwsError, SqsError
from waypost.simulators.sigv4 import check_signature, read_credential
from waypost.simulators.simulator import Simulator
from waypost.simulators.sqs_queue import MAX_BATCH, Queue, QueuedMessage
from waypost.simulators.wire import Reply, Request

TARGET_PREFIX = "AmazonSQS."
CONTENT_TYPE = b"application/x-amz-json-1.0"
MAX_WAIT_SECONDS = 20
MAX_VISIBILITY_SECONDS = 43_200

Body = dict[str, Any]


def sqs_reply(body: Body, *, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    """A reply of the JSON protocol."""
    return Reply(orjson.dumps(body), status, CONTENT_TYPE, headers)


def sqs_error_reply(error: AwsError) -> Reply:
    """An error, with the header by which SDKs still find the old protocol's code."""
    query_code = error.query_code if isinstance(error, SqsError) else error.code
    headers = ((b"x-amzn-query-error", f"{query_code};Sender".encode()),)
    body = {"__type": f"com.amazonaws.sqs#{error.code}", "message": error.message}
    return sqs_reply(body, status=error.status, headers=headers)


def invalid(message: str) -> SqsError:
    """An InvalidParameterValue error."""
    return SqsError("InvalidParameterValueException", message, query_code="InvalidParameterValue")


class SqsApi:
    """Answers SQS requests."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._operations: dict[str, Callable[[Body], Reply | Awaitable[Reply]]] = {
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change_visibility,
            "ChangeMessageVisibilityBatch": self._change_visibility_batch,
            "GetQueueAttributes": self._attributes,
            "GetQueueUrl": self._queue_url,
            "CreateQueue": self._create,
            "SendMessage": self._send,
            "PurgeQueue": self._purge,
        }

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """One request."""
        try:
            self._authenticate(request)
            name = request.header(b"x-amz-target").removeprefix(TARGET_PREFIX)
            operation = self._operations.get(name)
            if operation is None:
                raise AwsError("InvalidAction", f"The simulator does not know {name}.")
            return operation(orjson.loads(request.body))
        except AwsError as error:
            return sqs_error_reply(error)
        except orjson.JSONDecodeError:
            return sqs_error_reply(AwsError("SerializationException", "The request body is not valid JSON."))

    def _authenticate(self, request: Request) -> None:
        credential = read_credential(request)
        account = self._simulator.accounts.get("ses", credential.key, region=credential.region)
        if account.settings.credentials_expired:
            raise AwsError("ExpiredToken", "The security token included in the request is expired", status=403)
        if account.settings.secret is not None:
            check_signature(request, credential, account.settings.secret)

    def _queue(self, body: Body) -> Queue:
        queue = self._simulator.existing_queue(str(body.get("QueueUrl", "")).rpartition("/")[2])
        if queue is None:
            raise SqsError(
                "QueueDoesNotExist",
                "The specified queue does not exist.",
                query_code="AWS.SimpleQueueService.NonExistentQueue",
            )
        return queue

    def _receive(self, body: Body) -> Reply | Awaitable[Reply]:
        queue = self._queue(body)
        wait = number(body, "WaitTimeSeconds", default=0, top=MAX_WAIT_SECONDS)
        number(body, "MaxNumberOfMessages", default=1, top=MAX_BATCH, bottom=1)
        number(body, "VisibilityTimeout", default=0, top=MAX_VISIBILITY_SECONDS)
        if wait == 0 or queue.ready:
            return self._take(queue, body)
        return self._receive_later(queue, body, wait)

    async def _receive_later(self, queue: Queue, body: Body, wait: int) -> Reply:
        await queue.wait(wait)
        return self._take(queue, body)

    def _take(self, queue: Queue, body: Body) -> Reply:
        limit = int(body.get("MaxNumberOfMessages") or 1)
        visibility = body.get("VisibilityTimeout")
        messages = queue.receive(limit, queue.visibility if visibility is None else visibility)
        wanted = {*(body.get("AttributeNames") or ()), *(body.get("MessageSystemAttributeNames") or ())}
        return sqs_reply({"Messages": [received(each, wanted) for each in messages]} if messages else {})

    def _delete(self, body: Body) -> Reply:
        self._queue(body).delete(str(body.get("ReceiptHandle")))
        return sqs_reply({})

    def _delete_batch(self, body: Body) -> Reply:
        queue = self._queue(body)
        entries = batch(body)
        for entry in entries:
            queue.delete(entry["ReceiptHandle"])
        return sqs_reply({"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []})

    def _change_visibility(self, body: Body) -> Reply:
        seconds = number(body, "VisibilityTimeout", default=0, top=MAX_VISIBILITY_SECONDS)
        if not self._queue(body).change_visibility(str(body.get("ReceiptHandle")), seconds):
            raise SqsError(
                "MessageNotInflight",
                "The specified message isn't in flight.",
                query_code="AWS.SimpleQueueService.MessageNotInflight",
            )
        return sqs_reply({})

    def _change_visibility_batch(self, body: Body) -> Reply:
        queue = self._queue(body)
        done: list[Body] = []
        failed: list[Body] = []
        for entry in batch(body):
            if queue.change_visibility(entry["ReceiptHandle"], entry.get("VisibilityTimeout", 0)):
                done.append({"Id": entry["Id"]})
            else:
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": "MessageNotInflight"})
        return sqs_reply({"Successful": done, "Failed": failed})

    def _attributes(self, body: Body) -> Reply:
        queue = self._queue(body)
        values = {
            "ApproximateNumberOfMessages": str(queue.ready),
            "ApproximateNumberOfMessagesNotVisible": str(queue.inflight),
            "ApproximateNumberOfMessagesDelayed": "0",
            "VisibilityTimeout": str(queue.visibility),
            "QueueArn": f"arn:aws:sqs:us-east-1:{AWS_ACCOUNT_ID}:{queue.name}",
        }
        wanted = body.get("AttributeNames") or []
        return sqs_reply({"Attributes": {k: v for k, v in values.items() if "All" in wanted or k in wanted}})

    def _queue_url(self, body: Body) -> Reply:
        queue = self._queue({"QueueUrl": body.get("QueueName")})
        return sqs_reply({"QueueUrl": self._url(queue)})

    def _create(self, body: Body) -> Reply:
        queue = self._simulator.queue(str(body.get("QueueName")))
        visibility = (body.get("Attributes") or {}).get("VisibilityTimeout")
        if visibility is not None:
            queue.visibility = int(visibility)
        return sqs_reply({"QueueUrl": self._url(queue)})

    def _url(self, queue: Queue) -> str:
        return f"{self._simulator.base_url}/{AWS_ACCOUNT_ID}/{queue.name}"

    def _send(self, body: Body) -> Reply:
        text = str(body.get("MessageBody") or "")
        queue = self._queue(body)
        message_id = queue.put(text.encode)
        return sqs_reply({"MessageId": message_id, "MD5OfMessageBody": md5(text)})

    def _purge(self, body: Body) -> Reply:
        self._queue(body).purge()
        return sqs_reply({})


def number(body: Body, name: str, *, default: int, top: int, bottom: int = 0) -> int:
    """A bounded integer of a request. Raises `SqsError`."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or not bottom <= value <= top:
        raise invalid(f"Value {value} for parameter {name} is invalid. Reason: Must be between {bottom} and {top}.")
    return value


def batch(body: Body) -> list[Body]:
    """The entries of a batch request. Raises `SqsError`."""
    entries: list[Body] = body.get("Entries") or []
    if not entries:
        raise SqsError(
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
            query_code="AWS.SimpleQueueService.EmptyBatchRequest",
        )
    if len(entries) > MAX_BATCH:
        raise SqsError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {MAX_BATCH}.",
            query_code="AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        )
    return entries


def md5(text: str) -> str:
    """The checksum that boto3 verifies."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def received(message: QueuedMessage, wanted: set[str]) -> Body:
    """A message as ReceiveMessage shows it."""
    text = message.text()
    shown: Body = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": md5(text),
        "Body": text,
    }
    if wanted:
        values = {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(int(message.sent_at * 1000)),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received_at * 1000)),
            "SenderId": AWS_ACCOUNT_ID,
        }
        shown["Attributes"] = {k: v for k, v in values.items() if "All" in wanted or k in wanted}
    return shown
