"""What Prometheus is told to ask and to watch is there."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.conventions.metrics import Metric, all_metrics
from tests.deploy import compose_file
from tests.deploy.compose_file import DEPLOY

_WORDS = re.compile(r"waypost_[a-z_]+")
_LABELS = re.compile(r"(waypost_[a-z_]+)\{([^}]*)\}")


def test_every_metric_of_a_rule_is_one_that_a_process_exports() -> None:
    samples = {sample: metric for metric in all_metrics() for sample in metric.samples()}
    for rule in rules():
        asked = set(_WORDS.findall(rule["expr"]))
        assert asked <= set(samples), rule["alert"]
        for sample, selectors in _LABELS.findall(rule["expr"]):
            assert labels_of(selectors) <= {*samples[sample].labels, "le"}, rule["alert"]


def test_every_rule_says_what_it_is_about() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["alert"].startswith("Waypost")
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["for"], rule["alert"]


def test_every_process_of_ours_is_asked_where_it_listens() -> None:
    services = compose_file.services()
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "scrape.yml").read_text(encoding="utf-8"))
    assert configuration["rule_files"] == ["rules.yml"]
    asked = {}
    for job in configuration["scrape_configs"]:
        for place in job["dns_sd_configs"]:
            asked.update(dict.fromkeys(place["names"], place["port"]))
    assert set(asked) == {"api", "ingest", "worker-fast", "worker-bulk", "temporal"}
    for name, port in asked.items():
        service = services[name]
        opened = {mapping.rsplit(":", 1)[1] for mapping in service.get("ports", [])} | set(service.get("expose", []))
        assert str(port) in opened, name
    assert compose_file.environment("temporal")["PROMETHEUS_ENDPOINT"].endswith(f":{asked['temporal']}")


def labels_of(selectors: str) -> set[str]:
    return set(re.findall(r"([a-z_]+)\s*[=!]~?", selectors))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_metrics_are_known_by_their_samples() -> None:
    histogram = Metric(name="waypost_x_seconds", kind="histogram", text="", labels=("lane",))
    assert {"waypost_x_seconds_bucket", "waypost_x_seconds_count", "waypost_x_seconds_sum"} == histogram.samples()
