"""The real clients, pointed at a simulator."""

import time
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import orjson
from botocore.config import Config
from twilio.rest import Client

from waypost.simulators.running import RunningSimulator

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sqs import SQSClient

TOKEN = "token"
SECRET = "any"
ONE_TRY: Any = {"total_max_attempts": 1}


@cache
def shared_session() -> boto3.Session:
    """One session, so that botocore reads its service models once."""
    return boto3.Session()


class Aws:
    """One SES account's clients and its queue."""

    def __init__(self, simulator: RunningSimulator, key: str, *, timeout: float = 3.0) -> None:
        self.simulator = simulator
        self.key = key
        config = Config(retries=ONE_TRY, read_timeout=timeout, connect_timeout=1, region_name="us-east-1")
        session = shared_session()
        self.ses: SESV2Client = session.client(
            "sesv2",
            endpoint_url=simulator.url,
            config=config,
            aws_access_key_id=key,
            aws_secret_access_key=SECRET,
        )
        self.sqs: SQSClient = session.client(
            "sqs", endpoint_url=simulator.url, config=config, aws_access_key_id=key, aws_secret_access_key=SECRET
        )
        self.queue_url = simulator.queue_url(key)

    def send(self, to: str = "ada@example.com", *, tag: str = "a-1", configuration_set: str | None = "cs") -> str:
        """Send a simple email; returns its id."""
        more: dict[str, Any] = {"ConfigurationSetName": configuration_set} if configuration_set else {}
        answer = self.ses.send_email(
            FromEmailAddress="Shop <shop@shop.example>",
            Destination={"ToAddresses": [to]},
            EmailTags=[{"Name": "waypost_attempt", "Value": tag}],
            Content={
                "Simple": {
                    "Subject": {"Data": "Hello"},
                    "Body": {"Html": {"Data": "<p>Hello</p>"}, "Text": {"Data": "Hello there"}},
                }
            },
            **more,
        )
        return answer["MessageId"]

    def receive(self, number: int, seconds: float = 4.0) -> list[Any]:
        """That many envelopes, deleted from the queue."""
        found: list[Any] = []
        ends = time.monotonic() + seconds
        while len(found) < number and time.monotonic() < ends:
            wait = 1 if seconds >= 1 else 0
            answer = self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
            for message in answer.get("Messages", []):
                found.append(orjson.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def events(self, number: int, seconds: float = 4.0) -> list[Any]:
        """The SES events within that many envelopes."""
        return [orjson.loads(each["Message"]) for each in self.receive(number, seconds)]

    def close(self) -> None:
        """Give back sockets."""
        self.ses.close()
        self.sqs.close()


def twilio(simulator: RunningSimulator, sid: str, token: str = TOKEN) -> Client:
    """The Twilio client."""
    client = Client(sid, token)
    client.api.base_url = simulator.url
    return client
