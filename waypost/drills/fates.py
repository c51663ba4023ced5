"""What became of messages by the provider's own log: what every arm of a drill, and its control, must face."""

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from waypost.drills.report import Check, equals
from waypost.messaging.audit import Acceptance, LedgerAudit


@dataclass(frozen=True, slots=True, kw_only=True)
class Fates:
    """Of messages with one recipient and one content each."""

    asked: int
    arrived: int
    lost: frozenset[str] = field(repr=False)
    """Recipients whose message the provider never accepted."""
    duplicated: frozenset[str] = field(repr=False)
    """Recipients for whom the provider accepted the same content twice."""

    def checks(self, arm: str) -> list[Check]:
        """Nothing lost, nothing doubled."""
        return [equals(f"{arm}: lost", len(self.lost), 0), equals(f"{arm}: duplicated", len(self.duplicated), 0)]

    @property
    def are_good(self) -> bool:
        """Whether every check holds."""
        return not self.lost and not self.duplicated

    def figures(self) -> dict[str, int]:
        """In numbers."""
        return {
            "asked": self.asked,
            "arrived": self.arrived,
            "lost": len(self.lost),
            "duplicated": len(self.duplicated),
        }


def fates(recipients: Iterable[str], log: Iterable[Acceptance], *, may_be_absent: Set[str] = frozenset()) -> Fates:
    """Compare what was asked for with what the provider accepted; `may_be_absent` are not counted as lost."""
    asked = set(recipients)
    arrivals = Counter((entry.recipient, entry.content) for entry in log if entry.recipient in asked)
    arrived = {recipient for recipient, _ in arrivals}
    return Fates(
        asked=len(asked),
        arrived=len(arrived),
        lost=frozenset(asked - arrived - may_be_absent),
        duplicated=frozenset(recipient for (recipient, _), times in arrivals.items() if times > 1),
    )


def audit_checks(found: LedgerAudit) -> list[Check]:
    """Ledger and log tell the same, as sets, and no question is left open."""
    return [
        equals("ledger against log: lost", len(found.lost), 0),
        equals("ledger against log: duplicated", len(found.duplicated), 0),
        equals("ledger against log: unexpected", len(found.unexpected), 0),
        equals("ledger against log: mismatched", len(found.mismatched), 0),
        equals("attempts left unknown", len(found.undecided), 0),
    ]
