"""Loopback ports: chosen free where none is given, remembered for whoever wants to reach the stack."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from waypost.stack.errors import PortInUseError

_HOST = "127.0.0.1"
_CHOICE = range(15_000, 32_000)
"""Below the ranges that systems take a connection's own port from: what is offered there as free may be taken by
a connection before the server that it was chosen for listens."""


def choose(*, names: Iterable[str], given: Mapping[str, int], remembered: Mapping[str, int]) -> dict[str, int]:
    """A port for each name: the given one, else last time's if it is free, else any free one.

    Raises PortInUseError for a given port that is taken.
    """
    chosen: dict[str, int] = {}
    for name in names:
        if port := given.get(name):
            chosen[name] = _require_free(name, port)
    for name in names:
        last = remembered.get(name)
        if name not in chosen:
            usable = last is not None and last not in chosen.values() and is_free(last)
            chosen[name] = last if last is not None and usable else _any_free(set(chosen.values()))
    return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen on the port on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def accepts_connections(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A free loopback port, for tests and tools."""
    return _any_free(set())


def read(path: Path) -> dict[str, int]:
    """The remembered ports; none where there is no file, or one that is not ours."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {name: port for name, port in content.items() if isinstance(port, int)} if isinstance(content, dict) else {}


def write(path: Path, ports: Mapping[str, int]) -> None:
    """Replaces the file in one step, so that a reader sees the old or the new."""
    write_atomically(path, json.dumps(dict(ports), indent=2) + "\n", mode=0o644)


def write_atomically(path: Path, text: str, *, mode: int) -> None:
    """Writes beside the file and renames; the mode holds from the first byte on."""
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.touch(mode=mode)
    staging.chmod(mode)
    staging.write_text(text)
    staging.replace(path)


def _require_free(name: str, port: int) -> int:
    if not is_free(port):
        raise PortInUseError(name=name, port=port, owner=_owner(port))
    return port


def _any_free(taken: set[int]) -> int:
    while True:
        port = random.choice(_CHOICE)  # noqa: S311 - no secret
        if port not in taken and is_free(port):
            return port


def _owner(port: int) -> str | None:
    """Who listens there, as "name (process 12)"; None where the system doesn't tell."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None
