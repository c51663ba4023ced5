import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.providers.made import QUICK, certificate, private_pem
from tests.providers.scripted_server import (
    Step,
    close,
    drip,
    hang,
    raw,
    reply,
    reply_and_close_quietly,
    reset,
    scripted,
    unused_port,
)
from waypost.providers import wire as wire_module
from waypost.providers.errors import NotSentError, ReplyLostError
from waypost.providers.wire import Origin, Wire, WireReply, request_bytes


def _get(url: str, **changes: int) -> WireReply:
    wire = Wire(url, QUICK, **changes)
    try:
        return wire.exchange(request_bytes(method="POST", url=f"{url}/x?y=1", headers={"A": "b"}, body=b"body"))
    finally:
        wire.close()


def test_a_request_arrives_as_written_and_its_reply_comes_back() -> None:
    with scripted(reply(201, b"made", "X-Kind: new")) as server:
        answer = _get(server.url)
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (201, b"made", "new")
    [request] = server.requests
    assert (request.line, request.body, request.headers["a"]) == ("POST /x?y=1 HTTP/1.1", b"body", "b")
    assert request.headers["host"] == f"127.0.0.1:{server.port}"


def test_a_chunked_reply_after_an_interim_one_is_read_whole() -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with scripted(raw(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) as server:
        assert _get(server.url).body == b"abcde"


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (hang, "timed_out"),
        (drip, "timed_out"),
        (close, "closed_before_reply"),
        (reset, "reset"),
        (raw(b"not http at all\r\n\r\n"), "unreadable_reply"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "closed_before_reply"),
    ],
)
def test_a_reply_that_does_not_come_whole_is_lost_within_the_deadline_after_one_request(step: Step, code: str) -> None:
    started = time.monotonic()
    with scripted(step) as server, pytest.raises(ReplyLostError) as lost:
        _get(server.url)
    assert lost.value.code == code
    assert len(server.requests) == 1
    assert time.monotonic() - started < QUICK.total + 0.3


def test_a_reply_over_the_bound_is_lost_rather_than_kept() -> None:
    with scripted(reply(200, b"x" * 5000)) as server, pytest.raises(ReplyLostError) as lost:
        _get(server.url, max_reply_bytes=1000)
    assert lost.value.code == "reply_too_large"


def test_a_refused_connection_proves_that_nothing_was_sent() -> None:
    with pytest.raises(NotSentError) as unsent:
        _get(f"http://127.0.0.1:{unused_port()}")
    assert unsent.value.code == "connect_refused"


def test_a_connection_that_nobody_answers_proves_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        filling = [_half_open(port) for _ in range(8)]
        try:
            with pytest.raises(NotSentError) as unsent:
                _get(f"http://127.0.0.1:{port}")
        finally:
            for sock in filling:
                sock.close()
    assert unsent.value.code == "connect_timed_out"


def _half_open(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    with suppress(BlockingIOError):
        sock.connect(("127.0.0.1", port))
    return sock


def test_a_host_without_an_address_proves_that_nothing_was_sent() -> None:
    with pytest.raises(NotSentError) as unsent:
        _get("http://no-such-host.invalid")
    assert unsent.value.code == "name_not_resolved"


def test_a_certificate_nobody_trusts_proves_that_nothing_was_sent(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    with scripted(reply(200), tls=_server_tls(key, tmp_path)) as server, pytest.raises(NotSentError) as unsent:
        _get(server.url)
    assert unsent.value.code == "tls_failed"
    assert server.requests == []


def test_a_deadline_already_past_proves_that_nothing_was_sent() -> None:
    with scripted(reply(200)) as server:
        wire = Wire(server.url, QUICK)
        request = request_bytes(method="GET", url=server.url, headers={})
        wire.exchange(request)
        with pytest.raises(NotSentError) as unsent:
            wire.exchange(request, deadline=time.monotonic() - 1)
        wire.close()
    assert unsent.value.code == "deadline_before_send"
    assert len(server.requests) == 1


def test_a_server_that_does_not_read_leaves_doubt_within_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        wire = Wire(url, QUICK)
        started = time.monotonic()
        with pytest.raises(ReplyLostError):
            wire.exchange(request_bytes(method="POST", url=url, headers={}, body=b"x" * 50_000_000))
        wire.close()
    assert time.monotonic() - started < QUICK.total + 0.5


def test_connections_are_kept_for_the_next_request() -> None:
    with scripted(reply(200)) as server:
        wire = Wire(server.url, QUICK)
        for _ in range(5):
            wire.exchange(request_bytes(method="GET", url=server.url, headers={}))
        wire.close()
    assert (server.connections, len(server.requests)) == (1, 5)


def test_a_kept_connection_that_the_server_closed_is_not_used_again() -> None:
    with scripted(reply_and_close_quietly(200)) as server:
        wire = Wire(server.url, QUICK)
        for _ in range(3):
            wire.exchange(request_bytes(method="GET", url=server.url, headers={}))
            time.sleep(0.02)
        wire.close()
    assert (server.connections, len(server.requests)) == (3, 3)


def test_a_kept_connection_that_grew_old_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "IDLE_SECONDS", 0.0)
    with scripted(reply(200)) as server:
        wire = Wire(server.url, QUICK)
        for _ in range(2):
            wire.exchange(request_bytes(method="GET", url=server.url, headers={}))
        wire.close()
    assert server.connections == 2


def test_threads_share_a_wire_without_mixing_their_replies() -> None:
    with scripted(reply(200, b"ok")) as server:
        wire = Wire(server.url, QUICK)
        request = request_bytes(method="POST", url=server.url, headers={}, body=b"z")
        threads = [threading.Thread(target=lambda: [wire.exchange(request) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wire.close()
    assert len(server.requests) == 80


def test_a_header_cannot_break_out_of_its_line() -> None:
    with pytest.raises(NotSentError):
        request_bytes(method="GET", url="http://a/", headers={"A": "b\r\nEvil: 1"})


def test_tls_goes_through_the_environments_proxy(
    key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = _server_tls(key, tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    wire_module._tls_context.cache_clear()
    try:
        with scripted(reply(200, b"seen"), tls=tls) as server, _Proxy(server.port) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:word@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("https_proxy", f"http://me:word@127.0.0.1:{proxy.port}")
            assert _get(server.url).body == b"seen"
    finally:
        wire_module._tls_context.cache_clear()
    assert proxy.head.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1")
    assert "Proxy-Authorization: Basic bWU6d29yZA==" in proxy.head


def test_an_origin_is_scheme_host_and_port() -> None:
    assert Origin.of("https://Example.com/x") == Origin.of("https://example.com:443")
    assert Origin.of("https://example.com:8443") != Origin.of("https://example.com")
    with pytest.raises(ValueError, match="not an http"):
        Origin.of("file:///etc/passwd")


def _server_tls(key: rsa.RSAPrivateKey, folder: Path) -> ssl.SSLContext:
    (folder / "cert.pem").write_bytes(certificate(key))
    (folder / "key.pem").write_bytes(private_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


class _Proxy:
    """Takes one CONNECT and passes bytes both ways."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = self._listener.getsockname()[1]
        self.head = ""

    def __enter__(self) -> "_Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._target_port)) as target:
            self.head = client.recv(65536).decode()
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(target, client), daemon=True)
            back.start()
            _pump(client, target)
            back.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
