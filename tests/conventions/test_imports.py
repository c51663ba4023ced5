"""The direction of imports is kept, and nothing new escapes the contracts (pyproject.toml, [tool.importlinter])."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conventions.sources import HOME

CONFIGURATION = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["id"]: contract for contract in CONFIGURATION["tool"]["importlinter"]["contracts"]
}

TOOLS = {"waypost.simulators", "waypost.drills", "waypost.bench", "waypost.demo"}

IMPURE = """
import time
import random
from datetime import UTC, datetime
from uuid import uuid4

VALUES = [time.time(), random.random(), datetime.now(UTC), uuid4()]
"""


def test_every_import_keeps_its_contract() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([program, "--no-cache"], cwd=HOME, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout


def test_every_package_of_the_product_is_under_the_contracts() -> None:
    ours = {f"waypost.{name}" for name in _children(HOME / "waypost")} | {"workflows", "activities", "api"}
    assert ours - TOOLS <= set(CONTRACTS["product"]["source_modules"])
    layered = {name for layer in CONTRACTS["layers"]["layers"] for name in layer.replace("|", ":").split(" : ")}
    assert ours - {"waypost.simulators"} <= layered
    assert ours - TOOLS - {"waypost.store"} <= set(CONTRACTS["sql"]["source_modules"])
    assert ours - TOOLS - {"waypost.providers"} <= set(CONTRACTS["provider-sdks"]["source_modules"])


def test_what_workflows_may_import_is_where_clocks_are_refused() -> None:
    (pattern,) = (each for each in CONFIGURATION["tool"]["ruff"]["lint"]["per-file-ignores"] if each.startswith("!"))
    refused = {place.replace("/", ".") for place in pattern.removeprefix("!{").removesuffix("}/**").split(",")}
    assert refused == {"workflows", "activities.contracts", *CONTRACTS["pure"]["source_modules"]}


@pytest.mark.parametrize("place", ["workflows/x.py", "waypost/messaging/x.py", "activities/contracts/x.py"])
def test_clocks_and_chance_are_refused_in_what_replays(place: str) -> None:
    assert _ruff(place).count("TID251") == 4


@pytest.mark.parametrize("place", ["activities/x.py", "waypost/store/x.py", "tests/x.py", "worker.py"])
def test_clocks_and_chance_are_everybody_else_s(place: str) -> None:
    assert "TID251" not in _ruff(place)


def _ruff(place: str) -> str:
    program = str(Path(sys.executable).parent / "ruff")
    command = [program, "check", "--stdin-filename", place, "--select", "TID251", "--output-format", "concise", "-"]
    return subprocess.run(command, cwd=HOME, input=IMPURE, capture_output=True, text=True, timeout=30).stdout


def _children(folder: Path) -> set[str]:
    packages = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    return packages | {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
