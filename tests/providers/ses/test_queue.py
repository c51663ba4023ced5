import json

import pytest

from tests.providers.made import QUICK, ses_account
from tests.providers.scripted_server import hang, reply, reset, scripted
from waypost.messaging.provider import ProviderAccount
from waypost.providers.errors import AccountUnusableError, FeedError
from waypost.providers.ses.queue import QueueDepth, SqsFeed

MESSAGES = {
    "Messages": [
        {"MessageId": "m1", "ReceiptHandle": "r1", "Body": "{}", "Attributes": {"ApproximateReceiveCount": "2"}},
        {"MessageId": "m2", "ReceiptHandle": "r2", "Body": "[]"},
    ]
}


def _account(origin: str) -> ProviderAccount:
    return ses_account("http://127.0.0.1:1", queue_url=f"{origin}/123456789012/waypost")


def test_received_messages_carry_body_receipt_and_count() -> None:
    with scripted(reply(200, json.dumps(MESSAGES).encode())) as server:
        feed = SqsFeed(_account(server.url), QUICK)
        received = feed.receive(wait_seconds=1)
        feed.close()
    assert [(m.message_id, m.receipt, m.body, m.receive_count) for m in received.messages] == [
        ("m1", "r1", "{}", 2),
        ("m2", "r2", "[]", 1),
    ]
    assert not received.empty
    asked = json.loads(server.requests[0].body)
    assert server.requests[0].headers["x-amz-target"] == "AmazonSQS.ReceiveMessage"
    assert (asked["MaxNumberOfMessages"], asked["WaitTimeSeconds"], asked["VisibilityTimeout"]) == (10, 1, 60)
    assert asked["QueueUrl"] == f"{server.url}/123456789012/waypost"


def test_only_a_long_poll_that_found_nothing_says_empty() -> None:
    with scripted(reply(200, b"{}")) as server:
        feed = SqsFeed(_account(server.url), QUICK)
        assert feed.receive(wait_seconds=1).empty
        assert not feed.receive(wait_seconds=0).empty
        feed.close()


def test_delete_postpone_and_depth_speak_sqss_json() -> None:
    done = reply(200, b'{"Successful": [{"Id": "0"}], "Failed": [{"Id": "1", "SenderFault": false, "Code": "x"}]}')
    counts = {"Attributes": {"ApproximateNumberOfMessages": "4", "ApproximateNumberOfMessagesNotVisible": "1"}}
    with scripted(done, done, reply(200, json.dumps(counts).encode())) as server:
        feed = SqsFeed(_account(server.url), QUICK)
        assert feed.delete(["r1", "r2"]) == 1
        feed.postpone(["r1"], seconds=0)
        assert feed.depth() == QueueDepth(visible=4, in_flight=1)
        feed.close()
    deleted, postponed, _ = (json.loads(request.body) for request in server.requests)
    assert [entry["ReceiptHandle"] for entry in deleted["Entries"]] == ["r1", "r2"]
    assert postponed["Entries"][0]["VisibilityTimeout"] == 0


def test_a_queue_that_fails_is_a_feed_error_with_a_code() -> None:
    denied = reply(403, b'{"__type": "com.amazonaws.sqs#AccessDeniedException", "message": "no"}')
    with scripted(denied, reset, hang) as server:
        feed = SqsFeed(_account(server.url), QUICK)
        codes = [_code(feed) for _ in range(3)]
        feed.close()
    assert codes == ["access_denied", "reset", "timed_out"]
    assert len(server.requests) == 3


def _code(feed: SqsFeed) -> str:
    with pytest.raises(FeedError) as failed:
        feed.delete(["r1"])
    return failed.value.code


def test_an_account_without_a_queue_has_no_feed() -> None:
    with pytest.raises(AccountUnusableError):
        SqsFeed(ses_account(None), QUICK)
