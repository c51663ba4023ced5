"""One HTTP/1.1 request to one origin: exactly once, within its deadlines, and truthful about what failed.

Why not urllib3 or httpx: neither has a deadline for the whole exchange (a dripping reply holds the thread for ever),
and both blur the line that the ledger lives on, whether a byte of the request had left. It also takes less CPU.
"""

import contextlib
import socket
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httptools
import httpx

from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import NotSentError, ReplyLostError

MAX_REPLY_BYTES = 4 * 1024 * 1024
MAX_IDLE_SOCKETS = 64
IDLE_SECONDS = 4.0
"""A kept socket older than this is thrown away: servers close theirs from 5 s on, and a request that crosses the
closing is lost without anybody knowing whether it was read."""

_RECEIVE = 65_536
_SEND = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class WireReply:
    """A complete reply. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port: what a connection is made to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of an absolute http(s) URL. Raises `ValueError` for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http(s) URL")
        return cls(
            scheme=parts.scheme, host=parts.hostname, port=parts.port or (443 if parts.scheme == "https" else 80)
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Wire:
    """Connections to one origin, kept for reuse. Thread-safe and blocking."""

    def __init__(self, origin: str, deadlines: Deadlines, *, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self.origin = Origin.of(origin)
        self._deadlines = deadlines
        self._max_reply_bytes = max_reply_bytes
        self._idle: deque[tuple[socket.socket, float]] = deque(maxlen=MAX_IDLE_SOCKETS)
        self._closed = False

    def exchange(self, request: bytes, *, deadline: float | None = None) -> WireReply:
        """Write the request's bytes once and read one reply; follows nothing, repeats nothing.

        `deadline` is on `time.monotonic()`; default: `total` from now. Raises `NotSentError` or `ReplyLostError`,
        never else. Looking up a name is bounded by the resolver alone.
        """
        end = time.monotonic() + self._deadlines.total if deadline is None else deadline
        sock = self._take() or _connect(self.origin, min(end, time.monotonic() + self._deadlines.connect))
        try:
            _write(sock, request, end)
            reply, keep = _read(sock, self._max_reply_bytes, end, self._deadlines.read)
        except BaseException:
            _shut(sock)
            raise
        if keep:
            self._put(sock)
        else:
            _shut(sock)
        return reply

    def close(self) -> None:
        """Close the idle sockets; a request under way closes its own when it is done."""
        self._closed = True
        while self._idle:
            with contextlib.suppress(IndexError):
                _shut(self._idle.pop()[0])

    def _take(self) -> socket.socket | None:
        while True:
            try:
                sock, since = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < IDLE_SECONDS and not _readable(sock):
                return sock
            _shut(sock)

    def _put(self, sock: socket.socket) -> None:
        if self._closed or len(self._idle) >= MAX_IDLE_SOCKETS:
            _shut(sock)
        else:
            self._idle.append((sock, time.monotonic()))


def request_bytes(*, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The request as HTTP/1.1 puts it on the wire. Raises `NotSentError` where a header could break out of its line."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1"]
    if not any(name.lower() == "host" for name in headers):
        lines.append(f"Host: {parts.netloc.rpartition('@')[2]}")
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() != "content-length"]
    if body or method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise NotSentError("unsafe_request")
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """The Retry-After of a reply in seconds, an hour at most; no provider here uses its date form."""
    value = headers.get("retry-after", "")
    return timedelta(seconds=min(int(value), 3600)) if value.isascii() and value.isdigit() and len(value) < 9 else None


def _connect(origin: Origin, end: float) -> socket.socket:
    """A connected socket, TLS done. All that fails here is proof that the request did not leave."""
    proxy = _proxy_for(origin)
    peer = Origin.of(f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}") if proxy else origin
    sock: socket.socket | None = None
    try:
        sock = _connect_any(peer, end)
        if proxy:
            _tunnel(sock, origin, proxy, end)
        return _wrap_tls(sock, origin.host, end) if origin.scheme == "https" else sock
    except (OSError, ReplyLostError) as failure:
        if sock is not None:
            _shut(sock)
        raise NotSentError(_connect_code(failure)) from None


def _connect_any(peer: Origin, end: float) -> socket.socket:
    """Try each address within one deadline; `socket.create_connection` would give each its own."""
    failure: OSError = TimeoutError()
    for family, kind, proto, _, address in socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, proto)
        try:
            sock.settimeout(_left(end))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            failure = error
            sock.close()
    raise failure


def _wrap_tls(sock: socket.socket, host: str, end: float) -> socket.socket:
    sock.settimeout(_left(end))
    return _tls_context().wrap_socket(sock, server_hostname=host)


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    # httpx's takes the certifi bundle, or SSL_CERT_FILE and SSL_CERT_DIR where they are set.
    return httpx.create_ssl_context()


def _proxy_for(origin: Origin) -> SplitResult | None:
    """The environment's proxy (HTTPS_PROXY, NO_PROXY); plain http goes to simulators only and never through one."""
    url = getproxies().get("https") if origin.scheme == "https" else None
    if not url or proxy_bypass(origin.host):
        return None
    return urlsplit(url)


