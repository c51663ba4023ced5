"""SNS's signing certificates: fetched once from the trusted origin, kept a while, never many."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cryptography import x509

from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import NotSentError, ReplyLostError, SignatureError, TrustUnavailableError
from waypost.providers.wire import Wire, request_bytes

MAX_BYTES = 64 * 1024
KEPT = 16
KEPT_SECONDS = 6 * 3600.0
FETCH_DEADLINES = Deadlines(connect=2.0, read=2.0, total=2.0)

Fetch = Callable[[str], bytes]
"""GET a URL of a trusted origin, no redirects: the body of a 200. Raises `TrustUnavailableError`."""


def fetch_trusted(url: str) -> bytes:
    """One GET, two seconds, 64 KiB at most, no redirects. The caller has checked the URL's origin.

    Raises `TrustUnavailableError` for anything but a 200.
    """
    wire = Wire(url, FETCH_DEADLINES, max_reply_bytes=MAX_BYTES)
    try:
        reply = wire.exchange(request_bytes(method="GET", url=url, headers={"Accept": "*/*", "Connection": "close"}))
    except (NotSentError, ReplyLostError) as failure:
        raise TrustUnavailableError(failure.code) from None
    finally:
        wire.close()
    if reply.status != 200:
        raise TrustUnavailableError(f"http_{reply.status}")
    return reply.body


class CertificateStore:
    """Certificates by URL, bounded in number and age. Thread-safe; a failed fetch is not remembered."""

    def __init__(self, fetch: Fetch = fetch_trusted, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[x509.Certificate, float]] = OrderedDict()

    def get(self, url: str) -> x509.Certificate:
        """The certificate at a URL whose origin the caller trusts.

        Raises `TrustUnavailableError` or `SignatureError`.
        """
        with self._lock:
            kept = self._kept.get(url)
        if kept and self._clock() - kept[1] < KEPT_SECONDS:
            return kept[0]
        certificate = _load(self._fetch(url))
        with self._lock:
            self._kept[url] = (certificate, self._clock())
            self._kept.move_to_end(url)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return certificate


def _load(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise SignatureError("certificate_unreadable") from None
