"""One process that is SES, SNS, SQS and Twilio: sockets, routing, starting and stopping."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable
from pathlib import Path

from waypost.simulators.control import PREFIX as CONTROL_PREFIX
from waypost.simulators.control import Control
from waypost.simulators.inbox_page import InboxPage
from waypost.simulators.poster import Poster
from waypost.simulators.ses_api import SesApi
from waypost.simulators.ses_publisher import SesPublisher
from waypost.simulators.simulator import Simulator, SimulatorConfig
from waypost.simulators.sns_webhooks import SnsWebhooks
from waypost.simulators.sqs_api import SqsApi
from waypost.simulators.twilio_api import TwilioApi
from waypost.simulators.twilio_callbacks import TwilioCallbacks
from waypost.simulators.twilio_messages import TwilioMessages
from waypost.simulators.wire import HttpConnection, Reply, Request, json_reply

LOG = logging.getLogger(__name__)
BACKLOG = 1024


class SimulatorServer:
    """A listening simulator. `start`, read `url`, `stop`."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._simulator = Simulator(config)
        self._poster = Poster()
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None
        webhooks = SnsWebhooks(self._simulator, self._poster)
        messages = TwilioMessages(self._simulator.twilio_journal)
        callbacks = TwilioCallbacks(self._simulator, messages, self._poster)
        self._ses = SesApi(self._simulator, SesPublisher(self._simulator, webhooks))
        self._sqs = SqsApi(self._simulator)
        self._twilio = TwilioApi(self._simulator, messages, callbacks)
        self._webhooks = webhooks
        self._control = Control(self._simulator, webhooks, callbacks, self._poster)
        self._page = InboxPage(self._simulator)

    @property
    def url(self) -> str:
        """The origin that clients use."""
        return self._simulator.base_url

    async def start(self) -> None:
        """Bind and listen. Raises `OSError` where the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: HttpConnection(self._handle, self._connections),
            self._config.host,
            self._config.port,
            backlog=BACKLOG,
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  a comparison, not a bind
        self._simulator.base_url = self._config.public_url or f"http://{reachable}:{port}"

    async def stop(self) -> None:
        """Close every connection and the log."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        self._poster.close()
        self._simulator.close()
        await asyncio.sleep(0)

    def _handle(self, request: Request) -> Reply | Awaitable[Reply]:
        self._simulator.requests += 1
        try:
            return self._route(request)
        except Exception:
            LOG.exception("the simulator failed at %s %s", request.method, request.path)
            return json_reply({"message": "the simulator failed; see its log"}, status=500)

    def _route(self, request: Request) -> Reply | Awaitable[Reply]:
        if b"x-amz-target" in request.headers:
            return self._sqs.handle(request)
        path = request.path
        if path.startswith("/v2/email/"):
            return self._ses.handle(request)
        if path.startswith("/2010-04-01/"):
            return self._twilio.handle(request)
        if path.startswith(CONTROL_PREFIX):
            return self._control.handle(request)
        if path.startswith("/sns/"):
            return self._webhooks.handle(request)
        return self._page.handle(request)


async def serve_until(stopping: asyncio.Event, config: SimulatorConfig, *, port_file: Path | None = None) -> None:
    """Run until told to stop. The port file holds the URL, written when the server listens."""
    server = SimulatorServer(config)
    await server.start()
    if port_file is not None:
        await asyncio.to_thread(port_file.write_text, server.url)
    LOG.info("simulators at %s", server.url)
    try:
        await stopping.wait()
    finally:
        await server.stop()


async def serve(
    host: str, port: int, log_path: Path | None, *, latency_ms: float = 0.0, port_file: Path | None = None
) -> None:
    """Run until SIGINT or SIGTERM, with defaults for all else."""
    config = SimulatorConfig(host=host, port=port, log_path=log_path, latency_ms=latency_ms)
    await serve_until(stop_on_signal(), config, port_file=port_file)


def stop_on_signal() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(each, stopping.set)
    return stopping
