"""What a run learns of its first share: whether the rest may follow, and with which variant."""

from collections.abc import Sequence
from typing import Protocol, assert_never

from waypost.campaigns.definition import Canary, WinnerBy

NEEDS_APPROVAL = "needs_approval"
"""Why a prepared run is paused whose audience is larger than the tenant lets out without a second word."""

MIN_CANARY = 20
"""Of fewer recipients one bounce would be a rate that says nothing; then the counts alone decide: two of a kind."""


class Counted(Protocol):
    """The counts that decisions read."""

    @property
    def variant(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def opened(self) -> int: ...
    @property
    def clicked(self) -> int: ...
    @property
    def converted(self) -> int: ...
    @property
    def bounced(self) -> int: ...
    @property
    def complained(self) -> int: ...


def choose_winner(by: WinnerBy, counts: Sequence[Counted], *, variants: int) -> int:
    """The variant with the highest rate of what was sent; of equals, and where nothing was, the first."""
    rates = {one.variant: _successes(by, one) / one.sent for one in counts if one.sent > 0 and one.variant >= 0}
    return max(range(variants), key=lambda variant: (rates.get(variant, 0.0), -variant))


def canary_verdict(canary: Canary, counts: Sequence[Counted]) -> str | None:
    """Why the rest must not follow; None: it may."""
    sent = sum(one.sent for one in counts)
    if _over(sum(one.bounced for one in counts), sent, canary.max_bounce_rate):
        return "canary_bounces"
    if _over(sum(one.complained for one in counts), sent, canary.max_complaint_rate):
        return "canary_complaints"
    return None


def _over(bad: int, sent: int, bound: float) -> bool:
    return bad / sent > bound if sent >= MIN_CANARY else bad > 1


def _successes(by: WinnerBy, counted: Counted) -> int:
    match by:
        case WinnerBy.OPENS:
            return counted.opened
        case WinnerBy.CLICKS:
            return counted.clicked
        case WinnerBy.CONVERSIONS:
            return counted.converted
        case WinnerBy.MANUAL:
            return 0
    assert_never(by)
