"""What a drill or bench found: figures, and checks with their bounds. One JSON format, one table."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold. `bound` says how it is read: "= 0", "≤ 2", "≥ 20"."""

    name: str
    value: object
    bound: str
    ok: bool


def equals(name: str, value: object, wanted: object) -> Check:
    """The value must be exactly this."""
    return Check(name=name, value=value, bound=f"= {wanted}", ok=value == wanted)


def at_most(name: str, value: float, bound: float) -> Check:
    """The value must not be above the bound."""
    return Check(name=name, value=value, bound=f"≤ {bound:g}", ok=value <= bound)


def at_least(name: str, value: float, bound: float) -> Check:
    """The value must not be below the bound."""
    return Check(name=name, value=value, bound=f"≥ {bound:g}", ok=value >= bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole of it; passed where every check holds, and at least one was made."""

    name: str
    checks: tuple[Check, ...]
    figures: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """INCIDENTS' format."""
        checks = [{"name": c.name, "value": c.value, "bound": c.bound, "ok": c.ok} for c in self.checks]
        return {
            "name": self.name,
            "passed": self.passed,
            "figures": dict(self.figures),
            "checks": checks,
            "environment": dict(self.environment),
        }

    def write(self, path: Path) -> None:
        """Write the JSON."""
        path.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False, default=str) + "\n")


def environment(**more: object) -> dict[str, object]:
    """Where it was measured: enough to judge the figures by, nothing that names a machine or a person."""
    return {
        "waypost": version("waypost"),
        "temporalio": version("temporalio"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        **more,
    }


def show(report: Report, console: Console) -> None:
    """Figures and checks as tables, and the verdict."""
    if report.figures:
        console.print(_figures(report))
    console.print(_checks(report))
    verdict = "[bold green]passed[/]" if report.passed else "[bold red]failed[/]"
    console.print(f"{report.name}: {verdict}", highlight=False)


def _figures(report: Report) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, title="Figures", title_justify="left")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in report.figures.items():
        table.add_row(name, _text(value))
    return table


def _checks(report: Report) -> Table:
    table = Table("", "check", "value", "bound", box=None, pad_edge=False, title="Checks", title_justify="left")
    for check in report.checks:
        mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
        table.add_row(mark, check.name, _text(check.value), check.bound)
    return table


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return str(value)
