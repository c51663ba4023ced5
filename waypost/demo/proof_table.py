"""The proof as a table for a person: what was promised, what came of it, and what must be nothing."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from waypost.demo.endings import End
from waypost.demo.proof import Proof, Tally
from waypost.messaging.values import Channel

_ALWAYS = frozenset({End.DELIVERED, End.COMPLAINED, End.BOUNCED, End.SUPPRESSED})
"""Shown also when there are none."""
_SENT = (
    ("delivered", (End.DELIVERED, End.OPENED, End.CLICKED)),
    ("  and opened or clicked", (End.OPENED, End.CLICKED)),
    ("delivered, and complained about", (End.COMPLAINED,)),
    ("bounced", (End.BOUNCED,)),
    ("not reached for now", (End.NOT_REACHED,)),
    ("undeliverable", (End.UNDELIVERABLE,)),
    ("no report from the provider", (End.UNREPORTED,)),
)
_NOT_SENT = (
    ("suppressed, by the list", End.SUPPRESSED),
    ("skipped, fallback not needed", End.SKIPPED),
    ("failed, refused by the provider", End.FAILED),
    ("cancelled", End.CANCELLED),
    ("expired", End.EXPIRED),
)


def proof_table(proof: Proof) -> Table:
    """Three columns of numbers, then what must be nothing."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Messages", no_wrap=True)
    for heading in ("e-mail", "SMS", "all"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=7)
    table.add_column("", no_wrap=True)
    columns = (proof.channels[Channel.EMAIL], proof.channels[Channel.SMS], proof.all)
    for label, numbers, note in _rows(columns):
        table.add_row(label, *(str(number) if number else "[dim]·[/]" for number in numbers), note)
    table.add_section()
    for label, number in (("unknown", proof.unknown), ("lost", proof.lost), ("duplicated", proof.duplicated)):
        table.add_row(f"[bold]{label}[/]", "", "", f"[bold]{number}[/]", _mark(number == 0))
    return table


def _rows(columns: tuple[Tally, ...]) -> Iterator[tuple[str, list[int], str]]:
    everything = columns[-1]
    yield "[bold]accepted by the API[/]", [tally.accepted for tally in columns], ""
    agree = everything.sent == everything.logged
    yield "[bold]sent, says the ledger[/]", [tally.sent for tally in columns], _mark(agree)
    yield "[bold]sent, says the provider's log[/]", [tally.logged for tally in columns], _mark(agree)
    for label, ends in _SENT:
        numbers = [sum(tally.ends.get(end, 0) for end in ends) for tally in columns]
        if any(numbers) or ends[0] in _ALWAYS:
            yield f"  {label}", numbers, ""
    for label, end in _NOT_SENT:
        numbers = [tally.ends.get(end, 0) for tally in columns]
        if any(numbers) or end in _ALWAYS:
            yield label, numbers, ""
    under_way = [tally.ends.get(End.UNDERWAY, 0) for tally in columns]
    if any(under_way):
        yield "[red]still under way[/]", under_way, _mark(False)


def _mark(is_good: bool) -> str:
    return "[green]✓[/]" if is_good else "[red]✗[/]"
