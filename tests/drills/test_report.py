"""Reports: when one has passed, and its format."""

import json
from pathlib import Path

from waypost.drills.report import Report, at_least, at_most, equals


def test_a_report_passes_only_where_every_check_holds_and_there_was_one() -> None:
    assert Report(name="x", checks=(equals("lost", 0, 0), at_most("ratio", 1.9, 2), at_least("kills", 20, 20))).passed
    assert not Report(name="x", checks=(equals("lost", 0, 0), at_most("ratio", 2.1, 2))).passed
    assert not Report(name="x", checks=()).passed


def test_a_ratio_that_could_not_be_measured_does_not_pass() -> None:
    assert not at_most("ratio", float("nan"), 2).ok


def test_the_file_has_the_format_that_benches_share(tmp_path: Path) -> None:
    report = Report(
        name="kill-nine", checks=(at_least("kills", 19, 20),), figures={"claims": 7}, environment={"cores": 2}
    )
    report.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "name": "kill-nine",
        "passed": False,
        "figures": {"claims": 7},
        "checks": [{"name": "kills", "value": 19, "bound": "≥ 20", "ok": False}],
        "environment": {"cores": 2},
    }
