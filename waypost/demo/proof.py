"""What came of a run, counted from the simulator's log and from the ledger, and compared with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from waypost.demo.endings import End, observed
from waypost.demo.watching import Foreseen, Rows
from waypost.drills.report import Check, Report, at_most, environment, equals
from waypost.messaging.audit import Acceptance, AuditedAttempt, LedgerAudit, audit
from waypost.messaging.values import Channel

_CHANNELS = (Channel.EMAIL, Channel.SMS)
_NOT_SENT = frozenset({End.UNDERWAY, End.UNKNOWN, End.FAILED, End.SUPPRESSED, End.SKIPPED, End.CANCELLED, End.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One channel's messages, or all of them, in numbers."""

    accepted: int
    ends: Mapping[End, int]
    logged: int
    """Acceptances in the provider's log."""

    @property
    def sent(self) -> int:
        """Of the ledger."""
        return sum(number for end, number in self.ends.items() if end not in _NOT_SENT)

    @property
    def delivered(self) -> int:
        """Opened ones are, and those that were complained about have arrived too."""
        return sum(self.ends[end] for end in (End.DELIVERED, End.OPENED, End.CLICKED, End.COMPLAINED))

    def __add__(self, other: Tally) -> Tally:
        ends = Counter(self.ends) + Counter(other.ends)
        return Tally(accepted=self.accepted + other.accepted, ends=ends, logged=self.logged + other.logged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The run's truth."""

    channels: Mapping[Channel, Tally]
    audit: LedgerAudit
    settled: int
    foreseen: int
    missing: int
    """Accepted messages that the ledger has no row of."""
    twice: int
    """Acceptances of what the provider had accepted before: the same content for the same recipient."""
    repeated: int
    repeated_right: int

    @property
    def all(self) -> Tally:
        """Both channels together."""
        return sum(self.channels.values(), Tally(accepted=0, ends=Counter(), logged=0))

    @property
    def unknown(self) -> int:
        """Messages of which the ledger can't say whether they were sent, in the end or not yet."""
        return len(self.audit.undecided) + len(self.audit.maybe_sent)

    @property
    def lost(self) -> int:
        """Promised by the API and not in the ledger; or sent by the ledger's account and not in the log."""
        return self.missing + len(self.audit.lost)

    @property
    def duplicated(self) -> int:
        """Sent twice, however it came about, but for a login code's one second try. No two messages of a run say the
        same to the same person."""
        return max(self.twice - len(self.audit.allowed_duplicates), len(self.audit.duplicated))

    def report(self, *, seconds: Mapping[str, float]) -> Report:
        """In the format that drills and benches share."""
        return Report(name="demo", checks=self._checks(), figures=self._figures(seconds), environment=environment())

    def _checks(self) -> tuple[Check, ...]:
        return (
            equals("lost", self.lost, 0),
            equals("duplicated", self.duplicated, 0),
            equals("unknown", self.unknown, 0),
            equals("in the provider's log, not in the ledger", len(self.audit.unexpected), 0),
            equals("another recipient or provider's id in the log", len(self.audit.mismatched), 0),
            equals("messages without an outcome", self.all.ends[End.UNDERWAY], 0),
            equals("messages that ended as their addresses foretell", self.settled, self.foreseen),
            equals("repeated calls that got the first answer", self.repeated_right, self.repeated),
            at_most("sent by the ledger beyond the provider's log", abs(self.all.sent - self.all.logged), 0),
        )

    def _figures(self, seconds: Mapping[str, float]) -> dict[str, object]:
        everything = self.all
        return {
            "accepted": everything.accepted,
            "sent": everything.sent,
            "accepted by the provider": everything.logged,
            "delivered": everything.delivered,
            "ends": {str(end): number for end, number in sorted(everything.ends.items())},
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
        }


def prove(
    *,
    rows: Rows,
    foreseen: Foreseen,
    repeats: tuple[int, int],
    attempts: Iterable[AuditedAttempt],
    log: Sequence[Acceptance],
    probes: Collection[UUID],
) -> Proof:
    """Compare. `attempts` are all of the ledger, `log` what was accepted since the run began, `repeats` how many calls
    were repeated and how many of them got the first answer. Traffic of others on the same stack is left out."""
    ledger = list(attempts)
    ours = [attempt for attempt in ledger if attempt.message_id in foreseen]
    others = {attempt.id for attempt in ledger if attempt.message_id not in foreseen} | set(probes)
    entries = [entry for entry in log if entry.attempt_id not in others]
    channel_of = {a.id: Channel(rows[a.message_id]["channel"]) for a in ours if a.message_id in rows}
    repeated, right = repeats
    return Proof(
        channels={channel: _tally(channel, rows.values(), entries, channel_of) for channel in _CHANNELS},
        audit=audit(ours, entries),
        settled=sum(observed(rows[message]) in ends for message, ends in foreseen.items() if message in rows),
        foreseen=len(foreseen),
        missing=len(foreseen.keys() - rows.keys()),
        twice=len(entries) - len({(entry.recipient.lower(), entry.content) for entry in entries}),
        repeated=repeated,
        repeated_right=right,
    )


def _tally(
    channel: Channel,
    rows: Iterable[Mapping[str, Any]],
    entries: Iterable[Acceptance],
    channel_of: Mapping[UUID, Channel],
) -> Tally:
    mine = [row for row in rows if row["channel"] == channel]
    logged = sum(channel_of.get(entry.attempt_id) is channel for entry in entries if entry.attempt_id is not None)
    return Tally(accepted=len(mine), ends=Counter(observed(row) for row in mine), logged=logged)
