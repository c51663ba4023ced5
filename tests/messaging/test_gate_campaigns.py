"""The gate where campaigns and journeys ask it: topics, runs, quiet hours, windows, caps, and what is late then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messaging.test_gate import FREE, HOUR, NOW
from waypost.messaging.gate import (
    Defer,
    GateFacts,
    Refuse,
    Send,
    SendingRules,
    TopicFacts,
    verdict,
)
from waypost.messaging.rules import EVERY_DAY, FrequencyCap, QuietHours, SendWindow
from waypost.messaging.values import (
    AccountState,
    Channel,
    MessageClass,
    Outcome,
    RunState,
    Subscription,
    SuppressionReason,
    TenantState,
)
from waypost.messaging.zones import find_zone, zone_names

DAY = timedelta(days=1)
MARKETING = replace(FREE, message_class=MessageClass.MARKETING, expires_at=NOW + 3 * DAY)
"""A recipient that nothing holds. It is Tuesday noon in UTC."""

NIGHT = QuietHours(start=time(21), end=time(8))
OFFICE = SendWindow(days=EVERY_DAY[:5], start=time(9), end=time(17))
DAILY = FrequencyCap(limit=2, period=DAY)


def ruled(facts: GateFacts = MARKETING, **rules: object) -> GateFacts:
    return replace(facts, rules=replace(facts.rules, **rules))  # type: ignore[arg-type]  # a field of SendingRules


def test_a_recipient_that_nothing_holds_is_sent_to() -> None:
    assert verdict(MARKETING) == Send()
    assert verdict(ruled(quiet_hours=NIGHT, window=OFFICE, caps=(DAILY,))) == Send()


def test_leaving_newsletters_stops_marketing_alone() -> None:
    left = replace(MARKETING, suppression=SuppressionReason.UNSUBSCRIBED)
    assert verdict(left) == Refuse(Outcome.SUPPRESSED, "unsubscribed")
    assert verdict(replace(left, message_class=MessageClass.TRANSACTIONAL)) == Send()


@pytest.mark.parametrize(
    ("opt_in", "word", "reason"),
    [
        (True, Subscription.SUBSCRIBED, None),
        (False, Subscription.SUBSCRIBED, None),
        (False, None, None),
        (True, None, "topic_not_subscribed"),
        (True, Subscription.PENDING, "topic_unconfirmed"),
        (False, Subscription.PENDING, "topic_unconfirmed"),
        (True, Subscription.UNSUBSCRIBED, "topic_unsubscribed"),
        (False, Subscription.UNSUBSCRIBED, "topic_unsubscribed"),
    ],
)
def test_a_topic_is_kept_to(opt_in: bool, word: Subscription | None, reason: str | None) -> None:
    told = verdict(replace(MARKETING, topic=TopicFacts(opt_in=opt_in, subscription=word)))
    assert told == (Refuse(Outcome.SUPPRESSED, reason) if reason else Send())


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (RunState.SCHEDULED, "campaign_not_started"),
        (RunState.PREPARING, "campaign_not_started"),
        (RunState.PAUSED, "campaign_paused"),
        (RunState.HALTED, "campaign_halted"),
    ],
)
def test_a_run_that_is_not_sending_holds_its_recipients(state: RunState, reason: str) -> None:
    held = verdict(replace(MARKETING, run=state))
    assert isinstance(held, Defer)
    assert (held.reason, held.until > NOW) == (reason, True)


def test_a_cancelled_run_ends_its_recipients() -> None:
    assert verdict(replace(MARKETING, run=RunState.CANCELLED)) == Refuse(Outcome.CANCELLED, "campaign_cancelled")


def test_quiet_hours_are_the_contacts() -> None:
    night = ruled(quiet_hours=NIGHT)
    assert verdict(replace(night, zone="Asia/Tokyo")) == Defer(datetime(2026, 11, 24, 23, tzinfo=UTC), "quiet_hours")
    assert verdict(replace(night, zone="Europe/Vienna")) == Send()


@pytest.mark.parametrize("zone", [None, "Europe/Atlantis"])
def test_a_contact_without_a_zone_of_its_own_is_in_the_tenants(zone: str | None) -> None:
    told = verdict(replace(ruled(quiet_hours=NIGHT, zone="Asia/Tokyo"), zone=zone))
    assert told == Defer(datetime(2026, 11, 24, 23, tzinfo=UTC), "quiet_hours")


def test_a_window_opens_on_the_next_of_its_days() -> None:
    late = replace(ruled(window=OFFICE), now=NOW + 6 * HOUR)
    assert verdict(late) == Defer(datetime(2026, 11, 25, 9, tzinfo=UTC), "send_window")


def test_quiet_hours_and_window_are_waited_out_together() -> None:
    """The window opens while it is quiet: one deferral to when both allow it."""
    both = ruled(quiet_hours=NIGHT, window=SendWindow(start=time(7), end=time(12)))
    assert verdict(both) == Defer(datetime(2026, 11, 25, 8, tzinfo=UTC), "send_window")


def test_what_expires_before_it_may_go_out_ends_at_once_and_says_why() -> None:
    soon = replace(MARKETING, zone="Asia/Tokyo", expires_at=NOW + HOUR)
    assert verdict(ruled(soon, quiet_hours=NIGHT)) == Refuse(Outcome.EXPIRED, "expired_in_quiet_hours")
    assert verdict(ruled(soon, window=OFFICE)) == Refuse(Outcome.EXPIRED, "expired_outside_send_window")


def test_a_window_that_is_all_quiet_never_opens() -> None:
    never = ruled(quiet_hours=NIGHT, window=SendWindow(start=time(22), end=time(23)))
    assert verdict(never) == Refuse(Outcome.EXPIRED, "expired_outside_send_window")


def test_a_cap_skips_who_had_enough() -> None:
    lately = (NOW - HOUR, NOW - 2 * HOUR)
    capped = ruled(caps=(DAILY,))
    assert verdict(replace(capped, sent_at=lately, sent_at_any=lately)) == Refuse(Outcome.SKIPPED, "frequency_cap")
    assert verdict(replace(capped, sent_at=lately[:1], sent_at_any=lately[:1])) == Send()


def test_a_cap_of_another_channel_is_none() -> None:
    of_texts = ruled(caps=(FrequencyCap(channel=Channel.SMS, limit=1, period=DAY),))
    assert verdict(replace(of_texts, sent_at=(NOW,), sent_at_any=(NOW,))) == Send()
    assert verdict(replace(of_texts, channel=Channel.SMS, sent_at=(NOW,), sent_at_any=(NOW,))) == Refuse(
        Outcome.SKIPPED, "frequency_cap"
    )


def test_a_cap_is_asked_only_of_what_would_go_now() -> None:
    """In the morning, when the quiet hours are over, the cap may allow it."""
    full = ruled(replace(MARKETING, sent_at=(NOW,), sent_at_any=(NOW,)), caps=(FrequencyCap(limit=1, period=HOUR),))
    assert isinstance(verdict(full), Refuse)
    assert isinstance(verdict(replace(ruled(full, quiet_hours=NIGHT), zone="Asia/Tokyo")), Defer)
    assert isinstance(verdict(replace(full, run=RunState.PAUSED)), Defer)


@pytest.mark.parametrize("policy", ["skip", "ask"])
def test_hours_in_which_it_may_not_go_out_do_not_make_it_late(policy: str) -> None:
    """Meant for 22:00, held by the quiet hours until 8:00: at 8:30 it is half an hour late, not ten and a half."""
    facts = ruled(replace(MARKETING, late_policy=policy, late_after=HOUR), quiet_hours=NIGHT)
    meant = datetime(2026, 11, 23, 22, tzinfo=UTC)
    morning = replace(facts, meant_for=meant, due_at=meant, now=datetime(2026, 11, 24, 8, 30, tzinfo=UTC))
    assert verdict(morning) == Send()
    assert verdict(replace(morning, now=morning.now + HOUR)) != Send()


_rules = st.builds(
    SendingRules,
    zone=st.sampled_from(sorted(zone_names())),
    quiet_hours=st.sampled_from([None, NIGHT, QuietHours(start=time(11), end=time(13))]),
    window=st.sampled_from(
        [None, OFFICE, SendWindow(start=time(22), end=time(2)), SendWindow(start=time(1), end=time(2))]
    ),
    caps=st.sampled_from([(), (DAILY,), (FrequencyCap(channel=Channel.SMS, limit=1, period=DAY), DAILY)]),
)
_times = st.integers(-2000, 2000).map(lambda minutes: NOW + timedelta(minutes=minutes))
_sent = st.lists(_times, max_size=4).map(tuple)
_facts = st.builds(
    GateFacts,
    now=_times,
    due_at=st.just(NOW - 2 * DAY),
    expires_at=_times,
    meant_for=_times,
    cancel_requested=st.just(False),
    message_class=st.sampled_from(list(MessageClass)),
    tenant=st.just(TenantState.ACTIVE),
    late_policy=st.sampled_from(["send", "skip", "ask"]),
    late_after=st.integers(0, 600).map(lambda minutes: timedelta(minutes=minutes)),
    account=st.just(AccountState.OPEN),
    suppression=st.sampled_from([None, *SuppressionReason]),
    consent=st.sampled_from([None, True, False]),
    run=st.sampled_from(RunState),
    topic=st.none()
    | st.builds(TopicFacts, opt_in=st.booleans(), subscription=st.none() | st.sampled_from(Subscription)),
    rules=_rules,
    zone=st.none() | st.sampled_from([*sorted(zone_names()), "Europe/Atlantis"]),
    channel=st.sampled_from(Channel),
    sent_at=_sent,
    sent_at_any=_sent,
)


@given(_facts)
def test_nothing_goes_out_when_the_rules_forbid_it(facts: GateFacts) -> None:
    if verdict(facts) != Send():
        return
    zone = facts.zone if facts.zone in zone_names() else facts.rules.zone
    assert zone is not None
    local = facts.now.astimezone(find_zone(zone))
    assert facts.rules.quiet_hours is None or not facts.rules.quiet_hours.holds(local)
    assert facts.rules.window is None or facts.rules.window.holds(local)
    assert facts.run in (RunState.SENDING, RunState.COMPLETED)
    assert facts.suppression is None or facts.message_class is not MessageClass.MARKETING
    if facts.rules.caps:
        assert sum(at > facts.now - DAY for at in facts.sent_at_any) < 2


@given(_facts)
def test_a_deferral_by_the_clock_is_to_when_both_rules_allow_it(facts: GateFacts) -> None:
    told = verdict(facts)
    if isinstance(told, Defer):
        assert told.until > facts.now
        if told.reason in ("quiet_hours", "send_window"):
            assert told.until < facts.expires_at
            again = replace(facts, now=told.until, late_policy="send", sent_at=(), sent_at_any=())
            assert verdict(again) == Send()
