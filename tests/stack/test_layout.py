"""What the stack consists of, without starting it."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.stack.errors import StackError
from waypost.stack.layout import StackOptions, build, make_data_folder
from waypost.stack.process import ProcessSpec
from waypost.stack.secrets import StackSecrets

GIVEN = {"WAYPOST_DATABASE_URL": "postgresql://db.example/waypost", "TEMPORAL_ADDRESS": "temporal.example:7233"}


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="waypost-test-"))
    folder.chmod(0o711)
    yield make_data_folder(folder)
    shutil.rmtree(folder)


def test_given_servers_take_the_place_of_the_embedded_ones(data: Path) -> None:
    stack = build(StackOptions(data=data), GIVEN)
    assert {spec.name for spec in stack.plan.processes()}.isdisjoint({"postgres", "temporal"})
    assert "postgres" not in stack.ports
    assert stack.environment["WAYPOST_DATABASE_URL"] == GIVEN["WAYPOST_DATABASE_URL"]
    assert stack.environment["TEMPORAL_ADDRESS"] == GIVEN["TEMPORAL_ADDRESS"]


def test_secrets_are_made_once_for_our_eyes_only_and_yield_to_the_environment(data: Path) -> None:
    first = StackSecrets.load_or_create(data)
    assert StackSecrets.load_or_create(data) == first
    assert stat.S_IMODE((data / "secrets.json").stat().st_mode) == 0o600
    stack = build(StackOptions(data=data), {**GIVEN, "WAYPOST_ADMIN_KEY": "a-key-of-the-callers-own-choice"})
    assert stack.environment["WAYPOST_ADMIN_KEY"] == "a-key-of-the-callers-own-choice"
    assert stack.environment["WAYPOST_APP_PASSWORD"] == first.app_password


def test_damaged_secrets_are_not_replaced(data: Path) -> None:
    (data / "secrets.json").write_text("{")
    with pytest.raises(StackError, match=r"secrets\.json is damaged"):
        StackSecrets.load_or_create(data)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"can't be made .*--data"):
        make_data_folder(tmp_path / "file" / "data")


def test_the_embedded_stack_has_everything_and_stops_all_it_starts(data: Path) -> None:
    stack = build(StackOptions(data=data, unsafe_fast=True), {"PATH": "/usr/bin"})
    names = [spec.name for spec in stack.plan.processes()]
    assert names == ["postgres", "temporal", "simulators", "api", "ingest", "worker-fast", "worker-bulk"]
    assert sorted(names) == sorted(name for stage in stack.plan.stop_order for name in stage)
    assert len(set(stack.ports.values())) == len(stack.ports)


def test_only_migrations_get_the_owners_url_and_no_secret_is_on_a_command_line(data: Path) -> None:
    stack = build(StackOptions(data=data, unsafe_fast=True), {"WAYPOST_DATABASE_OWNER_URL": "postgresql://owner@db/x"})
    specs = [spec for stage in stack.plan.stages for spec in stage]
    knowing = {spec.name for spec in specs if "WAYPOST_DATABASE_OWNER_URL" in spec.env}
    assert knowing == {"migrate"}
    secrets = [value for value in stack.secrets.model_dump().values() if value]
    assert not [spec.name for spec in specs for argument in spec.argv if any(s in argument for s in secrets)]


def test_without_workers_none_is_planned(data: Path) -> None:
    stack = build(StackOptions(data=data, workers=False), GIVEN)
    assert [spec.name for spec in stack.plan.processes()] == ["simulators", "api", "ingest"]
    assert all(isinstance(spec, ProcessSpec) for spec in stack.plan.processes())
