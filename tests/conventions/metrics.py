"""Every metric that a process of the product exports, found in its source rather than by running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.conventions.sources import PRODUCT, Module, modules

_KINDS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric as its constructor says."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]

    def samples(self) -> set[str]:
        """The names under which it is exported."""
        match self.kind:
            case "counter":
                return {f"{self.name.removesuffix('_total')}_total"}
            case "histogram":
                return {f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum"}
            case _:
                return {self.name}

    @property
    def shown(self) -> str:
        """The name that a person looks for."""
        return f"{self.name.removesuffix('_total')}_total" if self.kind == "counter" else self.name


def all_metrics() -> list[Metric]:
    """The product's metrics, in the order of the files."""
    return [metric for module in modules(*PRODUCT) for metric in _of(module)]


def _of(module: Module) -> Iterator[Metric]:
    if "prometheus_client" not in module.text:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _KINDS:
            name, text, *labels = (ast.literal_eval(argument) for argument in node.args)
            yield Metric(name=name, kind=_KINDS[node.func.id], text=text, labels=tuple(labels[0]) if labels else ())
