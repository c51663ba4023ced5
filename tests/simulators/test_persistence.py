from pathlib import Path

import httpx
import orjson

from tests.simulators.clients import Aws, twilio
from waypost.simulators.running import RunningSimulator

SID = "AC" + "9" * 32
ADA = "+14155552671"


def test_unread_events_and_twilios_list_outlive_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "truth.jsonl"
    with RunningSimulator(log_path=log, in_thread=True, event_delay_ms=60_000) as first:
        client = Aws(first, "AKIARESTART")
        client.send("ada@example.com")
        sent = twilio(first, SID).messages.create(to=ADA, from_="+15005550006", body="Hi")
        client.close()
    with RunningSimulator(log_path=log, in_thread=True) as second:
        client = Aws(second, "AKIARESTART")
        assert [each["eventType"] for each in client.events(2)] == ["Send", "Delivery"]
        (found,) = twilio(second, SID).messages.list(to=ADA)
        assert (found.sid, found.body, found.status) == (sent.sid, "Hi", "delivered")
        client.close()


def test_messages_in_flight_come_back_and_deleted_ones_do_not(tmp_path: Path) -> None:
    log = tmp_path / "truth.jsonl"
    with RunningSimulator(log_path=log, in_thread=True) as first:
        client = Aws(first, "AKIAFLIGHT")
        for body in ("deleted", "in flight", "unread"):
            client.sqs.send_message(QueueUrl=client.queue_url, MessageBody=orjson.dumps(body).decode())
        deleted, _ = client.sqs.receive_message(QueueUrl=client.queue_url, MaxNumberOfMessages=2)["Messages"]
        client.sqs.delete_message(QueueUrl=client.queue_url, ReceiptHandle=deleted["ReceiptHandle"])
        client.close()
    with RunningSimulator(log_path=log, in_thread=True) as second:
        client = Aws(second, "AKIAFLIGHT")
        assert client.receive(3, seconds=0.3) == ["in flight", "unread"]
        client.close()


def test_quiescing_lets_every_event_happen_at_once() -> None:
    with RunningSimulator(in_thread=True, event_delay_ms=60_000) as simulator:
        client = Aws(simulator, "AKIAQUIET")
        client.send()
        assert httpx.post(f"{simulator.url}/control/quiesce", trust_env=False).json() == {"status": "quiet"}
        assert [each["eventType"] for each in client.events(2)] == ["Send", "Delivery"]
        client.close()
