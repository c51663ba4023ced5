"""When an arm's recipients arrived at the provider, by the simulators' own log."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from waypost.simulators.control_client import ControlClient

_EDGE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Times in seconds on the machine's monotonic clock, in order; one a recipient."""

    times: "array[float]" = field(repr=False)

    @property
    def count(self) -> int:
        """Recipients."""
        return len(self.times)

    @property
    def first(self) -> float:
        """When the first came."""
        return self.times[0]

    @property
    def last(self) -> float:
        """When the last came."""
        return self.times[-1]

    @property
    def seconds(self) -> float:
        """From the first to the last."""
        return self.last - self.first

    def rate(self) -> float:
        """Recipients a second over the middle 80 %: without the start, and without a tail that waits for evidence."""
        low, high = int(self.count * _EDGE), int(self.count * (1 - _EDGE)) - 1
        took = self.times[high] - self.times[low] if high > low else 0.0
        return (high - low) / took if took > 0 else 0.0


def arrivals(entries: Iterable[Mapping[str, Any]], *, word: str) -> Arrivals:
    """Those whose recipient is of the arm's crowd: `…+{word}-n@…`."""
    part = f"+{word}-"
    return Arrivals(times=array("d", sorted(entry["monotonic"] for entry in entries if part in entry["recipient"])))


def arrivals_of(control: ControlClient, *, word: str, since: int) -> Arrivals:
    """Read the log from a number on."""
    return arrivals(control.log(since), word=word)