def _tunnel(sock: socket.socket, origin: Origin, proxy: SplitResult, end: float) -> None:
    authority = f"{origin.host}:{origin.port}"
    headers = {"Host": authority}
    if proxy.username:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    head = f"CONNECT {authority} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sock.settimeout(_left(end))
    sock.sendall(head.encode() + b"\r\n")
    received = b""
    while b"\r\n\r\n" not in received and len(received) < _RECEIVE:
        sock.settimeout(_left(end))
        chunk = sock.recv(_RECEIVE)
        if not chunk:
            break
        received += chunk
    if received.split(b" ", 2)[1:2] != [b"200"]:
        raise ConnectionRefusedError("the proxy refused")


def _write(sock: socket.socket, request: bytes, end: float) -> None:
    """Send all of it. A plain socket's failing first `send` put nothing out; a TLS one may have, so it leaves doubt."""
    view = memoryview(request)
    sent = 0
    while sent < len(view):
        try:
            sock.settimeout(_left(end))
            sent += sock.send(view[sent : sent + _SEND])
        except _DeadlinePassedError:
            raise (ReplyLostError("timed_out") if sent else NotSentError("deadline_before_send")) from None
        except OSError:
            if sent == 0 and not isinstance(sock, ssl.SSLSocket):
                raise NotSentError("closed_before_send") from None
            raise ReplyLostError("lost_while_writing") from None


def _read(sock: socket.socket, max_bytes: int, end: float, silence: float) -> tuple[WireReply, bool]:
    reading = _Reading(max_bytes)
    try:
        while not reading.complete:
            sock.settimeout(min(silence, _left(end)))
            chunk = sock.recv(_RECEIVE)
            if not chunk:
                raise ReplyLostError("closed_before_reply")
            reading.feed(chunk)
    except TimeoutError:
        raise ReplyLostError("timed_out") from None
    except (OSError, httptools.HttpParserError) as failure:
        raise ReplyLostError("reset" if isinstance(failure, OSError) else "unreadable_reply") from None
    return reading.reply(), reading.keep


class _Reading:
    """Collects one reply; the callbacks' names are httptools'."""

    def __init__(self, max_bytes: int) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._left = max_bytes
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._status = 0
        self.complete = False
        self.keep = False

    def feed(self, chunk: bytes) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            raise ReplyLostError("reply_too_large")
        self._parser.feed_data(chunk)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 200:  # an interim reply (100 Continue): the real one follows
            self._headers.clear()
            return
        self.complete = True
        self.keep = self._parser.should_keep_alive()

    def reply(self) -> WireReply:
        return WireReply(status=self._status, headers=self._headers, body=b"".join(self._body))


class _DeadlinePassedError(TimeoutError):
    """The total deadline had passed before the step was begun."""


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise _DeadlinePassedError
    return left


def _readable(sock: socket.socket) -> bool:
    """An idle socket with something to read was closed by the other side, or is out of step: useless either way."""
    try:
        sock.setblocking(False)
        sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


def _connect_code(failure: Exception) -> str:
    match failure:
        case socket.gaierror():
            return "name_not_resolved"
        case ssl.SSLError():
            return "tls_failed"
        case TimeoutError():
            return "connect_timed_out"
        case ConnectionRefusedError():
            return "connect_refused"
        case _:
            return "connect_failed"


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.close()
