"""The one gate: whether a message may go out now, later or never.

Called at send time with facts read in one statement. Pure: the same facts give the same verdict.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.messaging.values import (
    AccountState,
    Delivery,
    MessageClass,
    Outcome,
    SuppressionReason,
    TenantState,
)


@dataclass(frozen=True, slots=True)
class Send:
    """Go ahead: budget, claim, call."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Not before `until`. The row waits, not the execution."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never: this is the message's outcome."""

    outcome: Outcome
    reason: str


Verdict = Send | Defer | Refuse

_HELD_RECHECK = timedelta(seconds=1)
"""A suspended tenant's or paused account's row is not dispatched at all; this only dates a row that raced with it.
Short, for such a row waits so long after a resume."""

LATE_NEEDS_APPROVAL = "late_needs_approval"
"""Why a late message waits whose tenant wants to be asked; a release ends it."""

_DELIVERED = frozenset({Delivery.DELIVERED, Delivery.OPENED, Delivery.CLICKED})

_MARKETING_ONLY = frozenset({SuppressionReason.UNSUBSCRIBED})
"""Leaving newsletters does not stop receipts and login codes; every other suppression does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryFacts:
    """What a fallback needs to know of the message it stands in for."""

    outcome: Outcome | None
    delivery: Delivery
    bounced: bool
    undeliverable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """All that the verdict rests on. Times are aware; `now` is the database's."""

    now: datetime
    due_at: datetime
    expires_at: datetime
    meant_for: datetime
    """When it should have gone out: its send_at, or when it was accepted; a fallback's by its `after` later."""
    cancel_requested: bool
    message_class: MessageClass
    tenant: TenantState
    late_policy: str
    late_after: timedelta
    account: AccountState
    suppression: SuppressionReason | None
    consent: bool | None
    """The contact's word on this channel; None: never asked."""
    primary: PrimaryFacts | None = None
    contact_deleted: bool = False
    """The message is for a contact that is not there any more, nor is its word."""


def verdict(facts: GateFacts) -> Verdict:
    """Refusals first, for they are final; then what makes the message wait."""
    return _refusal(facts) or _deferral(facts) or Send()


def _refusal(facts: GateFacts) -> Refuse | None:
    if facts.tenant in (TenantState.CLOSING, TenantState.CLOSED):
        return Refuse(Outcome.CANCELLED, "tenant_closed")
    if facts.contact_deleted:
        return Refuse(Outcome.CANCELLED, "contact_deleted")
    if facts.cancel_requested:
        return Refuse(Outcome.CANCELLED, "cancelled_by_caller")
    if facts.now >= facts.expires_at:
        return Refuse(Outcome.EXPIRED, "expired")
    if facts.primary is not None and _primary_arrived(facts.primary):
        return Refuse(Outcome.SKIPPED, "primary_delivered")
    if facts.suppression is not None and facts.suppression not in _MARKETING_ONLY:
        return Refuse(Outcome.SUPPRESSED, facts.suppression)
    if facts.consent is False:
        return Refuse(Outcome.SUPPRESSED, "no_consent")
    if facts.late_policy == "skip" and _is_late(facts):
        return Refuse(Outcome.SKIPPED, "late")
    return None


def _deferral(facts: GateFacts) -> Defer | None:
    if facts.tenant is TenantState.SUSPENDED:
        return Defer(facts.now + _HELD_RECHECK, "tenant_suspended")
    if facts.account is AccountState.PAUSED:
        return Defer(facts.now + _HELD_RECHECK, "account_paused")
    if facts.now < facts.due_at:
        return Defer(facts.due_at, "not_due")
    if facts.late_policy == "ask" and _is_late(facts):
        return Defer(facts.expires_at, LATE_NEEDS_APPROVAL)
    return None


def _primary_arrived(primary: PrimaryFacts) -> bool:
    return primary.delivery in _DELIVERED and not (primary.bounced or primary.undeliverable)


def _is_late(facts: GateFacts) -> bool:
    return facts.now > facts.meant_for + facts.late_after
