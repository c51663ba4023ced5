"""What came of the demo's journey as a table for a person: each step, each end, and what must be nothing."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from waypost.demo.proof import Proof
from waypost.demo.walk import Walk


def walk_table(walk: Walk, proof: Proof) -> Table:
    """Two columns of numbers. `proof` is of the journey's messages alone."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("The journey", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("people", justify="right", no_wrap=True, min_width=7)
    table.add_column("", no_wrap=True)
    for row in _rows(walk, proof):
        table.add_row(*row)
    return table


def _rows(walk: Walk, proof: Proof) -> Iterator[tuple[str, str, str, str]]:
    yield "[bold]let in by an event[/]", "", str(walk.entered), ""
    for step, content in walk.journey.steps.items():
        yield f"  {step}", content.kind.replace("_", " "), str(walk.steps[step] or "[dim]·[/]"), ""
    everybody = walk.ended == walk.entered
    yield "[bold]have left it[/]", "", str(walk.ended), _mark(everybody)
    for (how, reason), number in sorted(walk.endings.items()):
        yield f"  {how.replace('_', ' ')}", reason.replace("_", " ") if reason != how else "", str(number), ""
    yield "[bold]as what they did leads to[/]", "", str(walk.right), _mark(walk.right == walk.entered)
    agree = proof.all.sent == proof.all.logged
    yield "[bold]its messages[/]", "", "", ""
    yield "  sent, says the ledger", "", str(proof.all.sent), _mark(agree)
    yield "  sent, says the provider's log", "", str(proof.all.logged), _mark(agree)
    for label, number in (("lost", proof.lost), ("duplicated", proof.duplicated)):
        yield f"  {label}", "", str(number), _mark(number == 0)


def _mark(is_good: bool) -> str:
    return "[green]✓[/]" if is_good else "[red]✗[/]"
