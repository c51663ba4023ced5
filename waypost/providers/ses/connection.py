"""boto3 clients whose requests go over our wire: exactly one request a call, under a deadline for the whole of it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials

from waypost.messaging.provider import ProviderAccount
from waypost.providers.deadlines import Deadlines
from waypost.providers.wire import Wire, request_bytes

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

USER_AGENT = "waypost"


class SignedWire:
    """Botocore's `before-send` handler: takes the signed request, makes the exchange, hands the reply back.

    It replaces botocore's HTTP session (urllib3), which has no deadline for a whole exchange.
    """

    def __init__(self, wire: Wire, deadlines: Deadlines) -> None:
        self._wire = wire
        self._deadlines = deadlines
        self._call = _Call()

    @contextmanager
    def call(self, *, total: float | None = None) -> Iterator["_Call"]:
        """One call's frame: its deadline (seconds, default the account's total) counts signing and credentials too."""
        self._call.deadline = time.monotonic() + (self._deadlines.total if total is None else total)
        self._call.reached_wire = False
        yield self._call

    def __call__(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Raises `NotSentError` or `ReplyLostError`, which botocore passes on as they are."""
        headers = {name: _text(value) for name, value in request.headers.items()}
        body = request.body if isinstance(request.body, bytes) else _text(request.body or "").encode()
        data = request_bytes(method=request.method or "POST", url=request.url or "", headers=headers, body=body)
        self._call.reached_wire = True
        reply = self._wire.exchange(data, deadline=self._call.deadline)
        return AWSResponse(request.url or "", reply.status, dict(reply.headers), _Body(reply.body))  # type: ignore[arg-type]  # any mapping does

    def close(self) -> None:
        """Give back sockets."""
        self._wire.close()


class _Call(threading.local):
    """The call that this thread is making; botocore has no way to hand a deadline through."""

    deadline: float | None = None
    reached_wire: bool = False
    """False until the request was handed to the wire: what fails before that was certainly not sent."""


class _Body(BytesIO):
    def stream(self) -> Iterator[bytes]:
        """What `AWSResponse.content` reads."""
        yield self.read()


def open_ses(account: ProviderAccount, deadlines: Deadlines) -> tuple["SESV2Client", SignedWire]:
    """A `sesv2` client of the account. Making one costs some milliseconds of CPU: keep it."""
    with _opening:
        client = _session().client(
            "sesv2",
            region_name=account.region,
            endpoint_url=account.endpoint,
            aws_access_key_id=account.credentials.key or None,
            aws_secret_access_key=account.credentials.secret or None,
            config=_config(deadlines),
        )
    wire = SignedWire(Wire(client.meta.endpoint_url, deadlines), deadlines)
    client.meta.events.register("before-send.sesv2", wire)  # type: ignore[arg-type]  # may return the reply
    return client, wire


def ambient_credentials() -> Credentials | None:
    """The ambient AWS chain's, which renew themselves; None where there are none."""
    with _opening:
        return _session().get_credentials()


_opening = threading.Lock()
"""Clients are thread-safe, making them is not."""


@lru_cache(maxsize=1)
def _session() -> boto3.session.Session:
    """One for the process: each of its own would read SES's description again (50 ms and 10 MB a client).

    Keys are given to each client; a client without them takes the session's, which is the ambient AWS chain:
    environment, profile, container or instance role.
    """
    return boto3.session.Session()


def _config(deadlines: Deadlines) -> Config:
    return Config(  # type: ignore[call-arg]  # the stubs lack ignore_configured_endpoint_urls
        # `max_attempts: 1` still makes two; only the total makes one. The mode is named because AWS_RETRY_MODE could
        # otherwise bring in `adaptive`, which sleeps before it sends.
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=deadlines.connect,
        read_timeout=deadlines.read,
        # AWS_ENDPOINT_URL_… would send a live account's mail elsewhere: the account's row alone says where it goes.
        ignore_configured_endpoint_urls=True,
        # CPU: botocore builds its own user agent twice a call and validates what we have typed.
        user_agent=USER_AGENT,
        parameter_validation=False,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
