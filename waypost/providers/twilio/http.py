"""The twilio SDK's HTTP client on our wire: one request a call, one deadline, no redirects.

The SDK's own has no time-out by default, logs addresses at INFO, and its asyncio twin repeats POSTs.
"""

import logging
import threading
import time
from base64 import b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client

from waypost.messaging.provider import ProviderAccount
from waypost.providers.deadlines import Deadlines
from waypost.providers.wire import Wire, request_bytes, retry_after

TWILIO_ORIGIN = "https://api.twilio.com"


class WireHttpClient(HttpClient):  # type: ignore[misc]  # twilio ships no types
    """Raises `NotSentError` and `ReplyLostError` through the SDK, which lets them pass."""

    def __init__(self, origin: str, deadlines: Deadlines) -> None:
        super().__init__(logging.getLogger(__name__), False, deadlines.total)
        self._wire = Wire(origin, deadlines)
        self._total = deadlines.total
        self._last = _Last()

    def request(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002  the SDK passes it; the account's deadlines hold
        allow_redirects: bool = False,  # noqa: ARG002  the SDK passes it; never
    ) -> Response:
        """The SDK's one way out."""
        if params:
            url = f"{url}?{urlencode(params, doseq=True)}"
        sent_headers = dict(headers or {})
        if auth:
            sent_headers["Authorization"] = "Basic " + b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()
        body = urlencode(data, doseq=True).encode() if data else b""
        request = request_bytes(method=method.upper(), url=url, headers=sent_headers, body=body)
        self._last.retry_after = None
        reply = self._wire.exchange(request, deadline=time.monotonic() + self._total)
        self._last.retry_after = retry_after(reply.headers)
        return Response(reply.status, reply.body.decode("utf-8", "replace"), reply.headers)

    @property
    def retry_after(self) -> timedelta | None:
        """What the last reply in this thread said; the SDK's exceptions leave headers out."""
        return self._last.retry_after

    def close(self) -> None:
        """Give back sockets."""
        self._wire.close()


class _Last(threading.local):
    retry_after: timedelta | None = None


def open_twilio(account: ProviderAccount, deadlines: Deadlines) -> tuple[Client, WireHttpClient]:
    """A twilio client of the account, at its endpoint or Twilio's own."""
    origin = (account.endpoint or TWILIO_ORIGIN).rstrip("/")
    http = WireHttpClient(origin, deadlines)
    client = Client(
        account.credentials.key,
        account.credentials.secret,
        http_client=http,
        # TWILIO_EDGE and TWILIO_REGION would send a live account's messages elsewhere; an empty dict means os.environ.
        environment={"TWILIO_EDGE": ""},
    )
    client.api.base_url = origin
    return client, http
