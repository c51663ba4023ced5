from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from waypost.stack.errors import AlreadyRunningError
from waypost.stack.lock import StackLock, lock_path, read_holder

_HOLD = """
import sys, pathlib
from waypost.stack.lock import StackLock
lock = StackLock.acquire(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_stack_on_the_same_folder_is_told_who_has_it(tmp_path: Path) -> None:
    argv = (sys.executable, "-c", _HOLD, str(tmp_path))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(AlreadyRunningError, match=rf"process {holder.pid}.*--data") as error:
            StackLock.acquire(tmp_path)
        holder.kill()
    assert error.value.pid == holder.pid
    StackLock.acquire(tmp_path).release()


def test_a_stale_file_is_no_lock_even_when_its_pid_is_alive_again(tmp_path: Path) -> None:
    lock_path(tmp_path).write_text(json.dumps({"pid": os.getpid(), "started": 1.0}))
    holder = read_holder(tmp_path)
    assert holder is not None
    assert not holder.is_alive()
    lock = StackLock.acquire(tmp_path)
    fresh = read_holder(tmp_path)
    assert fresh is not None
    assert fresh.started == psutil.Process().create_time()
    lock.release()


def test_a_damaged_file_is_no_lock(tmp_path: Path) -> None:
    lock_path(tmp_path).write_text("not json")
    StackLock.acquire(tmp_path).release()
    assert read_holder(tmp_path) is None
