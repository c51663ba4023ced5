from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from waypost.cli import config, main


def test_help_lists_the_commands_without_importing_any_of_them() -> None:
    script = (
        "import sys, waypost.cli.main as main; "
        "main.build().main(['--help'], prog_name='waypost', standalone_mode=False); "
        "print([name for name in sys.modules if name.startswith('waypost.cli.') and name != 'waypost.cli.main'])"
    )
    shown = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True).stdout
    assert "waypost dev " in shown
    assert shown.rstrip().endswith("[]")


def test_every_command_that_is_listed_can_show_its_help() -> None:
    for name in main.build().commands:
        with pytest.raises(SystemExit) as left:
            main.build().main([name, "--help"], prog_name="waypost")
        assert left.value.code == 0, name


def test_a_misspelt_command_is_answered_with_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.build().main(["ingst"], prog_name="waypost")
    assert "Did you mean 'ingest'?" in capsys.readouterr().err


def test_config_names_source_and_purpose_and_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST_ADMIN_KEY", "not-to-be-shown-anywhere")
    monkeypatch.setenv("WAYPOST_API_PORT", "8123")
    monkeypatch.delenv("WAYPOST_SECRET_KEY", raising=False)
    answer = CliRunner().invoke(config.app, ["--json"])
    listed = {setting["name"]: setting for setting in json.loads(answer.stdout)}
    assert "not-to-be-shown-anywhere" not in answer.stdout
    assert (listed["WAYPOST_ADMIN_KEY"]["value"], listed["WAYPOST_ADMIN_KEY"]["source"]) == ("********", "environment")
    assert (listed["WAYPOST_API_PORT"]["value"], listed["WAYPOST_API_PORT"]["source"]) == ("8123", "environment")
    assert listed["WAYPOST_SECRET_KEY"]["source"] == "missing"
    assert listed["TEMPORAL_NAMESPACE"]["source"] == "default"
    assert listed["WAYPOST_TEMPORAL_UI_URL"]["group"] == "temporal"
    assert all(setting["description"] for setting in listed.values())


def test_config_fits_a_terminal_as_a_table() -> None:
    answer = CliRunner().invoke(config.app, [], terminal_width=120)
    assert answer.exit_code == 0
    assert "WAYPOST_DATABASE_URL" in answer.stdout
