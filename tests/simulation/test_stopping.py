"""A simulation that is stopped leaves neither servers nor folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conventions.sources import HOME


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files; as root PostgreSQL runs as somebody else, who must come through."""
    with tempfile.TemporaryDirectory(prefix="waypost-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_simulation_takes_its_servers_with_it(folder: Path, how: signal.Signals, code: int) -> None:
    program = Path(sysconfig.get_path("scripts")) / "waypost"
    process = subprocess.Popen(
        [program, "journeys", "test", HOME / "examples" / "journeys"],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "✓" in process.stdout.readline()
    (data,) = folder.glob("waypost-simulation-*/postgres/postmaster.pid")
    server = int(data.read_text().splitlines()[0])
    process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode == code
    assert not list(folder.iterdir())
    assert not _runs(server)


def _runs(server: int) -> bool:
    deadline = time.monotonic() + 5
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return Path(f"/proc/{server}").exists()
