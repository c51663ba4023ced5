"""Histories of executions as they were: today's workflow code must replay every one of them.

`WAYPOST_SAVE_HISTORIES=1 pytest tests/workflows` writes those that are missing; one that exists is never overwritten,
for somewhere an execution of that age is still running.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from temporalio.client import WorkflowHistory

FOLDER = Path(__file__).parent / "histories"


def save(name: str, history: WorkflowHistory) -> None:
    """Keep a history under a new name, where that is asked for."""
    path = FOLDER / f"{name}.json"
    if os.environ.get("WAYPOST_SAVE_HISTORIES") == "1" and not path.exists():
        path.write_text(re.sub(r'("identity": ")[^"]*"', r'\1worker"', history.to_json()))


def saved() -> list[Path]:
    """Every saved history."""
    return sorted(FOLDER.glob("*.json"))
