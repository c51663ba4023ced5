"""The Dockerfile, checked as far as it can be without an engine."""

from __future__ import annotations

import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.compose_file import HOME

DOCKERFILE = (HOME / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    if line and not line.startswith("#")
]
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))


def test_what_is_copied_is_there_and_is_sent_to_the_engine() -> None:
    for source in copied():
        assert (HOME / source).exists(), source
        assert source in sent(), f"{source} is kept back by .dockerignore"


def test_everything_that_the_wheel_is_made_of_is_copied() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert {*wheel, "pyproject.toml", PROJECT["project"]["readme"]} <= copied()


def test_nothing_secret_and_nothing_of_this_machine_is_sent_to_the_engine() -> None:
    for name in (".env", ".waypost", ".git", ".venv", "tests", "deploy/env.example"):
        assert not any(fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in sent()), name
    assert (HOME / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"
    assert ".env" in (HOME / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_processes_run_as_somebody_without_rights() -> None:
    users = [rest for name, rest in INSTRUCTIONS if name == "USER"]
    assert users == ["10001:10001"]
    after = [name for name, _ in INSTRUCTIONS[INSTRUCTIONS.index(["USER", users[0]]) :]]
    assert not {"RUN", "COPY", "ADD"} & set(after), "after USER nothing is installed"


def test_dependencies_come_from_the_lock_by_their_hashes() -> None:
    installs = [rest for name, rest in INSTRUCTIONS if name == "RUN" and "pip install" in rest]
    assert "--require-hashes" in installs[0]
    assert installs[0].endswith("-r /build/requirements.lock")
    assert all("--no-deps ." in rest for rest in installs[1:])
    locked = set(
        re.findall(r"^([a-z0-9_.-]+)==", (HOME / "requirements.lock").read_text(encoding="utf-8").lower(), re.M)
    )
    for dependency in PROJECT["project"]["dependencies"]:
        name = re.match(r"[A-Za-z0-9-]+", dependency)
        assert name, dependency
        assert name[0].lower().replace("_", "-") in locked, f"{dependency}: make lock"
    assert not {"pytest", "ruff", "mypy"} & locked, "the lock of the image has no tools of development"


def test_the_interpreter_is_one_that_the_project_supports() -> None:
    froms = [rest.split()[0] for name, rest in INSTRUCTIONS if name == "FROM"]
    assert len(set(froms)) == 1, "both stages have the same interpreter"
    major, minor = re.fullmatch(r"python:(\d+)\.(\d+)-slim-\w+", froms[0]).groups()  # type: ignore[union-attr]  # or it fails
    assert (int(major), int(minor)) >= (3, 11)
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_there_is_a_health_check_and_a_command_that_needs_no_shell() -> None:
    for instruction in ("HEALTHCHECK", "CMD"):
        rest = next(rest for name, rest in INSTRUCTIONS if name == instruction)
        assert re.search(r'\[".*"\]$', rest), instruction


def copied() -> set[str]:
    """What COPY takes from the repository."""
    sources: set[str] = set()
    for name, rest in INSTRUCTIONS:
        if name == "COPY" and "--from" not in rest:
            sources.update(str(Path(source)) for source in shlex.split(rest)[:-1])
    return sources


def sent() -> set[str]:
    """What .dockerignore lets through."""
    lines = (HOME / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return {line.removeprefix("!") for line in lines if line.startswith("!")}
