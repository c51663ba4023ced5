"""What operators are told about alerts names what exists."""

from pathlib import Path

from waypost.store.alert_rules import ADVICE, QUERIES, Rule

ROOT = Path(__file__).resolve().parents[2]


def test_every_rule_has_advice_and_a_section_in_the_docs() -> None:
    sections = (ROOT / "docs/alerts.md").read_text()
    for rule in Rule:
        assert ADVICE[rule]
        assert f"\n## {rule}\n" in sections
    assert set(Rule) - set(QUERIES) == {Rule.DISPATCHER_STALLED, Rule.OLDEST_AGE}
