"""A simulator for tests, drills and benches: a process or thread of its own on a free port."""

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from waypost.simulators.control_client import ControlClient
from waypost.simulators.errors import SimulatorError
from waypost.simulators.server import SimulatorServer
from waypost.simulators.simulator import SimulatorConfig

START_SECONDS = 15.0


class RunningSimulator:
    """`with RunningSimulator() as simulator:` starts one, in a process unless `in_thread`; leaving stops it."""

    def __init__(
        self,
        *,
        log_path: Path | None = None,
        port: int = 0,
        latency_ms: float = 0.0,
        event_delay_ms: float = 20.0,
        sqs_linger_ms: float = 10.0,
        sign_sqs: bool = True,
        sns_retry_seconds: float = 20.0,
        seed: int = 1,
        in_thread: bool = False,
    ) -> None:
        self._config = SimulatorConfig(
            port=port,
            log_path=log_path,
            latency_ms=latency_ms,
            event_delay_ms=event_delay_ms,
            sqs_linger_ms=sqs_linger_ms,
            sign_sqs=sign_sqs,
            sns_retry_seconds=sns_retry_seconds,
            seed=seed,
        )
        self._host: InThread | InProcess = InThread(self._config) if in_thread else InProcess(self._config)
        self.url = ""
        self._control: ControlClient | None = None

    @property
    def control(self) -> ControlClient:
        """The client of its control API."""
        if self._control is None:
            raise SimulatorError("the simulator is not running")
        return self._control

    @property
    def pid(self) -> int | None:
        """The process, where it has its own."""
        return self._host.pid

    def queue_url(self, key: str) -> str:
        """The queue of an SES account that nobody configured (rule 2 of `accounts`)."""
        return f"{self.url}/000000000000/waypost-{key}"

    def kill(self) -> None:
        """End its process as `kill -9` does. Raises `SimulatorError` where it has none of its own."""
        if not isinstance(self._host, InProcess):
            raise SimulatorError("this simulator is a thread")
        self._host.kill()

    def __enter__(self) -> Self:
        self.url = self._host.start()
        self._control = ControlClient(self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._control is not None:
            self._control.close()
        self._host.stop()


class InProcess:
    """Runs `python -m waypost.simulators`."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return None if self._process is None else self._process.pid

    def start(self) -> str:
        """Start, wait until it listens, return its URL. Raises `SimulatorError`."""
        with tempfile.TemporaryDirectory(prefix="waypost-simulators-") as folder:
            port_file = Path(folder) / "url"
            self._process = subprocess.Popen([*self._command(), "--port-file", str(port_file)])
            ends = time.monotonic() + START_SECONDS
            while not (port_file.exists() and (url := port_file.read_text())):
                if self._process.poll() is not None or time.monotonic() > ends:
                    self.stop()
                    raise SimulatorError("the simulators did not start; see their output above")
                time.sleep(0.02)
            return url

    def stop(self) -> None:
        """Terminate and wait."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _command(self) -> list[str]:
        config = self._config
        options: dict[str, Any] = {
            "--port": config.port,
            "--latency-ms": config.latency_ms,
            "--event-delay-ms": config.event_delay_ms,
            "--sqs-linger-ms": config.sqs_linger_ms,
            "--sns-retry-seconds": config.sns_retry_seconds,
            "--seed": config.seed,
        }
        if config.log_path is not None:
            options["--log"] = config.log_path
        command = [sys.executable, "-m", "waypost.simulators"]
        for name, value in options.items():
            command += [name, str(value)]
        return command if config.sign_sqs else [*command, "--no-sign-sqs"]


class InThread:
    """Runs the server on an event loop of its own thread; quicker to start, shares this process's CPU."""

    pid: int | None = None

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._url: Future[str] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="simulators", daemon=True)

    def start(self) -> str:
        """Start and return the URL."""
        self._thread.start()
        return self._url.result(START_SECONDS)

    def stop(self) -> None:
        """Stop the server and its thread."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_SECONDS)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = SimulatorServer(self._config)
        try:
            await server.start()
            self._url.set_result(server.url)
            await self._stopping.wait()
        except OSError as failed:
            self._url.set_exception(failed)
        finally:
            await server.stop()
