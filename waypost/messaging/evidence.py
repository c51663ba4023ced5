"""What provider events prove about a message's attempts, whatever order they come in and however often.

Pure: `weigh` takes a message with all its attempts as the ledger has them, and returns them as they are once the events
are known too. An attempt that is out there becomes `accepted`. A closed one (`void`, `abandoned`) becomes `accepted`
where no other is open; with another open it keeps its state, for one open attempt a message is the ledger's law, and
its resolution says what was learnt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from waypost.messaging.status import EVIDENCE, DeliveryStatus
from waypost.messaging.values import OPEN_ATTEMPT_STATES, AttemptState, EventKind, Outcome


class Resolution(StrEnum):
    """How the state of an attempt came to be known after its call.

    evidence           the provider's event, or its list, shows that it was accepted
    late_acceptance    evidence of an attempt that was held to be not sent
    allowed_duplicate  the second acceptance of a login code: the written exception
    login_code_retry   given up after about 20 s, for a login code is worthless late
    absence            proof that it was never accepted
    horizon, expiry, tenant_closed, at_most_once, contact_erased   assumed sent: why nobody waits for proof any more
    """

    EVIDENCE = "evidence"
    LATE_ACCEPTANCE = "late_acceptance"
    ALLOWED_DUPLICATE = "allowed_duplicate"
    LOGIN_CODE_RETRY = "login_code_retry"
    ABSENCE = "absence"
    HORIZON = "horizon"
    EXPIRY = "expiry"
    TENANT_CLOSED = "tenant_closed"
    AT_MOST_ONCE = "at_most_once"
    CONTACT_ERASED = "contact_erased"


ACCEPTANCES = frozenset({Resolution.EVIDENCE, Resolution.LATE_ACCEPTANCE, Resolution.ALLOWED_DUPLICATE})
"""Resolutions of attempts that the provider is known to have accepted."""

FIRST_EVENTS = frozenset({EventKind.SEND, EventKind.REJECT, EventKind.RENDERING_FAILURE})
"""What a feed tells first of any attempt. SES sends no Send event for what it could not render."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAttempt:
    """One attempt's row, as far as evidence touches it."""

    id: UUID
    number: int
    state: AttemptState
    resolution: Resolution | None = None
    dup_accept: bool = False
    send_event_at: datetime | None = None
    provider_message_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may be out there."""
        return self.state in OPEN_ATTEMPT_STATES

    @property
    def was_accepted(self) -> bool:
        """Whether the provider is known to have taken it."""
        return self.state is AttemptState.ACCEPTED or self.resolution in ACCEPTANCES


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerMessage:
    """One message's row with its attempts, ordered by number."""

    outcome: Outcome | None
    outcome_reason: str | None
    status: DeliveryStatus
    attempts: tuple[LedgerAttempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One event about one attempt."""

    attempt_id: UUID
    kind: EventKind
    occurred_at: datetime
    machine: bool = False
    provider_message_id: str | None = None


def weigh(message: LedgerMessage, events: Sequence[Evidence]) -> LedgerMessage:
    """The message once the events are known. Any order and any number of copies give the same result.

    (One exception: of two attempts that were both held to be not sent and both turn out accepted, the one that is
    heard of first becomes `accepted`; the other is `dup_accept`. The message is the same.)
    """
    proofs = [event for event in events if event.kind in EVIDENCE]
    attempts = message.attempts
    for attempt in message.attempts:
        own = [event for event in proofs if event.attempt_id == attempt.id]
        if own:
            attempts = _replaced(attempts, _accept(_told(attempt, own), others_open=_another_open(attempts, attempt)))
    return LedgerMessage(
        outcome=_outcome(message, proofs),
        outcome_reason=_reason(message, proofs),
        status=_status(message.status, proofs),
        attempts=tuple(_labelled(attempt, attempts) for attempt in attempts),
    )


def _told(attempt: LedgerAttempt, events: Sequence[Evidence]) -> LedgerAttempt:
    first = [event.occurred_at for event in events if event.kind in FIRST_EVENTS]
    if attempt.send_event_at is not None:
        first.append(attempt.send_event_at)
    named = (event.provider_message_id for event in events if event.provider_message_id)
    # Not replace(), which takes five times as long: this runs once an event of the feed.
    return LedgerAttempt(
        id=attempt.id,
        number=attempt.number,
        state=attempt.state,
        resolution=attempt.resolution,
        dup_accept=attempt.dup_accept,
        send_event_at=min(first, default=None),
        provider_message_id=attempt.provider_message_id or next(named, None),
    )


def _accept(attempt: LedgerAttempt, *, others_open: bool) -> LedgerAttempt:
    if attempt.was_accepted:
        return attempt
    match attempt.state:
        case AttemptState.IN_FLIGHT | AttemptState.UNKNOWN | AttemptState.ASSUMED_SENT | AttemptState.ACCEPTED:
            return replace(attempt, state=AttemptState.ACCEPTED, resolution=Resolution.EVIDENCE)
        case AttemptState.ABANDONED:
            state = AttemptState.ABANDONED if others_open else AttemptState.ACCEPTED
            return replace(attempt, state=state, resolution=Resolution.EVIDENCE)
        case AttemptState.VOID:
            state = AttemptState.VOID if others_open else AttemptState.ACCEPTED
            return replace(attempt, state=state, resolution=Resolution.LATE_ACCEPTANCE)
        case AttemptState.REJECTED:
            return replace(attempt, resolution=Resolution.LATE_ACCEPTANCE)
        case _:
            assert_never(attempt.state)


def _labelled(attempt: LedgerAttempt, attempts: Sequence[LedgerAttempt]) -> LedgerAttempt:
    """Say of an acceptance beside another one what it is: a duplicate, or a login code's allowed one."""
    if not attempt.was_accepted or attempt.is_open:
        return attempt
    others = [other for other in attempts if other.id != attempt.id]
    if attempt.state is AttemptState.ABANDONED:
        doubled = any(other.was_accepted for other in others)
        return replace(attempt, resolution=Resolution.ALLOWED_DUPLICATE) if doubled else attempt
    doubled = any(other.was_accepted or other.is_open for other in others)
    return replace(attempt, dup_accept=attempt.dup_accept or doubled)


def _outcome(message: LedgerMessage, proofs: Sequence[Evidence]) -> Outcome | None:
    return Outcome.SENT if proofs and message.outcome in (None, Outcome.MAYBE_SENT) else message.outcome


def _reason(message: LedgerMessage, proofs: Sequence[Evidence]) -> str | None:
    if not proofs or message.outcome not in (None, Outcome.MAYBE_SENT):
        return message.outcome_reason
    return "accepted" if message.outcome is None else "evidence"


def _status(status: DeliveryStatus, proofs: Iterable[Evidence]) -> DeliveryStatus:
    for event in proofs:
        if not event.machine:
            status = status.after(event.kind)
        elif event.kind is EventKind.BOUNCE:  # an automatic reply, perhaps; a scanner's open tells nothing at all
            status = status.after(EventKind.DELAY)
    return status


def _another_open(attempts: Sequence[LedgerAttempt], attempt: LedgerAttempt) -> bool:
    return any(other.is_open for other in attempts if other.id != attempt.id)


def _replaced(attempts: Sequence[LedgerAttempt], changed: LedgerAttempt) -> tuple[LedgerAttempt, ...]:
    return tuple(changed if attempt.id == changed.id else attempt for attempt in attempts)
