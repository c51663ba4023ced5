"""One simulator for all of these tests; each test uses accounts of its own."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.simulators.clients import Aws
from tests.simulators.webhook import Webhook, start
from waypost.simulators.running import RunningSimulator

NUMBERS = count(1)


@pytest.fixture(scope="session")
def simulator() -> Iterator[RunningSimulator]:
    """A simulator in a process of its own."""
    with RunningSimulator(event_delay_ms=5, sqs_linger_ms=2) as running:
        yield running


@pytest.fixture
def aws(simulator: RunningSimulator) -> Iterator[Aws]:
    """Clients of an SES account that nobody configured."""
    clients = Aws(simulator, f"AKIATEST{next(NUMBERS):04d}")
    yield clients
    clients.close()


@pytest.fixture
def sid() -> str:
    """A Twilio account SID of this test's own."""
    return f"AC{next(NUMBERS):032d}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook server."""
    made = Webhook()
    server = start(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def fault(simulator: RunningSimulator) -> Iterator[Callable[..., None]]:
    """Add faults; they are gone after the test."""

    def add(kind: str, **more: object) -> None:
        simulator.control.add_fault(fault=kind, **more)

    yield add
    simulator.control.faults()
