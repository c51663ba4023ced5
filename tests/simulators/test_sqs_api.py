import threading
import time

import pytest
from botocore.exceptions import ClientError

from tests.simulators.clients import Aws
from waypost.simulators.running import RunningSimulator


def put(aws: Aws, *bodies: str) -> None:
    for body in bodies:
        aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=body)


def test_a_received_message_is_out_of_sight_then_comes_back_with_a_higher_count(aws: Aws) -> None:
    put(aws, "one")
    first = aws.sqs.receive_message(QueueUrl=aws.queue_url, VisibilityTimeout=30, AttributeNames=["All"])["Messages"][0]
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert "Messages" not in aws.sqs.receive_message(QueueUrl=aws.queue_url)
    aws.sqs.change_message_visibility(QueueUrl=aws.queue_url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    again = aws.sqs.receive_message(
        QueueUrl=aws.queue_url, MessageSystemAttributeNames=["ApproximateReceiveCount"], WaitTimeSeconds=1
    )["Messages"][0]
    assert again["MessageId"] == first["MessageId"]
    assert again["Attributes"] == {"ApproximateReceiveCount": "2"}


def test_an_expired_visibility_ends_a_long_poll(aws: Aws) -> None:
    put(aws, "one")
    aws.sqs.receive_message(QueueUrl=aws.queue_url, VisibilityTimeout=1)
    began = time.monotonic()
    assert aws.sqs.receive_message(QueueUrl=aws.queue_url, WaitTimeSeconds=2)["Messages"][0]["Body"] == "one"
    assert 0.5 < time.monotonic() - began < 1.9


def test_a_long_poll_returns_when_a_message_comes(aws: Aws) -> None:
    timer = threading.Timer(0.1, put, (aws, "late"))
    timer.start()
    began = time.monotonic()
    messages = aws.sqs.receive_message(QueueUrl=aws.queue_url, WaitTimeSeconds=2)["Messages"]
    timer.join()
    assert [each["Body"] for each in messages] == ["late"]
    assert time.monotonic() - began < 1.0


def test_an_empty_long_poll_ends_in_time(aws: Aws) -> None:
    began = time.monotonic()
    assert "Messages" not in aws.sqs.receive_message(QueueUrl=aws.queue_url, WaitTimeSeconds=1)
    assert 0.9 < time.monotonic() - began < 1.5


def test_batches_delete_and_change_visibility(aws: Aws) -> None:
    put(aws, *"abc")
    messages = aws.sqs.receive_message(QueueUrl=aws.queue_url, MaxNumberOfMessages=10)["Messages"]
    assert [each["Body"] for each in messages] == ["a", "b", "c"]
    counts = aws.sqs.get_queue_attributes(QueueUrl=aws.queue_url, AttributeNames=["All"])["Attributes"]
    assert (counts["ApproximateNumberOfMessages"], counts["ApproximateNumberOfMessagesNotVisible"]) == ("0", "3")
    deleted = aws.sqs.delete_message_batch(
        QueueUrl=aws.queue_url,
        Entries=[{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages[:2])],
    )
    assert [each["Id"] for each in deleted["Successful"]] == ["0", "1"]
    changed = aws.sqs.change_message_visibility_batch(
        QueueUrl=aws.queue_url,
        Entries=[
            {"Id": "x", "ReceiptHandle": messages[2]["ReceiptHandle"], "VisibilityTimeout": 0},
            {"Id": "y", "ReceiptHandle": "gone", "VisibilityTimeout": 0},
        ],
    )
    assert [each["Id"] for each in changed["Successful"]] == ["x"]
    assert [each["Code"] for each in changed["Failed"]] == ["MessageNotInflight"]
    assert aws.sqs.receive_message(QueueUrl=aws.queue_url)["Messages"][0]["Body"] == "c"


def test_an_unknown_queue_does_not_exist(simulator: RunningSimulator, aws: Aws) -> None:
    with pytest.raises(aws.sqs.exceptions.QueueDoesNotExist):
        aws.sqs.receive_message(QueueUrl=f"{simulator.url}/000000000000/other")
    assert aws.sqs.get_queue_url(QueueName=f"waypost-{aws.key}")["QueueUrl"] == aws.queue_url


def test_named_queues_of_an_account_each_get_its_events(simulator: RunningSimulator, aws: Aws) -> None:
    names = [f"q1-{aws.key}", f"q2-{aws.key}"]
    simulator.control.account("ses", aws.key, queues=names)
    aws.send("silent+a@example.com")
    for name in names:
        url = aws.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        assert len(aws.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)["Messages"]) == 1


def test_limits_are_checked(aws: Aws) -> None:
    with pytest.raises(ClientError) as error:
        aws.sqs.receive_message(QueueUrl=aws.queue_url, MaxNumberOfMessages=11)
    assert error.value.response["Error"]["Code"] == "InvalidParameterValue"
