import socket
import time
from urllib.parse import urlsplit

import orjson

from tests.simulators.clients import Aws
from tests.simulators.webhook import Webhook
from waypost.simulators.running import RunningSimulator


def talk(simulator: RunningSimulator, data: bytes, *, end: bytes) -> bytes:
    """Send bytes, read until `end` or the connection closes."""
    parts = urlsplit(simulator.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=3) as connection:
        connection.sendall(data)
        got = b""
        while end not in got and (more := connection.recv(65536)):
            got += more
        return got


def test_pipelined_requests_are_answered_in_order(simulator: RunningSimulator) -> None:
    one = b"GET /control/health HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    got = talk(simulator, one + one + last, end=b"not found")
    assert got.count(b"HTTP/1.1 200") == 2
    assert got.endswith(b"not found")


def test_what_is_no_http_is_refused(simulator: RunningSimulator) -> None:
    assert talk(simulator, b"\x16\x03\x01 hello\r\n\r\n", end=b"\0").startswith(b"HTTP/1.1 400")


def test_unsigned_and_malformed_aws_requests_are_client_errors(simulator: RunningSimulator, aws: Aws) -> None:
    request = b"POST /v2/email/outbound-emails HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nconnection: close\r\n%s\r\n{"
    assert b"MissingAuthenticationTokenException" in talk(simulator, request % b"", end=b"\0")
    scope = f"Credential={aws.key}/20260101/us-east-1/ses/aws4_request, SignedHeaders=host, Signature={'0' * 64}"
    signed = f"authorization: AWS4-HMAC-SHA256 {scope}\r\n".encode()
    assert b"SerializationException" in talk(simulator, request % signed, end=b"\0")


def test_a_thread_of_this_process_can_serve_and_stops_with_open_connections() -> None:
    with RunningSimulator(in_thread=True) as simulator:
        client = Aws(simulator, "AKIATHREAD")
        assert client.send()
        assert len(client.events(2)) == 2
        parts = urlsplit(simulator.url)
        connection = socket.create_connection((parts.hostname, parts.port))
        connection.sendall(b"GET /control/health HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.recv(1000)
    connection.close()
    client.close()


def test_a_webhook_that_fails_is_tried_again(webhook: Webhook) -> None:
    webhook.status = 503
    with RunningSimulator(in_thread=True, sns_retry_seconds=0.02) as simulator:
        simulator.control.account("ses", "AKIARETRY", webhook_url=webhook.url)
        assert len({each.body for each in webhook.wait(4)}) == 1
        time.sleep(0.05)
        assert len(webhook.received) == 4


def test_counters_tell_requests_events_and_cpu(simulator: RunningSimulator, aws: Aws) -> None:
    before = simulator.control.stats()
    aws.send()
    aws.send("bounce+x@example.com")
    aws.events(4)
    after = simulator.control.stats()
    assert after["accepted"] - before["accepted"] == 2
    assert after["events"]["delivered"] - before["events"]["delivered"] == 4
    assert after["requests"] > before["requests"]
    assert after["cpu_seconds"] >= before["cpu_seconds"]
    own = next(each for each in after["accounts"] if each["key"] == aws.key)
    assert (own["accepted"], own["secret"]) == (2, None)
    assert orjson.dumps(after)
