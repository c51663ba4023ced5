"""What the README tells a new user to type, typed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Shop
from tests.e2e.journeying import Journeys, waits_at

_HOME = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the lines call curl, which is not on this machine")
def test_the_readmes_curl_lines_send_a_message_and_start_a_journey(shop: Shop) -> None:
    blocks = _BLOCK.findall((_HOME / "README.md").read_text())
    lines = "\n".join(block for block in blocks if "curl" in block).replace(
        ". .waypost/env", f". {shop.stack.data / 'env'}"
    )
    # Each answer on a line of its own.
    done = subprocess.run(
        ["/bin/sh", "-eu"],
        input=lines.replace("curl ", "curl -sS -w '\\n' "),
        cwd=_HOME,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    contact, template, accepted, listed, _, journey, published, event, enrollments = answers
    assert (contact["external_id"], template["key"]) == ("user-4711", "login-code")
    assert [row["id"] for row in listed["data"]] == [accepted["id"]]
    assert shop.until_delivered(accepted["id"])["to"]["address"] == "ann@example.com"
    (found,) = shop.control.inbox("918273 ann@example.com")
    assert found["subject"] == "918273 ist Ihr Code"
    assert (journey["key"], published["version"], event["status"]) == ("hello", 1, "accepted")
    (enrollment,) = enrollments["data"]
    assert Journeys(shop).until("hello", "user-4711", waits_at("ordered"))["id"] == enrollment["id"]
    (welcome,) = shop.control.inbox("Willkommen Ann")
    assert welcome["subject"] == "Willkommen, Ann"


def test_every_link_of_the_pages_leads_somewhere() -> None:
    pages = [_HOME / "README.md", _HOME / "CHANGELOG.md", *(_HOME / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())]
    broken = [(page.name, link) for page, link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []


def test_the_index_names_every_page() -> None:
    docs = _HOME / "docs"
    index = (docs / "README.md").read_text()
    assert [page.name for page in docs.glob("*.md") if page.name != "README.md" and f"({page.name})" not in index] == []
