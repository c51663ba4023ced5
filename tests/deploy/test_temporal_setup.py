"""Temporal's set-up: what the jobs do, and that the server knows every name in its configuration."""

from __future__ import annotations

import json
import mmap
import os
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import compose_file
from tests.deploy.compose_file import DEPLOY
from waypost.stack import temporal
from waypost.stack.temporal import DYNAMIC_CONFIG, SEARCH_ATTRIBUTES, TemporalServer

SHARDS = "512"
NAMESPACE = "deployed"
SIZES = {"history.hostLevelCacheMaxSizeBytes", "history.eventsHostLevelCacheMaxSizeBytes"}
"""Production has more memory than a laptop's dev server."""

OF_ONE_SHARD = {
    "history.transferProcessorMaxPollRPS",
    "history.timerProcessorMaxPollRPS",
    "history.visibilityProcessorMaxPollRPS",
}
"""A limit a shard: the dev server has one, production 512."""


@pytest.fixture(scope="module")
def program() -> Iterator[mmap.mmap]:
    """The server's program, in which its settings' names are; the version is the one that compose starts."""
    with temporal.binary().open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def test_every_dynamic_setting_is_one_of_the_server_s(program: mmap.mmap) -> None:
    for key in dynamic_config():
        assert program.find(key.encode()) >= 0, key
    assert program.find(b"matching.enableFairnessX") < 0


def test_every_variable_of_the_server_is_in_its_configuration_s_template(program: mmap.mmap) -> None:
    server = compose_file.environment("temporal")
    for name in set(server) - {"GOMEMLIMIT"}:
        assert program.find(f'env "{name}"'.encode()) >= 0, name
    assert server["NUM_HISTORY_SHARDS"] == SHARDS, "it can never be changed in a database that has been used"


def test_compose_starts_the_version_that_tests_and_dev_run() -> None:
    version = subprocess.run([temporal.binary(), "--version"], capture_output=True, text=True, check=True).stdout
    services = compose_file.services()
    for name in ("temporal", "temporal-schema", "temporal-namespace"):
        assert f"Server {services[name]['image'].partition(':')[2]}," in version, name
    assert f"UI {services['temporal-ui']['image'].partition(':')[2]})" in version


def test_production_has_dev_s_settings_but_for_sizes_and_limits_a_shard() -> None:
    deployed = {key: str(value).lower() for key, value in dynamic_config().items()}
    for key in set(DYNAMIC_CONFIG) - SIZES - OF_ONE_SHARD:
        assert deployed[key] == DYNAMIC_CONFIG[key], key
    assert set(deployed) >= SIZES
    assert not OF_ONE_SHARD & set(deployed)


def test_the_namespace_job_makes_the_namespace_and_its_search_attributes_and_can_run_again(
    temporal_server: TemporalServer,
) -> None:
    environment = {
        **os.environ,
        "PATH": f"{temporal.binary().parent}:{os.environ['PATH']}",
        "TEMPORAL_ADDRESS": temporal_server.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "WAYPOST_RETENTION": "26h",
    }
    for _ in range(2):
        done = run("namespace.sh", environment)
        assert done.returncode == 0, done.stderr
        assert f"Namespace {NAMESPACE} is ready" in done.stdout
    made = json.loads(asked(temporal_server, "search-attribute", "list"))
    keyword = {name for name, kind in made["customAttributes"].items() if kind == "INDEXED_VALUE_TYPE_KEYWORD"}
    assert keyword == set(SEARCH_ATTRIBUTES)
    assert '"93600s"' in asked(temporal_server, "namespace", "describe")


def test_the_namespace_job_says_what_is_wrong_when_temporal_does_not_come(tmp_path: Path) -> None:
    make_program(tmp_path / "temporal", "exit 1")
    make_program(tmp_path / "sleep", "exit 0")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TEMPORAL_ADDRESS": "nowhere:7233"}
    done = run("namespace.sh", environment)
    assert done.returncode == 1
    assert "Temporal at nowhere:7233 did not answer" in done.stderr


def test_the_schema_job_brings_both_databases_up_to_date(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    make_program(tmp_path / "temporal-sql-tool", f'echo "$@" >> {calls}')
    given = compose_file.environment("temporal-schema")
    assert set(given) == {"SQL_PLUGIN", "SQL_HOST", "SQL_PORT", "SQL_USER", "SQL_PASSWORD"}
    done = run("schema.sh", {**given, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    folder = "/etc/temporal/schema/postgresql/v12"
    assert calls.read_text().splitlines() == [
        line
        for name, kind in (("temporal", "temporal"), ("temporal_visibility", "visibility"))
        for line in (
            f"--db {name} create",
            f"--db {name} setup-schema -v 0.0",
            f"--db {name} update-schema -d {folder}/{kind}/versioned",
        )
    ]


def test_the_schema_job_stops_at_the_first_failure(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    make_program(tmp_path / "temporal-sql-tool", f'echo "$@" >> {calls}; exit 1')
    done = run("schema.sh", {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 1
    assert len(calls.read_text().splitlines()) == 1


def test_the_jobs_are_mounted_where_they_are_called() -> None:
    services = compose_file.services()
    for name, script in (("temporal-schema", "schema.sh"), ("temporal-namespace", "namespace.sh")):
        assert services[name]["entrypoint"] == ["/bin/sh", f"/deploy/{script}"]
        assert services[name]["volumes"] == ["./deploy/temporal:/deploy:ro"]
        assert (DEPLOY / "temporal" / script).exists()
    assert services["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"] == "/deploy/dynamicconfig.yaml"
    assert services["temporal"]["volumes"] == ["./deploy/temporal:/deploy:ro"]


def dynamic_config() -> dict[str, Any]:
    """The file's settings, each with one unconstrained value."""
    found = yaml.safe_load((DEPLOY / "temporal" / "dynamicconfig.yaml").read_text(encoding="utf-8"))
    for key, values in found.items():
        assert [set(each) for each in values] == [{"value"}], key
    return {key: values[0]["value"] for key, values in found.items()}


def run(script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    path = DEPLOY / "temporal" / script
    return subprocess.run(["/bin/sh", path], env=environment, capture_output=True, text=True, timeout=60)


def asked(server: TemporalServer, *arguments: str) -> str:
    where = ["--address", server.address, "--namespace", NAMESPACE, "--output", "json"]
    command = [str(temporal.binary()), "operator", *arguments, *where]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def make_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
