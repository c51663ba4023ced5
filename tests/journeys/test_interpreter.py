"""What a journey means, moment by moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.journeys.examples import ANN, MONDAY, did, small
from waypost.journeys.happenings import (
    Answered,
    Around,
    ContactChanged,
    ContactDeleted,
    Happening,
    Moved,
    OnResume,
    Paused,
    Receipt,
    ReceiptKind,
    Removed,
    Resumed,
    WaitSkipped,
)
from waypost.journeys.interpreter import interpret
from waypost.journeys.trace import How, Trace
from waypost.journeys.walking import MAX_VISITS
from waypost.messaging.rules import FrequencyCap
from waypost.messaging.values import Channel, Outcome, Part, SuppressionReason

MINUTE, HOUR, DAY, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=7)

SEND = "a: {kind: send, channel: email, template: t, next: end}"
WAIT_AND_SEND = "a: {kind: wait, for: P1D, next: b}\nb: {kind: send, channel: email, template: t, next: end}"
WAIT_FOR = (
    "a: {kind: wait_for, for: {event: x}, timeout: P1D, next: seen, on_timeout: end}\nseen: {kind: exit, reason: seen}"
)
UNTIL = "a: {kind: wait, until: {time: 09:00}, next: b}\nb: {kind: send, channel: email, template: t, next: end}"
ON_DATE = (
    "a: {kind: wait, date: {attribute: day, at: 09:00}, otherwise: gone, next: b}\n"
    "b: {kind: send, channel: email, template: t, next: end}\n"
    "gone: {kind: exit, reason: gone}"
)
APPROVAL = (
    "a: {kind: approval, question: 'May it?', timeout: P1D, next: yes, on_reject: no, on_timeout: late}\n"
    "yes: {kind: exit, reason: yes}\nno: {kind: exit, reason: no}\nlate: {kind: exit, reason: late}"
)
WITH_FALLBACK = (
    "a: {kind: send, channel: email, template: t, fallback: {channel: sms, template: u, after: PT1H}, next: b}\n"
    "b: {kind: wait, for: PT30M, next: end}"
)
GOAL = "goal: {name: bought, event: purchase}"


def _end(trace: Trace) -> tuple[How, str, datetime]:
    assert trace.ending is not None
    return trace.ending.how, trace.ending.reason, trace.ending.at


def test_goal_comes_before_exits_and_both_before_the_step_that_waits_for_the_same() -> None:
    steps, bought = WAIT_FOR.replace("event: x", "event: purchase"), did("purchase", MONDAY + HOUR)
    exits = "exits: [{reason: out, event: purchase}]"
    both = interpret(small(steps, head=f"{GOAL}\n{exits}"), ANN, start=MONDAY, happenings=[bought])
    assert _end(both) == (How.GOAL, "bought", MONDAY + HOUR)
    one = interpret(small(steps, head=exits), ANN, start=MONDAY, happenings=[bought])
    assert _end(one) == (How.EXIT_RULE, "out", MONDAY + HOUR)
    assert one.ending is not None
    assert one.ending.step == "a"
    assert interpret(small(steps), ANN, start=MONDAY, happenings=[bought]).visits[0].edge == "next"


@pytest.mark.parametrize(("late", "reason"), [(timedelta(0), "seen"), (timedelta(microseconds=1), "completed")])
def test_an_event_wins_against_a_timeout_of_the_same_moment(late: timedelta, reason: str) -> None:
    trace = interpret(small(WAIT_FOR), ANN, start=MONDAY, happenings=[did("x", MONDAY + DAY + late)])
    assert _end(trace)[1] == reason


def test_what_happens_at_one_moment_is_taken_in_the_order_of_receipt() -> None:
    steps = WAIT_FOR.replace("seen: {kind: exit, reason: seen}", SEND.replace("a:", "seen:"))
    seen, left = did("x", MONDAY + HOUR), did("bye", MONDAY + HOUR)
    journey = small(steps, head="exits: [{reason: bye, event: bye}]")
    assert interpret(journey, ANN, start=MONDAY, happenings=[seen, left]).sends
    assert not interpret(journey, ANN, start=MONDAY, happenings=[left, seen]).sends


def test_an_event_of_before_counts_for_conditions_alone() -> None:
    before = did("x", MONDAY - HOUR)
    assert _end(interpret(small(WAIT_FOR), ANN, start=MONDAY, happenings=[before]))[1] == "completed"
    condition = WAIT_FOR.replace("{event: x}", "{condition: {kind: event, name: x}}")
    trace = interpret(small(condition), ANN, start=MONDAY, happenings=[before])
    assert _end(trace) == (How.EXIT, "seen", MONDAY)
    assert trace.visits[0].waited_until is None


def test_conditions_are_looked_at_before_each_step_so_that_a_step_can_make_a_goal() -> None:
    head = "goal: {name: done, condition: {kind: attribute, name: n, is: {op: eq, value: 1}}}"
    steps = "a: {kind: update_contact, set: {n: {property: n}}, next: b}\n" + SEND.replace("a:", "b:")
    assert _end(interpret(small(steps, head=head), ANN, start=MONDAY, data={"n": 1}))[0] is How.GOAL
    assert interpret(small(steps, head=head), ANN, start=MONDAY, data={"n": 2}).sends


def test_what_it_emits_itself_follows_after_the_steps_of_that_moment() -> None:
    steps = "a: {kind: emit_event, event: x, properties: {n: {property: n}}, next: b}\n" + WAIT_FOR.replace(
        "a:", "b:"
    ).replace("event: x", "event: x, where: [{property: n, is: {op: eq, value: 3}}]")
    assert _end(interpret(small(steps), ANN, start=MONDAY, data={"n": 3})) == (How.EXIT, "seen", MONDAY)
    assert _end(interpret(small(steps), ANN, start=MONDAY, data={"n": 4}))[1] == "completed"


def test_what_was_waited_for_is_kept_for_later_steps() -> None:
    steps = (
        "a: {kind: wait_for, for: {event: x}, keep_as: order, timeout: P1D, next: b, on_timeout: end}\n"
        "b: {kind: update_contact, set: {last: {property: order.id}}, next: end}"
    )
    trace = interpret(small(steps), ANN, start=MONDAY, happenings=[did("x", MONDAY + HOUR, id=7)])
    assert trace.acts[0].detail == {"last": 7}


def test_a_wait_until_a_date_moves_with_the_date() -> None:
    ann = replace(ANN, attributes={"day": "2026-11-26"})
    at = datetime(2026, 11, 26, 8, tzinfo=UTC)
    assert interpret(small(ON_DATE), ann, start=MONDAY).sends[0].at == at
    later = ContactChanged(at=MONDAY + DAY, attributes={"day": "2026-11-28"})
    assert interpret(small(ON_DATE), ann, start=MONDAY, happenings=[later]).sends[0].at == at + 2 * DAY
    past = ContactChanged(at=MONDAY + DAY, attributes={"day": "2026-11-20"})
    assert interpret(small(ON_DATE), ann, start=MONDAY, happenings=[past]).sends[0].at == MONDAY + DAY
    gone = ContactChanged(at=MONDAY + DAY, attributes={"day": None})
    assert _end(interpret(small(ON_DATE), ann, start=MONDAY, happenings=[gone]))[1:] == ("gone", MONDAY + DAY)
    abroad = ContactChanged(at=MONDAY + DAY, fields={"time_zone": "America/New_York"})
    assert interpret(small(ON_DATE), ann, start=MONDAY, happenings=[abroad]).sends[0].at == at + 6 * HOUR


@pytest.mark.parametrize("day", [None, "2026-11-22", "soon"])
def test_a_date_that_is_missing_or_past_leads_elsewhere(day: str | None) -> None:
    trace = interpret(small(ON_DATE), replace(ANN, attributes={"day": day}), start=MONDAY)
    assert _end(trace) == (How.EXIT, "gone", MONDAY)


def test_a_daily_loop_takes_a_day_each_time() -> None:
    steps = UNTIL.replace("next: end", "next: a")
    trace = interpret(small(steps), ANN, start=datetime(2026, 11, 24, 8, tzinfo=UTC), until=MONDAY + WEEK)
    assert {later.at - one.at for one, later in zip(trace.sends, trace.sends[1:], strict=False)} == {DAY}
    assert trace.sends[0].at == datetime(2026, 11, 24, 8, tzinfo=UTC)  # nine o'clock now is nine o'clock
    assert trace.wakes_at == trace.sends[-1].at + DAY


def test_quiet_hours_hold_a_send_and_a_goal_takes_it_back() -> None:
    quiet = 'quiet_hours: {start: "21:00", end: "08:00"}'
    night, morning = datetime(2026, 11, 23, 22, tzinfo=UTC), datetime(2026, 11, 24, 7, tzinfo=UTC)
    trace = interpret(small(SEND, head=quiet), ANN, start=night)
    assert (trace.sends[0].at, trace.visits[0].waited_until) == (morning, morning)
    bought = did("purchase", night + HOUR)
    assert not interpret(small(SEND, head=f"{quiet}\n{GOAL}"), ANN, start=night, happenings=[bought]).sends
    owed = SEND.replace("template: t", "template: t, class: transactional")
    assert interpret(small(owed, head=quiet), ANN, start=night).sends[0].at == night
    short = SEND.replace("template: t", "template: t, expires_in: PT2H")
    assert interpret(small(short, head=quiet), ANN, start=night).sends[0].outcome is Outcome.EXPIRED


def test_who_does_not_want_it_gets_nothing_and_goes_on() -> None:
    steps = SEND.replace("template: t", "template: t, topic: news")
    refused = {
        "no_consent": (replace(ANN, consent={"email": False}), Around()),
        "topic_unsubscribed": (replace(ANN, topics={"news": "unsubscribed"}), Around()),
        "topic_not_subscribed": (ANN, Around(opt_in_topics=frozenset({"news"}))),
        "bounce": (ANN, Around(suppressed={Channel.EMAIL: SuppressionReason.BOUNCE})),
        "no_address": (replace(ANN, email=None), Around()),
        "frequency_cap": (ANN, Around(caps=(FrequencyCap(limit=1, period=DAY),), sent=((MONDAY, Channel.SMS),))),
    }
    for reason, (person, around) in refused.items():
        trace = interpret(small(steps), person, start=MONDAY, around=around)
        assert [one.reason for one in trace.sends] == [reason]
        assert _end(trace)[0] is How.COMPLETED
    owed = steps.replace("topic: news", "topic: news, class: transactional")
    for reason in ("topic_unsubscribed", "topic_not_subscribed", "frequency_cap"):
        person, around = refused[reason]
        assert [one.outcome for one in interpret(small(owed), person, start=MONDAY, around=around).sends] == [
            Outcome.SENT
        ]


def test_a_fallback_is_sent_where_the_first_is_not_delivered_in_time() -> None:
    journey = small(WITH_FALLBACK)
    silent = interpret(journey, ANN, start=MONDAY)
    assert [(one.part, one.at, one.channel) for one in silent.sends] == [
        (Part.PRIMARY, MONDAY, Channel.EMAIL),
        (Part.FALLBACK, MONDAY + HOUR, Channel.SMS),
    ]
    assert _end(silent)[2] == MONDAY + 30 * MINUTE  # its end by itself leaves the fallback
    delivered = Receipt(at=MONDAY + HOUR, visit=1)
    assert len(interpret(journey, ANN, start=MONDAY, happenings=[delivered]).sends) == 1
    bounced = Receipt(at=MONDAY + MINUTE, visit=1, kind=ReceiptKind.BOUNCED)
    assert interpret(journey, ANN, start=MONDAY, happenings=[bounced]).sends[1].at == MONDAY + MINUTE
    refused = interpret(journey, replace(ANN, email=None), start=MONDAY)
    assert [one.at for one in refused.sends] == [MONDAY, MONDAY]
    goal = small(WITH_FALLBACK, head=GOAL)
    assert len(interpret(goal, ANN, start=MONDAY, happenings=[did("purchase", MONDAY + MINUTE)]).sends) == 1


@pytest.mark.parametrize(("approved", "reason"), [(True, "yes"), (False, "no"), (None, "late")])
def test_an_approval_waits_for_a_word(approved: bool | None, reason: str) -> None:
    said = [] if approved is None else [Answered(at=MONDAY + HOUR, step="a", approved=approved)]
    elsewhere = Answered(at=MONDAY + MINUTE, step="b", approved=True)
    assert _end(interpret(small(APPROVAL), ANN, start=MONDAY, happenings=[elsewhere, *said]))[1] == reason


def test_a_person_skips_moves_and_removes() -> None:
    skip = interpret(small(WAIT_AND_SEND), ANN, start=MONDAY, happenings=[WaitSkipped(at=MONDAY + HOUR)])
    assert skip.sends[0].at == MONDAY + HOUR
    timed_out = interpret(small(APPROVAL), ANN, start=MONDAY, happenings=[WaitSkipped(at=MONDAY + HOUR)])
    assert _end(timed_out)[1] == "late"
    move = interpret(small(APPROVAL), ANN, start=MONDAY, happenings=[Moved(at=MONDAY + HOUR, step="no")])
    assert [visit.step for visit in move.visits] == ["a", "no"]
    gone = interpret(small(APPROVAL), ANN, start=MONDAY, happenings=[Removed(at=MONDAY + HOUR)])
    assert _end(gone) == (How.REMOVED, "removed", MONDAY + HOUR)
    deleted = interpret(small(WITH_FALLBACK), ANN, start=MONDAY, happenings=[ContactDeleted(at=MONDAY + 45 * MINUTE)])
    assert _end(deleted)[0] is How.COMPLETED
    assert len(deleted.sends) == 1


def test_an_enrollment_is_stopped_after_many_steps() -> None:
    trace = interpret(
        small("a: {kind: wait, for: PT1S, next: b}\nb: {kind: add_to_list, list: x, next: a}"), ANN, start=MONDAY
    )
    assert _end(trace)[:2] == (How.STOPPED, "too_many_steps")
    assert len(trace.visits) == MAX_VISITS


def _paused(policy: OnResume) -> list[Happening]:
    """A week, from Monday 11:00 on."""
    return [Paused(at=MONDAY + HOUR), Resumed(at=MONDAY + HOUR + WEEK, policy=policy)]


RESUME = MONDAY + HOUR + WEEK
NINE = datetime(2026, 11, 24, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("steps", "policy", "at", "outcome"),
    [
        (WAIT_AND_SEND, OnResume.CONTINUE, RESUME, "sent"),
        (WAIT_AND_SEND, OnResume.SKIP_LATE, RESUME, "skipped"),
        (WAIT_AND_SEND, OnResume.SHIFT, MONDAY + WEEK + DAY, "sent"),
        (UNTIL, OnResume.CONTINUE, RESUME, "sent"),
        (UNTIL, OnResume.SKIP_LATE, RESUME, "skipped"),
        (UNTIL, OnResume.SHIFT, NINE + WEEK, "sent"),
        (ON_DATE, OnResume.CONTINUE, RESUME, "sent"),
        (ON_DATE, OnResume.SKIP_LATE, RESUME, "skipped"),
        (ON_DATE, OnResume.SHIFT, RESUME, "sent"),
    ],
)
def test_a_pause_of_a_week_does_what_the_resume_says(steps: str, policy: OnResume, at: datetime, outcome: str) -> None:
    ann = replace(ANN, attributes={"day": "2026-11-26"})
    trace = interpret(small(steps), ann, start=MONDAY, happenings=_paused(policy))
    assert [(one.at, one.outcome.value) for one in trace.sends] == [(at, outcome)]


@pytest.mark.parametrize(("policy", "at"), [(OnResume.CONTINUE, RESUME), (OnResume.SHIFT, MONDAY + WEEK + DAY)])
def test_a_timeout_is_over_or_longer_after_a_pause(policy: OnResume, at: datetime) -> None:
    for steps in (WAIT_FOR, APPROVAL):
        assert _end(interpret(small(steps), ANN, start=MONDAY, happenings=_paused(policy)))[2] == at


def test_what_comes_in_a_pause_counts_on_resuming_and_a_goal_at_once() -> None:
    held = [*_paused(OnResume.CONTINUE), did("x", MONDAY + 2 * DAY)]
    assert _end(interpret(small(WAIT_FOR), ANN, start=MONDAY, happenings=held)) == (How.EXIT, "seen", RESUME)
    word = [*_paused(OnResume.CONTINUE), Answered(at=MONDAY + DAY, step="a", approved=True)]
    assert _end(interpret(small(APPROVAL), ANN, start=MONDAY, happenings=word)) == (How.EXIT, "yes", RESUME)
    bought = [*_paused(OnResume.CONTINUE), did("purchase", MONDAY + 2 * DAY)]
    goal = interpret(small(WAIT_FOR, head=GOAL), ANN, start=MONDAY, happenings=bought)
    assert _end(goal) == (How.GOAL, "bought", MONDAY + 2 * DAY)


def test_a_wait_that_a_pause_does_not_reach_is_as_if_there_were_none() -> None:
    short: list[Happening] = [Paused(at=MONDAY + HOUR), Resumed(at=MONDAY + 2 * HOUR, policy=OnResume.SKIP_LATE)]
    sends = interpret(small(WAIT_AND_SEND), ANN, start=MONDAY, happenings=short).sends
    assert [(one.at, one.outcome) for one in sends] == [(MONDAY + DAY, Outcome.SENT)]


def test_a_webhook_that_is_refused_leads_elsewhere() -> None:
    steps = "a: {kind: webhook, url: 'https://a.example/x', on_failure: b, next: end}\nb: {kind: exit, reason: refused}"
    assert _end(interpret(small(steps), ANN, start=MONDAY))[0] is How.COMPLETED
    refused = interpret(small(steps), ANN, start=MONDAY, around=Around(failing_webhooks=frozenset({"a"})))
    assert _end(refused)[1] == "refused"
