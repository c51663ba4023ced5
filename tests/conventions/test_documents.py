"""What an operator reads names what there is: every setting, every metric, every file that a page links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conventions.metrics import all_metrics
from tests.conventions.sources import HOME
from waypost.cli.config import list_settings

DOCS = HOME / "docs"
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
PAGES = sorted([*HOME.glob("*.md"), *DOCS.rglob("*.md")])

_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FILE = re.compile(r"`((?:waypost|tests|deploy|docs|workflows|activities|api|migrations|examples)/[\w./-]*\w)`")


def test_every_setting_has_a_description_and_is_in_the_operator_s_table() -> None:
    for setting in list_settings():
        assert setting.description, setting.name
        assert f"`{setting.name}`" in OPERATING, f"add {setting.name} to docs/operating.md"


def test_every_setting_in_the_operator_s_table_exists() -> None:
    table = OPERATING.partition("\n## Settings\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \|", table, re.M))
    assert {name for cell in named for name in re.findall(r"`([A-Z_]+)`", cell)} == {
        each.name for each in list_settings()
    }


def test_every_metric_is_in_the_operator_s_table_with_its_labels() -> None:
    for metric in all_metrics():
        labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
        assert f"`{metric.shown}{labels}`" in OPERATING, f"add {metric.shown}{labels} to docs/operating.md"


def test_every_metric_in_the_operator_s_table_exists() -> None:
    table = OPERATING.partition("\n## Health, metrics, logs\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(waypost_[a-z_]+)(?:\{[a-z,]+\})?`", table))
    assert named == {metric.shown for metric in all_metrics()}


def test_metrics_are_named_for_what_they_are() -> None:
    for metric in all_metrics():
        assert metric.name.startswith("waypost_"), metric.name
        assert metric.text, metric.name
        assert not {"tenant", "address", "email", "path"} & set(metric.labels), metric.name
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds"), metric.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    for name in _FILE.findall(page.read_text(encoding="utf-8")):
        assert (HOME / name).exists(), name


def test_decisions_are_numbered_pages_with_the_same_parts() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    listed = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for page in DECISIONS:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]}: "), page.name
        assert re.findall(r"^## (.*)$", text, re.M) == ["Context", "Decision", "What was rejected", "Consequences"], (
            page.name
        )
        assert f"]({page.name})" in listed, page.name


def test_the_changelog_begins_with_what_is_not_released() -> None:
    text = (HOME / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[(.*?)\]", text, re.M)
    assert sections[0] == "Unreleased"
    assert re.search(r"^## \[Unreleased\]\n\n### (Added|Changed|Fixed|Removed)", text, re.M)
