"""`waypost demo` as a user has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from waypost.cli.demo import app
from waypost.stack.running import RunningStack


def test_the_demo_proves_that_nothing_was_lost_or_doubled(stack: RunningStack, tmp_path: Path) -> None:
    done = _demo(stack.data, "--contacts", "30", "--report", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    values = {check["name"]: check["value"] for check in report["checks"]}
    assert report["passed"]
    assert (values["lost"], values["duplicated"], values["unknown"]) == (0, 0, 0)
    assert report["figures"]["ends"].keys() >= {"bounced", "complained", "delivered", "opened", "suppressed", "sent"}
    assert stack.urls["inbox"] in done.stdout
    assert values["people whom the journey let in and out again"] == 30
    assert values["people who left the journey as what they did leads to"] == 30
    assert "flowchart TD" in done.stdout
    picture = (stack.data / "demo" / "first-days.svg").read_text()
    assert picture.startswith("<svg")
    assert 'class="count"' in picture, "with how many were where"
    assert max(len(line) for line in done.stdout.splitlines() if not _is_for_copying(line)) <= 80


def test_the_demo_refuses_bad_input_with_a_sentence_and_before_it_starts_anything(tmp_path: Path) -> None:
    folder = tmp_path / "never"
    for contacts in ("0", "abc", "-3", "1e9"):
        refused = CliRunner().invoke(app, ["--data", str(folder), "--contacts", contacts])
        assert (refused.exit_code, "--contacts" in refused.output) == (2, True)
    missing = tmp_path / "missing" / "report.json"
    refused = CliRunner().invoke(app, ["--data", str(folder), "--report", str(missing)])
    assert refused.exit_code == 1
    assert f"The report {missing} can't be written (No such file or directory)" in refused.output
    assert not folder.exists()


def _is_for_copying(line: str) -> bool:
    """Links, the key, files and the diagram's text are not broken."""
    return any(sign in line for sign in ("http", "wp_test", "<b>", "first-days.svg"))


def _demo(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-P", "-m", "waypost.cli.main", "demo", "--data", str(data), *arguments)
    env = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False, env=env)
