"""docker-compose.yml as `docker compose` would see it: merged by YAML, its variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HOME = Path(__file__).resolve().parents[2]
DEPLOY = HOME / "deploy"

OURS = frozenset({"migrate", "api", "ingest", "worker-fast", "worker-bulk", "simulators"})
"""Services that run our image."""

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?:(?P<kind>:-|:\?)(?P<text>[^}]*))?\}")


class MissingVariableError(Exception):
    """A variable that must be set is not."""


def source() -> str:
    """The file's text."""
    return (HOME / "docker-compose.yml").read_text(encoding="utf-8")


def variables() -> dict[str, str]:
    """Every variable of the file, with how it is used: `:?` (must be set), `:-` (has a default), or nothing."""
    used: dict[str, str] = {}
    for match in _VARIABLE.finditer(source()):
        kind = match["kind"] or ""
        assert used.setdefault(match["name"], kind) == kind, f"{match['name']} is used in two ways"
    return used


def services(given: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The services with `given` in the environment; secrets by default. Raises MissingVariableError."""
    found: dict[str, dict[str, Any]] = _filled(
        yaml.safe_load(source())["services"], secrets() if given is None else given
    )
    return found


def secrets() -> dict[str, str]:
    """A value for every variable that must be set."""
    return {
        name: f"{name.lower()}-0123456789abcdef0123456789abcdef" for name, kind in variables().items() if kind == ":?"
    }


def environment(service: str) -> dict[str, str]:
    """What a service's process finds in its environment."""
    given = services()[service].get("environment", {})
    assert all(isinstance(value, str) for value in given.values()), f"{service}: quote numbers and booleans"
    return dict(given)


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    return _VARIABLE.sub(lambda match: _value(match, values), node) if isinstance(node, str) else node


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    given = values.get(match["name"], "")
    if match["kind"] == ":?" and not given:
        raise MissingVariableError(match["name"])
    return given or (match["text"] if match["kind"] == ":-" else "")
