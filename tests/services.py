"""The servers that tests run against: real ones, one of each a session, on loopback ports that nobody else has."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from waypost.stack import ports, postgres, temporal
from waypost.stack.postgres import PostgresServer
from waypost.stack.temporal import TemporalServer
from waypost.store import migrate

ROLE_PASSWORDS = {
    "waypost_app": "app-password",
    "waypost_relay": "relay-password",
    "waypost_segments": "segments-password",
}

_TEMPLATE = "waypost_template"
_counter = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Database:
    """A migrated database of its own."""

    name: str
    owner_url: str

    @property
    def app_url(self) -> str:
        return self.role_url("waypost_app")

    @property
    def relay_url(self) -> str:
        return self.role_url("waypost_relay")

    @property
    def segments_url(self) -> str:
        return self.role_url("waypost_segments")

    @property
    def url(self) -> str:
        """Without user and password, as WAYPOST_DATABASE_URL takes it."""
        parts = urlsplit(self.owner_url)
        return f"postgresql://{parts.hostname}:{parts.port}/{self.name}"

    def role_url(self, role: str) -> str:
        parts = urlsplit(self.owner_url)
        return f"postgresql://{role}:{ROLE_PASSWORDS[role]}@{parts.hostname}:{parts.port}/{self.name}"

    def environment(self) -> dict[str, str]:
        """The database's settings for a process of ours."""
        return {
            "WAYPOST_DATABASE_URL": self.url,
            "WAYPOST_DATABASE_OWNER_URL": self.owner_url,
            "WAYPOST_APP_PASSWORD": ROLE_PASSWORDS["waypost_app"],
            "WAYPOST_RELAY_PASSWORD": ROLE_PASSWORDS["waypost_relay"],
            "WAYPOST_SEGMENTS_PASSWORD": ROLE_PASSWORDS["waypost_segments"],
        }


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """An embedded server that forgets durability for speed, in a folder that goes with it."""
    with _folder() as folder:
        server = postgres.prepare(
            folder=folder / "postgres", port=ports.free_port(), password="owner-password", unsafe_fast=True
        )
        process = postgres.start(server, log=folder / "postgres.log")
        try:
            yield server
        finally:
            _stop(process, signal.SIGQUIT)  # nothing in it is worth a checkpoint


def make_template(server: PostgresServer) -> str:
    """Migrates once; every database is then a copy of it (some 30 ms)."""
    server.create_database(_TEMPLATE)
    migrate.upgrade(server.url(database=_TEMPLATE), ROLE_PASSWORDS)
    return _TEMPLATE


@contextlib.contextmanager
def fresh_database(server: PostgresServer, template: str) -> Iterator[Database]:
    """A migrated database, dropped at the end."""
    name = f"test_{next(_counter)}"
    server.create_database(name, template=template)
    try:
        yield Database(name=name, owner_url=server.url(database=name))
    finally:
        server.drop_database(name)


@contextlib.contextmanager
def running_temporal() -> Iterator[TemporalServer]:
    """The dev server with the flags of `waypost dev`, in memory, without its Web UI."""
    with _folder() as folder:
        server = TemporalServer(port=ports.free_port(), ui_port=None, database=None)
        process = temporal.start(server, log=folder / "temporal.log")
        try:
            yield server
        finally:
            _stop(process, signal.SIGTERM)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Not pytest's tmp_path: that one is closed to the user PostgreSQL runs as when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
