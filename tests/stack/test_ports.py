from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.stack import ports
from waypost.stack.errors import PortInUseError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_given_port_in_use_is_refused_with_its_user_and_what_to_do(taken: int) -> None:
    with pytest.raises(
        PortInUseError, match=rf"Port {taken}, wanted for api, is in use.*process {os.getpid()}.*another"
    ):
        ports.choose(names=["api"], given={"api": taken}, remembered={})


def test_a_remembered_port_is_taken_again_unless_somebody_has_it(taken: int) -> None:
    free = ports.free_port()
    chosen = ports.choose(names=["api", "ingest"], given={}, remembered={"api": free, "ingest": taken})
    assert chosen["api"] == free
    assert chosen["ingest"] not in (taken, free)


def test_a_remembered_port_gives_way_to_one_that_is_given() -> None:
    free = ports.free_port()
    chosen = ports.choose(names=["api", "ingest"], given={"ingest": free}, remembered={"api": free})
    assert chosen["ingest"] == free
    assert chosen["api"] != free


def test_zero_means_that_no_port_was_given() -> None:
    assert ports.choose(names=["api"], given={"api": 0}, remembered={})["api"] > 0


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    ports.write(file, {"api": 1})
    ports.write(file, {"api": 2, "ingest": 3})
    assert json.loads(file.read_text()) == {"api": 2, "ingest": 3} == ports.read(file)
    assert [path.name for path in tmp_path.iterdir()] == ["ports.json"]


def test_a_damaged_file_remembers_nothing(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("[1, 2")
    assert ports.read(tmp_path / "ports.json") == {}
