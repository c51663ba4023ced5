"""docker-compose.yml, checked as far as it can be without an engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

import worker
from tests.deploy import compose_file
from tests.deploy.compose_file import DEPLOY, HOME, OURS, MissingVariableError
from waypost.cli import main
from waypost.cli.config import list_settings
from waypost.messaging.values import Lane
from waypost.settings import (
    AdminSettings,
    ApiSettings,
    DatabaseSettings,
    IngestSettings,
    PublicSettings,
    SecretSettings,
    TemporalSettings,
    WorkerSettings,
)
from waypost.simulators.__main__ import arguments

GROUPS: Mapping[str, tuple[type[BaseSettings], ...]] = {
    "migrate": (DatabaseSettings,),
    "api": (DatabaseSettings, AdminSettings, SecretSettings, ApiSettings, TemporalSettings),
    "ingest": (DatabaseSettings, SecretSettings, IngestSettings),
    "worker-fast": (DatabaseSettings, SecretSettings, TemporalSettings, WorkerSettings, PublicSettings),
    "worker-bulk": (DatabaseSettings, SecretSettings, TemporalSettings, WorkerSettings, PublicSettings),
}
"""The groups of settings that each process reads."""

JOBS = frozenset({"migrate", "temporal-schema", "temporal-namespace"})
"""Services that run once and must succeed."""

KNOWN = frozenset(
    {
        "build",
        "cap_drop",
        "command",
        "cpu_shares",
        "depends_on",
        "deploy",
        "entrypoint",
        "environment",
        "expose",
        "healthcheck",
        "image",
        "init",
        "logging",
        "networks",
        "ports",
        "profiles",
        "read_only",
        "restart",
        "security_opt",
        "shm_size",
        "stop_grace_period",
        "stop_signal",
        "tmpfs",
        "volumes",
    }
)
"""The Compose Specification's keys of a service that we use."""

HEALTH_KEYS = frozenset(["test", "interval", "timeout", "retries", "start_period", "disable"])


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return compose_file.services()


def test_the_issue_s_services_are_there_and_the_simulators_only_under_their_profile(
    services: dict[str, dict[str, Any]],
) -> None:
    temporal = {"temporal-database", "temporal-schema", "temporal", "temporal-namespace", "temporal-ui"}
    assert set(services) == OURS | temporal | {"database"}
    assert {name: service["profiles"] for name, service in services.items() if "profiles" in service} == {
        "simulators": ["dev"]
    }


def test_every_key_is_one_of_the_specification(services: dict[str, dict[str, Any]]) -> None:
    whole = yaml.safe_load(compose_file.source())
    assert {key for key in whole if not key.startswith("x-")} == {"name", "services", "networks", "volumes"}
    for name, service in services.items():
        assert set(service) <= KNOWN, name
        assert set(service.get("healthcheck", {})) <= HEALTH_KEYS, name
        assert set(service["deploy"]) == {"resources"}, name


def test_networks_and_volumes_are_declared_and_used(services: dict[str, dict[str, Any]]) -> None:
    whole = yaml.safe_load(compose_file.source())
    assert set(whole["networks"]) == {network for service in services.values() for network in service["networks"]}
    mounted = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", [])]
    assert set(whole["volumes"]) == {name for name in mounted if "/" not in name}
    assert all((HOME / name).exists() for name in mounted if "/" in name)


