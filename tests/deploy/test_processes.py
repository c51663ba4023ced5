"""Every process starts, is healthy and stops with exactly the environment and the commands of docker-compose.yml."""

from __future__ import annotations

import json
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import compose_file
from tests.deploy.compose_file import DEPLOY, HOME
from tests.services import ROLE_PASSWORDS, Database
from waypost.stack.ports import free_port
from waypost.stack.temporal import TemporalServer

ANSWERS = runpy.run_path(str(DEPLOY / "healthcheck.py"))["answers"]

ENDED_BY_SIGTERM = {0, -signal.SIGTERM, 128 + signal.SIGTERM}
"""Drained; the server hands the signal on when it is done."""

LISTENING = {
    "api": "WAYPOST_API_PORT",
    "ingest": "WAYPOST_INGEST_PORT",
    "worker-fast": "WAYPOST_WORKER_METRICS_PORT",
}
"""The other lane's worker has the same environment; test_compose looks at its command."""


@pytest.fixture
def here(module_database: Database, temporal_server: TemporalServer) -> dict[str, str]:
    """The places of compose's network, on this machine."""
    place = module_database.url.removeprefix("postgresql://")
    owner = module_database.owner_url.removeprefix("postgresql://").removesuffix(f"@{place}")
    return {
        "waypost_owner:OWNER": owner,
        "database:5432/waypost": place,
        "temporal:7233": temporal_server.address,
        "0.0.0.0": "127.0.0.1",  # noqa: S104 - taken out of the text
    }


def test_the_processes_start_are_healthy_and_drain(here: dict[str, str], tmp_path: Path) -> None:
    migrated = subprocess.run(**started("migrate", here, 0, tmp_path), capture_output=True, text=True, timeout=60)
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as stack:
        running = {name: stack.enter_context(process(name, here, tmp_path)) for name in LISTENING}
        for name, (child, port) in running.items():
            wait_healthy(name, child, port)
        for child, _ in running.values():
            child.send_signal(signal.SIGTERM)
        ended = {name: child.wait(timeout=30) for name, (child, _) in running.items()}
        assert set(ended.values()) <= ENDED_BY_SIGTERM, ended
    for name in LISTENING:
        lines = (tmp_path / name).read_text().splitlines()
        assert all(isinstance(json.loads(line), dict) for line in lines), f"{name} logs lines that are not JSON"


def test_the_health_check_fails_where_nobody_answers_and_where_the_answer_is_an_error() -> None:
    assert healthy("1/healthz").returncode == 1
    assert healthy(f"{free_port()}/healthz").returncode == 1


@contextmanager
def process(name: str, here: Mapping[str, str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    with (folder / name).open("wb") as log:
        child = subprocess.Popen(**started(name, here, port, folder), stdout=log, stderr=log)
    try:
        yield child, port
    finally:
        child.kill()
        child.wait()


def started(name: str, here: Mapping[str, str], port: int, folder: Path) -> dict[str, Any]:
    """The arguments of Popen for a service: its own command and environment, and nothing of ours."""
    program, *rest = compose_file.services()[name]["command"]
    command = {"waypost": [sys.executable, "-P", "-m", "waypost.cli.main"], "python": [sys.executable]}[program]
    environment = {key: placed(value, here) for key, value in compose_file.environment(name).items()}
    if name in LISTENING:
        environment[LISTENING[name]] = str(port)
    rest = [str(HOME / part) if part == "worker.py" else part for part in rest]
    return {"args": [*command, *rest], "env": environment, "cwd": folder}


def placed(value: str, here: Mapping[str, str]) -> str:
    value = value.replace(compose_file.secrets()["WAYPOST_OWNER_PASSWORD"], "OWNER")
    for role, password in ROLE_PASSWORDS.items():
        value = value.replace(compose_file.secrets()[f"{role.upper()}_PASSWORD"], password)
    for there, place in here.items():
        value = value.replace(there, place)
    return value


def wait_healthy(name: str, child: subprocess.Popen[bytes], port: int) -> None:
    path = compose_file.services()[name]["healthcheck"]["test"][-1].partition("/")[2]
    deadline = time.monotonic() + 60
    while not (ANSWERS(f"{port}/{path}") and ANSWERS(f"{port}/readyz")):
        assert child.poll() is None, f"{name} ended with {child.returncode}"
        assert time.monotonic() < deadline, f"{name} is not healthy"
        time.sleep(0.1)
    assert healthy(f"{port}/{path}").returncode == 0
    assert not ANSWERS(f"{port}/not-there")


def healthy(target: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-I", "-S", DEPLOY / "healthcheck.py", target], timeout=10)
