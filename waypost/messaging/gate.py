"""The one gate: whether a message may go out now, later or never.

Called at send time with facts read in one statement. Pure: the same facts give the same verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from waypost.messaging.rules import (
    FrequencyCap,
    QuietHours,
    SendWindow,
    after_quiet_hours,
    cap_is_reached,
    next_in_window,
)
from waypost.messaging.values import (
    ARRIVED,
    AccountState,
    Channel,
    Delivery,
    MessageClass,
    Outcome,
    RunState,
    Subscription,
    SuppressionReason,
    TenantState,
)
from waypost.messaging.zones import known_zone


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
"""A row of a suspended tenant, paused account or paused run is not dispatched at all; this dates one that raced.
Short, for such a row waits so long after a resume."""

_PAUSED_RECHECK = timedelta(days=1)
"""What a paused journey holds is looked at again so often; a resume moves the rows of who is still in it."""

JOURNEY_PAUSED = "journey_paused"
"""Why a paused journey's message waits; a resume ends it, and what is late by it is judged then."""

LATE_NEEDS_APPROVAL = "late_needs_approval"
"""Why a late message waits whose tenant wants to be asked; a release ends it."""

FREQUENCY_CAP = "frequency_cap"
"""Why a recipient is skipped who had as much as the tenant's caps allow: the claim says so as well as the gate."""

_MARKETING_ONLY = frozenset({SuppressionReason.UNSUBSCRIBED})
"""Leaving newsletters does not stop receipts and login codes; every other suppression stops everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryFacts:
    """What a fallback needs to know of the message it stands in for."""

    outcome: Outcome | None
    delivery: Delivery
    bounced: bool
    undeliverable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """The topic that a campaign or journey writes on, and the contact's word on it (None: never asked)."""

    opt_in: bool
    subscription: Subscription | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingRules:
    """The tenant's and the run's rules of when people are written to; the same for a whole page of recipients.

    What a run ignores is left away by who makes it. `zone` is where a contact is of whose own zone nothing is known.
    """

    zone: str = "UTC"
    quiet_hours: QuietHours | None = None
    window: SendWindow | None = None
    caps: tuple[FrequencyCap, ...] = ()


FREE_RULES = SendingRules()


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
    """The run's, where it has one; else the tenant's."""
    late_after: timedelta
    account: AccountState
    suppression: SuppressionReason | None
    consent: bool | None
    """The contact's word on this channel; None: never asked."""
    primary: PrimaryFacts | None = None
    contact_deleted: bool = False
    """The message is for a contact that is not there any more, nor is its word."""
    run: RunState = RunState.SENDING
    """Of a campaign's recipient; of everything else as if it were one of a run that is sending."""
    topic: TopicFacts | None = None
    rules: SendingRules = FREE_RULES
    zone: str | None = None
    """The contact's."""
    channel: Channel = Channel.EMAIL
    journey_paused: bool = False
    """Of a journey's message that only the dispatcher drives."""
    sent_at: Sequence[datetime] = ()
    """When the contact was written to on this channel, as far as caps look back; `sent_at_any`: on any channel."""
    sent_at_any: Sequence[datetime] = ()


def verdict(facts: GateFacts) -> Verdict:
    """Refusals first, for they are final; then what makes the message wait; a cap counts only for what would go now."""
    return _refusal(facts) or _hold(facts) or _wait_for_the_hour(facts) or _cap(facts) or Send()


def _refusal(facts: GateFacts) -> Refuse | None:
    if facts.tenant in (TenantState.CLOSING, TenantState.CLOSED):
        return Refuse(Outcome.CANCELLED, "tenant_closed")
    if facts.contact_deleted:
        return Refuse(Outcome.CANCELLED, "contact_deleted")
    if facts.run is RunState.CANCELLED:
        return Refuse(Outcome.CANCELLED, "campaign_cancelled")
    if facts.cancel_requested:
        return Refuse(Outcome.CANCELLED, "cancelled_by_caller")
    if facts.now >= facts.expires_at:
        return Refuse(Outcome.EXPIRED, "expired")
    if facts.primary is not None and _primary_arrived(facts.primary):
        return Refuse(Outcome.SKIPPED, "primary_delivered")
    if unwanted := _word_against_it(facts):
        return Refuse(Outcome.SUPPRESSED, unwanted)
    if facts.late_policy == "skip" and not facts.journey_paused and _is_late(facts):
        return Refuse(Outcome.SKIPPED, "late")
    return None


