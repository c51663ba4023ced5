"""Fixtures for everybody; a server is started when it is first asked for, and stopped with the session."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests import services
from tests.services import Database
from waypost.simulators.running import RunningSimulator
from waypost.stack.postgres import PostgresServer
from waypost.stack.temporal import TemporalServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's PostgreSQL, of the wheel's newest major version."""
    with services.running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def database_template(postgres_server: PostgresServer) -> str:
    """The name of a database that was migrated once, and to which nobody connects."""
    return services.make_template(postgres_server)


@pytest.fixture
def database(postgres_server: PostgresServer, database_template: str) -> Iterator[Database]:
    """A fresh migrated database of the test's own, with a URL for each role."""
    with services.fresh_database(postgres_server, database_template) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def module_database(postgres_server: PostgresServer, database_template: str) -> Iterator[Database]:
    """The same for all tests of a module, where they don't get in each other's way."""
    with services.fresh_database(postgres_server, database_template) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[TemporalServer]:
    """The session's Temporal dev server; `address` is for Client.connect."""
    with services.running_temporal() as server:
        yield server


@pytest.fixture(scope="session")
def simulator() -> Iterator[RunningSimulator]:
    """The session's simulators, in a process of their own; use account keys of your own, and clear your faults."""
    with RunningSimulator() as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """No test reaches beyond this machine; a forgotten endpoint fails at once instead of sending something."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise AssertionError(f"a test tried to reach {address[0]}: only loopback is open")
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
