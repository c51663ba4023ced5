"""A webhook to send things to: a real HTTP server on loopback that remembers what it got."""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Webhook:
    """Listens, answers `status`, keeps what came."""

    status: int = 200
    received: list[Received] = field(default_factory=list)
    url: str = ""

    def wait(self, number: int, seconds: float = 5.0) -> list[Received]:
        """The requests, once there are that many."""
        ends = time.monotonic() + seconds
        while len(self.received) < number:
            assert time.monotonic() < ends, f"{len(self.received)} of {number} requests came"
            time.sleep(0.01)
        return self.received


def start(webhook: Webhook) -> ThreadingHTTPServer:
    """Serve in a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            webhook.received.append(Received(self.path, headers, body))
            self.send_response(webhook.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    webhook.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