def _word_against_it(facts: GateFacts) -> str | None:
    """What the person, or the provider for them, has said that forbids it."""
    if facts.suppression is not None and (
        facts.message_class is MessageClass.MARKETING or facts.suppression not in _MARKETING_ONLY
    ):
        return facts.suppression
    if facts.consent is False:
        return "no_consent"
    return None if facts.topic is None else _topic_forbids(facts.topic)


def _topic_forbids(topic: TopicFacts) -> str | None:
    match topic.subscription:
        case None:
            return "topic_not_subscribed" if topic.opt_in else None
        case Subscription.SUBSCRIBED:
            return None
        case Subscription.PENDING:
            return "topic_unconfirmed"
        case Subscription.UNSUBSCRIBED:
            return "topic_unsubscribed"
        case _:
            assert_never(topic.subscription)


_RUN_WAITS = {
    RunState.SCHEDULED: "campaign_not_started",
    RunState.PREPARING: "campaign_not_started",
    RunState.PAUSED: "campaign_paused",
    RunState.HALTED: "campaign_halted",
}


def _hold(facts: GateFacts) -> Defer | None:
    if facts.tenant is TenantState.SUSPENDED:
        return Defer(facts.now + _HELD_RECHECK, "tenant_suspended")
    if facts.account is AccountState.PAUSED:
        return Defer(facts.now + _HELD_RECHECK, "account_paused")
    if facts.run in _RUN_WAITS:
        return Defer(facts.now + _HELD_RECHECK, _RUN_WAITS[facts.run])
    if facts.journey_paused:
        return Defer(facts.now + _PAUSED_RECHECK, JOURNEY_PAUSED)
    if facts.now < facts.due_at:
        return Defer(facts.due_at, "not_due")
    if facts.late_policy == "ask" and _is_late(facts):
        return Defer(facts.expires_at, LATE_NEEDS_APPROVAL)
    return None


_HOUR_REASONS = {
    "quiet_hours": "expired_in_quiet_hours",
    "send_window": "expired_outside_send_window",
}


def _wait_for_the_hour(facts: GateFacts) -> Defer | Refuse | None:
    """Quiet hours and send window; what would be worth nothing by then ends now, and says why."""
    allowed = _allowed_from(facts, facts.now)
    if allowed == facts.now:
        return None
    quiet, zone = facts.rules.quiet_hours, known_zone(facts.zone, facts.rules.zone)
    asleep = quiet is not None and after_quiet_hours(facts.now, quiet, zone) > facts.now
    reason = "quiet_hours" if asleep else "send_window"
    if allowed is None or allowed >= facts.expires_at:
        return Refuse(Outcome.EXPIRED, _HOUR_REASONS[reason])
    return Defer(allowed, reason)


def _allowed_from(facts: GateFacts, moment: datetime) -> datetime | None:
    """The first time from `moment` on that is not quiet and within the window; None: not before the message expires."""
    rules = facts.rules
    if rules.quiet_hours is None and rules.window is None:
        return moment
    zone = known_zone(facts.zone, rules.zone)
    while moment < facts.expires_at:
        before = moment
        if rules.quiet_hours is not None:
            moment = after_quiet_hours(moment, rules.quiet_hours, zone)
        if rules.window is not None:
            moment = next_in_window(moment, rules.window, zone)
        if moment == before:
            return moment
    return None


def _cap(facts: GateFacts) -> Refuse | None:
    caps = facts.rules.caps
    if caps and cap_is_reached(
        caps, channel=facts.channel, now=facts.now, sent=facts.sent_at, sent_any=facts.sent_at_any
    ):
        return Refuse(Outcome.SKIPPED, FREQUENCY_CAP)
    return None


def _primary_arrived(primary: PrimaryFacts) -> bool:
    return primary.delivery in ARRIVED and not (primary.bounced or primary.undeliverable)


def _is_late(facts: GateFacts) -> bool:
    """Later than it may be, by somebody's fault: hours in which the rules forbid it do not count as its delay."""
    if facts.now <= facts.meant_for + facts.late_after:
        return False
    allowed = _allowed_from(facts, facts.meant_for)
    return allowed is not None and facts.now > allowed + facts.late_after
