"""The ledger against a provider's log: what one has and the other has not, as sets of ids.

Pure. An acceptance is a line of the log; an attempt is a row of the ledger. Attempts whose fate is still open are
neither lost nor unexpected, and those assumed to be sent may be in the log or not.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from waypost.messaging.evidence import ACCEPTANCES, Resolution
from waypost.messaging.values import AttemptState, Outcome

_OPEN_QUESTIONS = frozenset({AttemptState.IN_FLIGHT, AttemptState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedAttempt:
    """One attempt of the ledger, with what of its message the audit needs."""

    id: UUID
    message_id: UUID
    state: AttemptState
    resolution: str | None
    provider_message_id: str | None
    address: str = field(repr=False)
    outcome: Outcome | None

    @property
    def counts_as_accepted(self) -> bool:
        """Whether the ledger says that the provider took it."""
        return self.state is AttemptState.ACCEPTED or self.resolution in ACCEPTANCES

    @property
    def is_undecided(self) -> bool:
        """Whether the ledger says that it does not know (yet)."""
        return self.state in _OPEN_QUESTIONS or (
            self.state is AttemptState.ABANDONED and self.resolution == Resolution.LOGIN_CODE_RETRY
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One line of the log: a recipient's message that the provider accepted."""

    number: int
    attempt_id: UUID | None
    provider_message_id: str | None
    recipient: str = field(repr=False)
    content: str
    """Stands for the content: equal where it was equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAudit:
    """The difference. Clean where the four sets are empty."""

    attempts: int
    acceptances: int
    agreed: int
    """Attempts that both count as accepted."""
    undecided: frozenset[UUID]
    """Attempts of which the ledger does not know yet."""
    maybe_sent: frozenset[UUID]
    """Attempts assumed to be sent."""
    allowed_duplicates: frozenset[UUID]
    """Messages of class login_code that were accepted twice: the one written exception."""
    lost: frozenset[UUID]
    """Attempts accepted by the ledger's account, of which the provider has nothing."""
    duplicated: frozenset[UUID]
    """Messages whose content the provider accepted more than once for the same recipient."""
    unexpected: frozenset[int]
    """Lines of the log whose attempt the ledger does not have, or holds to be not sent."""
    mismatched: frozenset[UUID]
    """Attempts for which ledger and log name another recipient or another provider's id."""

    @property
    def is_clean(self) -> bool:
        """Whether ledger and log tell the same."""
        return not (self.lost or self.duplicated or self.unexpected or self.mismatched)


class Comparison:
    """The log against attempts that come one by one: it keeps those that are in the log, and of others their ids."""

    def __init__(self, acceptances: Sequence[Acceptance]) -> None:
        self._acceptances = acceptances
        self._logged = frozenset(entry.attempt_id for entry in acceptances)
        self._known: dict[UUID, AuditedAttempt] = {}
        self._attempts = 0
        self._agreed = 0
        self._lost: set[UUID] = set()
        self._undecided: set[UUID] = set()
        self._maybe_sent: set[UUID] = set()

    def add(self, attempt: AuditedAttempt) -> None:
        """One more attempt, none twice."""
        self._attempts += 1
        is_logged = attempt.id in self._logged
        if is_logged:
            self._known[attempt.id] = attempt
        if attempt.counts_as_accepted:
            self._agreed += is_logged
            if not is_logged:
                self._lost.add(attempt.id)
        if attempt.is_undecided:
            self._undecided.add(attempt.id)
        if attempt.state is AttemptState.ASSUMED_SENT:
            self._maybe_sent.add(attempt.id)

    def result(self) -> LedgerAudit:
        """The difference, once every attempt was added."""
        doubled, allowed = _doubled(self._known, self._acceptances)
        return LedgerAudit(
            attempts=self._attempts,
            acceptances=len(self._acceptances),
            agreed=self._agreed,
            undecided=frozenset(self._undecided),
            maybe_sent=frozenset(self._maybe_sent),
            allowed_duplicates=allowed,
            lost=frozenset(self._lost),
            duplicated=doubled,
            unexpected=frozenset(e.number for e in self._acceptances if not _accounted_for(self._known, e)),
            mismatched=frozenset(
                e.attempt_id for e in self._acceptances if e.attempt_id in self._known and _differs(self._known, e)
            ),
        )


def audit(attempts: Iterable[AuditedAttempt], acceptances: Sequence[Acceptance]) -> LedgerAudit:
    """Compare the whole ledger of an account with the whole log of it."""
    comparison = Comparison(acceptances)
    for attempt in attempts:
        comparison.add(attempt)
    return comparison.result()


def _doubled(
    ledger: dict[UUID, AuditedAttempt], acceptances: Iterable[Acceptance]
) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """Two messages may well carry the same content to the same person; one message may not arrive twice."""
    groups: defaultdict[tuple[str, str], list[AuditedAttempt]] = defaultdict(list)
    for entry in acceptances:
        attempt = ledger.get(entry.attempt_id) if entry.attempt_id else None
        if attempt is not None:
            groups[entry.recipient.lower(), entry.content].append(attempt)
    doubled: set[UUID] = set()
    allowed: set[UUID] = set()
    for group in groups.values():
        for message in _repeated(group):
            excused = any(a.resolution == Resolution.ALLOWED_DUPLICATE for a in group if a.message_id == message)
            (allowed if excused else doubled).add(message)
    return frozenset(doubled), frozenset(allowed)


def _repeated(group: Sequence[AuditedAttempt]) -> set[UUID]:
    seen: set[UUID] = set()
    return {a.message_id for a in group if a.message_id in seen or seen.add(a.message_id)}  # type: ignore[func-returns-value]  # add's None is what makes it work


def _accounted_for(ledger: dict[UUID, AuditedAttempt], entry: Acceptance) -> bool:
    attempt = ledger.get(entry.attempt_id) if entry.attempt_id else None
    if attempt is None:
        return False
    return attempt.counts_as_accepted or attempt.is_undecided or attempt.state is AttemptState.ASSUMED_SENT


def _differs(ledger: dict[UUID, AuditedAttempt], entry: Acceptance) -> bool:
    assert entry.attempt_id is not None
    attempt = ledger[entry.attempt_id]
    known, told = attempt.provider_message_id, entry.provider_message_id
    return attempt.address.lower() != entry.recipient.lower() or (None not in (known, told) and known != told)
