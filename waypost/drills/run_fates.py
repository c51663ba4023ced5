"""Each recipient each campaign run exactly once: the provider's log, told apart by run through the ledger."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from waypost.drills.report import Check, equals
from waypost.messaging.audit import Acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFates:
    """Of one run. Recipients by address."""

    name: str
    asked: int
    arrived: int
    lost: frozenset[str] = field(repr=False)
    """In the audience, and the provider never accepted it for them."""
    duplicated: frozenset[str] = field(repr=False)
    """Accepted for them more than once."""
    unexpected: frozenset[str] = field(repr=False)
    """Accepted for them, who are not in the audience."""

    def checks(self) -> list[Check]:
        """Exactly once."""
        return [
            equals(f"{self.name}: recipients reached", self.arrived, self.asked),
            equals(f"{self.name}: lost", len(self.lost), 0),
            equals(f"{self.name}: duplicated", len(self.duplicated), 0),
            equals(f"{self.name}: unexpected", len(self.unexpected), 0),
        ]

    def figures(self) -> dict[str, int]:
        """In numbers."""
        return {
            "asked": self.asked,
            "arrived": self.arrived,
            "lost": len(self.lost),
            "duplicated": len(self.duplicated),
            "unexpected": len(self.unexpected),
        }


def run_fates(
    audiences: Mapping[UUID, tuple[str, Collection[str]]],
    log: Iterable[Acceptance],
    run_of_attempts: Mapping[UUID, UUID],
) -> list[RunFates]:
    """Compare each run's audience, as (name, addresses), with what the provider accepted for the run."""
    arrivals: defaultdict[UUID | None, Counter[str]] = defaultdict(Counter)
    for entry in log:
        run = run_of_attempts.get(entry.attempt_id) if entry.attempt_id else None
        arrivals[run][entry.recipient.lower()] += 1
    return [_fates(name, set(asked), arrivals[run]) for run, (name, asked) in audiences.items()]


def _fates(name: str, asked: set[str], arrivals: Counter[str]) -> RunFates:
    return RunFates(
        name=name,
        asked=len(asked),
        arrived=len(asked & arrivals.keys()),
        lost=frozenset(asked - arrivals.keys()),
        duplicated=frozenset(recipient for recipient, times in arrivals.items() if times > 1),
        unexpected=frozenset(arrivals.keys() - asked),
    )
