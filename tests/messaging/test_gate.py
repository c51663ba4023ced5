"""The gate: every branch, the order of its refusals, and that it never says yes where something forbids it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging.gate import Defer, GateFacts, PrimaryFacts, Refuse, Send, Verdict, verdict
from waypost.messaging.values import (
    AccountState,
    Delivery,
    MessageClass,
    Outcome,
    SuppressionReason,
    TenantState,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

FREE = GateFacts(
    now=NOW,
    due_at=NOW,
    expires_at=NOW + HOUR,
    meant_for=NOW,
    cancel_requested=False,
    message_class=MessageClass.TRANSACTIONAL,
    tenant=TenantState.ACTIVE,
    late_policy="send",
    late_after=timedelta(days=1),
    account=AccountState.OPEN,
    suppression=None,
    consent=None,
)
"""A message that nothing holds."""

ARRIVED = PrimaryFacts(outcome=Outcome.SENT, delivery=Delivery.DELIVERED, bounced=False, undeliverable=False)


def test_a_message_that_nothing_holds_is_sent() -> None:
    assert verdict(FREE) == Send()


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(FREE, tenant=TenantState.CLOSING), Refuse(Outcome.CANCELLED, "tenant_closed")),
        (replace(FREE, tenant=TenantState.CLOSED), Refuse(Outcome.CANCELLED, "tenant_closed")),
        (replace(FREE, cancel_requested=True), Refuse(Outcome.CANCELLED, "cancelled_by_caller")),
        (replace(FREE, expires_at=NOW), Refuse(Outcome.EXPIRED, "expired")),
        (replace(FREE, primary=ARRIVED), Refuse(Outcome.SKIPPED, "primary_delivered")),
        (replace(FREE, suppression=SuppressionReason.BOUNCE), Refuse(Outcome.SUPPRESSED, "bounce")),
        (replace(FREE, suppression=SuppressionReason.COMPLAINT), Refuse(Outcome.SUPPRESSED, "complaint")),
        (replace(FREE, suppression=SuppressionReason.STOP), Refuse(Outcome.SUPPRESSED, "stop")),
        (replace(FREE, suppression=SuppressionReason.MANUAL), Refuse(Outcome.SUPPRESSED, "manual")),
        (replace(FREE, consent=False), Refuse(Outcome.SUPPRESSED, "no_consent")),
        (replace(FREE, contact_deleted=True, cancel_requested=True), Refuse(Outcome.CANCELLED, "contact_deleted")),
        (
            replace(FREE, late_policy="skip", meant_for=NOW - HOUR, late_after=timedelta(minutes=59)),
            Refuse(Outcome.SKIPPED, "late"),
        ),
    ],
)
def test_what_refuses_a_message(facts: GateFacts, expected: Verdict) -> None:
    assert verdict(facts) == expected


def test_refusals_are_told_in_their_order() -> None:
    """Of several reasons the first is told, and the order does not change under a caller's feet."""
    reasons = []
    facts = replace(
        FREE,
        tenant=TenantState.CLOSED,
        cancel_requested=True,
        expires_at=NOW,
        primary=ARRIVED,
        suppression=SuppressionReason.STOP,
        consent=False,
        late_policy="skip",
        meant_for=NOW - 48 * HOUR,
    )
    lifted: list[dict[str, object]] = [
        {},
        {"tenant": TenantState.SUSPENDED},
        {"cancel_requested": False},
        {"expires_at": NOW + HOUR},
        {"primary": None},
        {"suppression": None},
        {"consent": True},
        {"late_policy": "send"},
    ]
    for change in lifted:
        facts = replace(facts, **change)  # type: ignore[arg-type]  # one field at a time
        told = verdict(facts)
        reasons.append(told.reason if isinstance(told, (Refuse, Defer)) else "send")
    assert reasons == [
        "tenant_closed",
        "cancelled_by_caller",
        "expired",
        "primary_delivered",
        "stop",
        "no_consent",
        "late",
        "tenant_suspended",
    ]


def test_leaving_a_newsletter_does_not_stop_receipts() -> None:
    assert verdict(replace(FREE, suppression=SuppressionReason.UNSUBSCRIBED)) == Send()


def test_consent_that_was_given_or_never_asked_for_lets_a_transactional_message_through() -> None:
    assert verdict(replace(FREE, consent=True)) == Send()
    assert verdict(replace(FREE, consent=None)) == Send()


@pytest.mark.parametrize("delivery", [Delivery.NONE, Delivery.DELAYED])
def test_a_fallback_goes_out_while_its_primary_has_not_arrived(delivery: Delivery) -> None:
    assert verdict(replace(FREE, primary=replace(ARRIVED, delivery=delivery))) == Send()


