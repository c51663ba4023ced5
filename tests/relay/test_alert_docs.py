"""What operators are told about alerts names what exists."""

from pathlib import Path

import yaml

from waypost.store.alert_rules import ADVICE, QUERIES, Rule

ROOT = Path(__file__).resolve().parents[2]


def test_every_rule_has_advice_and_a_section_in_the_docs() -> None:
    sections = (ROOT / "docs/alerts.md").read_text()
    for rule in Rule:
        assert ADVICE[rule]
        assert f"\n## {rule}\n" in sections
    assert set(Rule) - set(QUERIES) == {Rule.DISPATCHER_STALLED, Rule.OLDEST_AGE}


def test_the_prometheus_rules_parse_and_lead_to_sections() -> None:
    document = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    rules = document["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert "waypost" in rule["expr"]
        assert rule["annotations"]["description"]