def test_dependencies_can_be_fulfilled(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, dependency in service.get("depends_on", {}).items():
            if other in JOBS:
                assert dependency == {"condition": "service_completed_successfully"}, (name, other)
            else:
                assert dependency == {"condition": "service_healthy"}, (name, other)
                assert services[other]["healthcheck"]["test"], (name, other)
    assert "temporal" not in _reached(services, "api"), "without Temporal the API still accepts"
    assert {"database", "migrate", "temporal", "temporal-schema"} <= _reached(services, "worker-fast")


def test_everything_is_bounded_restarted_and_its_log_rotated(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert set(limits) == {"cpus", "memory"}, name
        assert service["restart"] == ("on-failure" if name in JOBS else "unless-stopped"), name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_our_processes_may_write_nothing_and_gain_nothing(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS:
        service = services[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        assert service["image"].startswith("waypost:"), name


def test_only_the_two_doors_can_be_published_beyond_loopback(services: dict[str, dict[str, Any]]) -> None:
    beyond = {
        name for name, service in compose_file.services(_exposed()).items() if _published(service) - {"127.0.0.1"}
    }
    assert beyond == {"api", "ingest"}
    assert {name for name, service in services.items() if _published(service) - {"127.0.0.1"}} == set()
    for name in ("database", "temporal-database", "temporal"):
        assert "ports" not in services[name], name


def test_our_database_and_temporal_s_do_not_share_a_network(services: dict[str, dict[str, Any]]) -> None:
    assert not set(services["database"]["networks"]) & set(services["temporal-database"]["networks"])
    assert yaml.safe_load(compose_file.source())["networks"]["temporal"] == {"internal": True}


def test_postgresql_keeps_its_data_where_its_version_does(services: dict[str, dict[str, Any]]) -> None:
    for name in ("database", "temporal-database"):
        major = int(re.fullmatch(r"postgres:(\d+)-.*", services[name]["image"])[1])  # type: ignore[index]  # or it fails
        folder = "/var/lib/postgresql" if major >= 18 else "/var/lib/postgresql/data"
        assert services[name]["volumes"] == [f"{name}:{folder}"]
    assert "-csynchronous_commit=on" in services["database"]["command"]


def test_no_secret_has_a_default_and_none_is_given_where_it_is_not_needed() -> None:
    used = compose_file.variables()
    secret = {name for name in used if name.endswith(("_PASSWORD", "_KEY"))}
    assert {name for name, kind in used.items() if kind == ":?"} == secret
    for name in sorted(secret):
        with pytest.raises(MissingVariableError, match=name):
            compose_file.services({key: value for key, value in compose_file.secrets().items() if key != name})
    owner = compose_file.secrets()["WAYPOST_OWNER_PASSWORD"]
    assert {name for name, service in compose_file.services().items() if owner in str(service)} == {
        "database",
        "migrate",
    }


def test_the_example_of_the_environment_names_every_variable_and_no_secret_s_value() -> None:
    lines = (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
    named = dict(line.removeprefix("#").split("=", 1) for line in lines if re.match(r"#?[A-Z_]+=", line))
    used = compose_file.variables()
    assert set(named) <= set(used), "named for nothing"
    assert set(used) - set(named) == {"TEMPORAL_NAMESPACE", "WAYPOST_VERSION"}
    for name, kind in used.items():
        if kind == ":?":
            assert named[name] == "", name
            assert f"{name}=" in lines, f"{name} is commented out"


@pytest.mark.parametrize("service", sorted(GROUPS))
def test_every_setting_given_is_read_and_every_one_that_must_be_is_given(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = compose_file.environment(service)
    assert set(given) <= {setting.name for setting in list_settings()}
    for setting in list_settings():
        monkeypatch.delenv(setting.name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for group in GROUPS[service]:
        group()  # raises where something is missing or malformed


def test_hosts_in_the_settings_are_services_of_the_same_network(services: dict[str, dict[str, Any]]) -> None:
    hosts = re.compile(r"(?:@|//|^)([a-z-]+):(\d+)")
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            for host, _ in hosts.findall(value):
                assert set(services[host]["networks"]) & set(service["networks"]), (name, key)
    assert services["temporal"]["environment"]["POSTGRES_SEEDS"] == "temporal-database"
    assert services["temporal-schema"]["environment"]["SQL_HOST"] == "temporal-database"


def test_every_command_exists(services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    commands = main.build().commands
    started: list[str] = []
    monkeypatch.setattr(worker, "_run", lambda lane: started.append(lane))
    monkeypatch.setattr(worker, "configure_logs", lambda _: None)
    monkeypatch.setattr("worker.uvloop.run", lambda _: None)
    for name in OURS:
        match services[name]["command"]:
            case ["waypost", command]:
                assert command == name, name
                assert command in commands, name
            case ["python", "worker.py", *rest]:
                worker.main(rest)  # argparse ends the process at an option that it does not know
            case ["python", "-m", "waypost.simulators", *rest]:
                assert arguments().parse_args(rest).port == 8025
            case other:
                pytest.fail(f"{name} runs {other}")
    assert set(started) == set(Lane)


def test_health_is_asked_where_the_process_listens(services: dict[str, dict[str, Any]]) -> None:
    ports = {
        "api": services["api"]["environment"]["WAYPOST_API_PORT"],
        "ingest": services["ingest"]["environment"]["WAYPOST_INGEST_PORT"],
        "worker-fast": services["worker-fast"]["environment"]["WAYPOST_WORKER_METRICS_PORT"],
        "worker-bulk": services["worker-bulk"]["environment"]["WAYPOST_WORKER_METRICS_PORT"],
        "simulators": "8025",
    }
    for name, port in ports.items():
        *program, target = services[name]["healthcheck"]["test"]
        assert program == ["CMD", "python", "-I", "-S", "/app/healthcheck.py"]
        assert target.split("/")[0] == port, name
        inside = {mapping.rsplit(":", 1)[1] for mapping in services[name].get("ports", [])}
        assert inside | set(services[name].get("expose", [])) == {port}, name


def test_a_worker_is_given_the_time_to_drain(services: dict[str, dict[str, Any]]) -> None:
    drain = timedelta(seconds=WorkerSettings().call_timeout_s + 5)
    for name in ("worker-fast", "worker-bulk"):
        assert _seconds(services[name]["stop_grace_period"]) >= drain + timedelta(seconds=15), name


def _reached(services: Mapping[str, Any], name: str) -> set[str]:
    near = set(services[name].get("depends_on", {}))
    return near.union(*(_reached(services, other) for other in near))


def _exposed() -> dict[str, str]:
    return compose_file.secrets() | {"WAYPOST_PUBLISH_HOST": "0.0.0.0"}  # noqa: S104 - nothing listens: a text


def _published(service: Mapping[str, Any]) -> set[str]:
    return set(_hosts(service.get("ports", [])))


def _hosts(ports: list[str]) -> Iterator[str]:
    for mapping in ports:
        assert mapping.count(":") == 2, f"{mapping} names no address, so it would be every one"
        yield mapping.split(":")[0]


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=float(re.fullmatch(r"(\d+)s", text)[1]))  # type: ignore[index]  # or it fails


def test_paths_in_containers_are_those_of_the_image() -> None:
    image = (HOME / "Dockerfile").read_text(encoding="utf-8")
    assert "WORKDIR /app\nCOPY worker.py deploy/healthcheck.py ./" in image
    assert Path("/var/lib/waypost").as_posix() in image