@pytest.mark.parametrize("delivery", [Delivery.DELIVERED, Delivery.OPENED, Delivery.CLICKED])
def test_a_fallback_is_skipped_once_its_primary_has_arrived(delivery: Delivery) -> None:
    assert verdict(replace(FREE, primary=replace(ARRIVED, delivery=delivery))) == Refuse(
        Outcome.SKIPPED, "primary_delivered"
    )


def test_a_primary_that_bounced_after_its_delivery_has_not_arrived() -> None:
    assert verdict(replace(FREE, primary=replace(ARRIVED, bounced=True))) == Send()
    assert verdict(replace(FREE, primary=replace(ARRIVED, undeliverable=True))) == Send()


def test_a_suspended_tenants_message_waits() -> None:
    held = verdict(replace(FREE, tenant=TenantState.SUSPENDED))
    assert isinstance(held, Defer)
    assert held.reason == "tenant_suspended"
    assert held.until > NOW


def test_a_paused_accounts_message_waits_and_is_not_kept_when_the_account_is_resumed_early() -> None:
    held = verdict(replace(FREE, account=AccountState.PAUSED))
    assert isinstance(held, Defer)
    assert held.reason == "account_paused"
    assert NOW < held.until <= NOW + timedelta(seconds=1)


def test_a_message_waits_for_its_time() -> None:
    assert verdict(replace(FREE, due_at=NOW + HOUR)) == Defer(NOW + HOUR, "not_due")


def test_a_late_message_is_sent_skipped_or_held_as_the_tenant_says() -> None:
    late = replace(FREE, meant_for=NOW - 25 * HOUR)
    assert verdict(replace(late, late_policy="send")) == Send()
    assert verdict(replace(late, late_policy="skip")) == Refuse(Outcome.SKIPPED, "late")
    assert verdict(replace(late, late_policy="ask")) == Defer(late.expires_at, "late_needs_approval")


def test_a_paused_journey_holds_and_lateness_is_judged_when_it_goes_on() -> None:
    paused = replace(FREE, journey_paused=True, meant_for=NOW - 25 * HOUR)
    for policy in ("send", "skip", "ask"):
        assert verdict(replace(paused, late_policy=policy)) == Defer(NOW + timedelta(days=1), "journey_paused")
    assert verdict(replace(paused, consent=False)) == Refuse(Outcome.SUPPRESSED, "no_consent")


def test_a_message_within_the_grace_is_not_late() -> None:
    punctual = replace(FREE, meant_for=NOW - 24 * HOUR, late_policy="skip")
    assert verdict(punctual) == Send()


_times = st.integers(-100, 100).map(lambda minutes: NOW + timedelta(minutes=minutes))
_primaries = st.builds(
    PrimaryFacts,
    outcome=st.sampled_from([None, *Outcome]),
    delivery=st.sampled_from(list(Delivery)),
    bounced=st.booleans(),
    undeliverable=st.booleans(),
)
_facts = st.builds(
    GateFacts,
    now=st.just(NOW),
    due_at=_times,
    expires_at=_times,
    meant_for=_times,
    cancel_requested=st.booleans(),
    message_class=st.sampled_from(list(MessageClass)),
    tenant=st.sampled_from(list(TenantState)),
    late_policy=st.sampled_from(["send", "skip", "ask"]),
    late_after=st.integers(0, 60).map(lambda minutes: timedelta(minutes=minutes)),
    account=st.sampled_from(list(AccountState)),
    suppression=st.sampled_from([None, *SuppressionReason]),
    consent=st.sampled_from([None, True, False]),
    primary=st.none() | _primaries,
    contact_deleted=st.booleans(),
)


@given(_facts)
def test_nothing_goes_out_where_something_forbids_it(facts: GateFacts) -> None:
    if verdict(facts) != Send():
        return
    assert facts.tenant is TenantState.ACTIVE
    assert facts.account is AccountState.OPEN
    assert facts.due_at <= facts.now < facts.expires_at
    assert not facts.cancel_requested
    assert not facts.contact_deleted
    assert facts.suppression in (None, SuppressionReason.UNSUBSCRIBED)
    assert facts.consent is not False


@given(_facts)
def test_a_deferral_is_later_and_a_refusal_is_an_outcome_without_a_send(facts: GateFacts) -> None:
    told = verdict(facts)
    if isinstance(told, Defer):
        assert told.until > facts.now
    if isinstance(told, Refuse):
        assert told.outcome in {Outcome.CANCELLED, Outcome.EXPIRED, Outcome.SKIPPED, Outcome.SUPPRESSED}


@given(_facts)
def test_the_same_facts_give_the_same_verdict(facts: GateFacts) -> None:
    assert verdict(facts) == verdict(facts)
