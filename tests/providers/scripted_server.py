"""A raw HTTP server that does what a script says, and keeps every request it was sent."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

Step = Callable[[socket.socket, threading.Event], bool]
"""Acts on a request; returns whether the connection goes on. The event says that the test is over."""


@dataclass(frozen=True)
class Request:
    """A whole request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """The n-th request meets the n-th step; the last step goes on for ever."""

    def __init__(self, *steps: Step, tls: ssl.SSLContext | None = None) -> None:
        self._steps = steps
        self._tls = tls
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self.connections = 0
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End all threads."""
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while (request := self._read(connection)) is not None:
                with self._lock:
                    step = self._steps[min(len(self.requests), len(self._steps) - 1)]
                    self.requests.append(request)
                if not step(connection, self._over):
                    return
        except OSError:
            return
        finally:
            connection.close()

    def _read(self, connection: socket.socket) -> Request | None:
        received = b""
        while not self._over.is_set():
            head, separator, rest = received.partition(b"\r\n\r\n")
            if separator:
                line, headers = _parse(head)
                if len(rest) >= int(headers.get("content-length", 0)):
                    return Request(line=line, headers=headers, body=rest)
            chunk = connection.recv(65536)
            if not chunk:
                return None
            received += chunk
        return None


@contextmanager
def scripted(*steps: Step, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """A server for the time of a `with`."""
    server = ScriptedServer(*steps, tls=tls)
    try:
        yield server
    finally:
        server.close()


def reply(status: int, body: bytes = b"", *headers: str) -> Step:
    """A whole reply; the connection stays open."""

    def step(connection: socket.socket, over: threading.Event) -> bool:
        connection.sendall(_response(status, body, *headers))
        return True

    return step


def reply_and_close_quietly(status: int, body: bytes = b"") -> Step:
    """A whole reply without `Connection: close`, then the server closes: what keep-alive time-outs look like."""

    def step(connection: socket.socket, over: threading.Event) -> bool:
        connection.sendall(_response(status, body))
        return False

    return step


def hang(connection: socket.socket, over: threading.Event) -> bool:
    """Say nothing."""
    over.wait(10)
    return False


def close(connection: socket.socket, over: threading.Event) -> bool:
    """Close without a word."""
    return False


def reset(connection: socket.socket, over: threading.Event) -> bool:
    """TCP reset after the whole request was read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def drip(connection: socket.socket, over: threading.Event) -> bool:
    """A reply that never stops coming, a byte every 20 ms."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(0.02):
        connection.sendall(b" ")
    return False


def raw(data: bytes) -> Step:
    """Exactly these bytes, then close."""

    def step(connection: socket.socket, over: threading.Event) -> bool:
        connection.sendall(data)
        return False

    return step


def unused_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    line, *rest = head.decode("latin-1").split("\r\n")
    pairs = (entry.split(":", 1) for entry in rest)
    return line, {name.strip().lower(): value.strip() for name, value in pairs}


def _response(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
