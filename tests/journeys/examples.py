"""The journeys of examples/, read once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.conventions.sources import HOME
from waypost.journeys.document import Journey
from waypost.journeys.happenings import Happened
from waypost.journeys.validation import check_journey
from waypost.segments.people import Deed, Person

FILES = sorted(file for file in (HOME / "examples" / "journeys").glob("*.yaml") if not file.name.endswith(".test.yaml"))

MONDAY = datetime(2026, 11, 23, 10, tzinfo=UTC)
ANN = Person(
    external_id="ann",
    created_at=MONDAY - timedelta(days=30),
    email="ann@example.com",
    phone="+431234567",
    time_zone="Europe/Vienna",
)


def text_of(key: str) -> str:
    """The document of an example."""
    return next(file for file in FILES if file.stem == key).read_text(encoding="utf-8")


def journey_of(text: str) -> Journey:
    """The journey of a text that is valid."""
    checked = check_journey(text)
    assert checked.journey is not None, [str(problem) for problem in checked.problems]
    return checked.journey


def example(key: str) -> Journey:
    """An example, read."""
    return journey_of(text_of(key))


def small(steps: str, *, start: str = "a", head: str = "") -> Journey:
    """A journey of these steps, each a line of YAML."""
    lines = "\n".join(f"  {line.strip()}" for line in steps.strip().splitlines())
    return journey_of(
        f"journey: small\nname: Small\nentry: {{kind: api, expects: [when, n]}}\nstart: {start}\n"
        f"{head.strip()}\nsteps:\n{lines}\n"
    )


def did(name: str, at: datetime, **properties: Any) -> Happened:
    """An event that is received as it happens."""
    return Happened(at=at, deed=Deed(name=name, occurred_at=at, properties=properties))


def names(files: list[Path]) -> list[str]:
    """Their keys."""
    return [file.stem for file in files]
