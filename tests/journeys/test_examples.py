"""Every example: valid, small, drawn, walked; and broken in one place it is refused there."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from tests.conventions.sources import HOME
from tests.journeys.examples import ANN, FILES, MONDAY, did, example, journey_of, names, text_of
from waypost.journeys.document import read_journey, write_journey
from waypost.journeys.graph import edges_of
from waypost.journeys.happenings import Answered, Around, ContactChanged, Receipt, ReceiptKind
from waypost.journeys.interpreter import interpret
from waypost.journeys.mermaid import to_mermaid
from waypost.journeys.plan import MAX_PLAN_BYTES, compile_plan, read_plan, write_plan
from waypost.journeys.svg import to_svg
from waypost.journeys.trace import How, Trace
from waypost.journeys.validation import check_journey
from waypost.segments.people import Person
from waypost.segments.rules import read_rule

KEYS = names(FILES)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_there_are_eight_of_them() -> None:
    assert {
        "onboarding",
        "abandoned-cart",
        "trial-end",
        "dunning",
        "appointment",
        "win-back",
        "double-opt-in",
        "birthday",
    } <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_an_example_is_the_same_when_it_is_written_and_read_again(key: str) -> None:
    journey = example(key)
    assert journey.journey == key
    assert read_journey(write_journey(journey)) == journey


@pytest.mark.parametrize("key", KEYS)
def test_a_plan_is_small_and_has_all_that_a_workflow_follows(key: str) -> None:
    journey = example(key)
    written = write_plan(compile_plan(journey))
    assert len(written) <= MAX_PLAN_BYTES
    plan = read_plan(written)
    assert plan == compile_plan(journey)
    for step_id, step in journey.steps.items():
        assert plan.steps[step_id].kind == step.kind
        assert plan.steps[step_id].edges == {edge.key: edge.to for edge in edges_of(step)}
    assert b"acme" not in written
    assert b"data" not in written


@pytest.mark.parametrize("key", KEYS)
def test_pictures_name_every_step_and_count_who_is_there(key: str) -> None:
    journey = example(key)
    svg, mermaid = to_svg(journey, {journey.start: 4711}), to_mermaid(journey, {journey.start: 4711})
    texts = set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    ElementTree.fromstring(svg)  # noqa: S314 - our own
    assert texts >= {*journey.steps, "4,711"}
    assert all(f"<b>{step}</b>" in mermaid for step in journey.steps)
    assert "4,711 here" in mermaid
    assert svg.count('marker-end="url(#tip)"') == mermaid.count("-->")


BROKEN = [
    ("onboarding", "next: has-looked", "next: has-loked", "in-the-morning", "did you mean has-looked?"),
    ("onboarding", "for: P2D", "for: 2 days", "settle-in", "write P2D"),
    ("abandoned-cart", "on_timeout: offer", "on_timeout: end", "offer", "let another step lead to it"),
    ("abandoned-cart", "timeout: P1D", "time_out: P1D", "bought-after-reminder", "did you mean timeout?"),
    ("trial-end", "class: transactional", "class: transaktional", "today", "did you mean transactional?"),
    ("dunning", "property: due_on", "property: due_no", "deadline", "did you mean due_on?"),
    ("appointment", "title: 17:00 on", "titel: 17:00 on", "day-before", "did you mean title?"),
    (
        "win-back",
        "next: how-often",
        "next: offer\n  pause:\n    kind: wait\n    for: P1D\n    next: end",
        "pause",
        None,
    ),
    ("win-back", "kind: wait\n    for: P30D", "kind: add_to_list\n    list: x", "a-month", "put a wait"),
    ("double-opt-in", "timeout: P5D", "timeout: P1M", "confirmed-late", "write P30D"),
    ("birthday", "wishes:\n    kind: send", "wishes:\n    kind: sned", "wishes", "did you mean send?"),
]


@pytest.mark.parametrize(("key", "sound", "broken", "step", "hint"), BROKEN)
def test_a_broken_example_is_refused_at_the_step_that_is_broken(
    key: str, sound: str, broken: str, step: str, hint: str | None
) -> None:
    text = text_of(key)
    assert sound in text
    checked = check_journey(text.replace(sound, broken, 1))
    assert checked.journey is None
    mine = [problem for problem in checked.problems if problem.step == step or step in problem.message]
    assert mine, [str(problem) for problem in checked.problems]
    assert hint is None or any(hint in (problem.suggestion or "") for problem in mine)
    assert all(problem.line is not None for problem in checked.problems)


def _sent(trace: Trace) -> list[tuple[str, str, str]]:
    return [(one.template, one.part.value, one.outcome.value) for one in trace.sends]


def test_onboarding_nudges_on_the_third_morning_and_ends_unfinished() -> None:
    trace = interpret(example("onboarding"), ANN, start=MONDAY)
    assert _sent(trace) == [("welcome", "primary", "sent"), ("onboarding-nudge", "primary", "sent")]
    assert trace.sends[1].at == datetime(2026, 11, 26, 8, tzinfo=UTC)  # 9:00 in Vienna
    assert [act.kind for act in trace.acts] == ["update_contact", "webhook"]
    assert trace.ending is not None
    assert trace.ending.how is How.COMPLETED


def test_onboarding_is_over_at_once_with_the_first_project() -> None:
    when = MONDAY + DAY + HOUR
    trace = interpret(example("onboarding"), ANN, start=MONDAY, happenings=[did("project_created", when)])
    assert trace.ending is not None
    assert (trace.ending.how, trace.ending.reason, trace.ending.at) == (How.GOAL, "first_project", when)
    assert len(trace.sends) == 1


def test_a_cart_that_is_bought_is_not_reminded_of() -> None:
    trace = interpret(example("abandoned-cart"), ANN, start=MONDAY, happenings=[did("purchase", MONDAY + HOUR)])
    assert trace.sends == ()  # the event wins against the timeout of the same moment
    assert trace.ending is not None
    assert trace.ending.reason == "bought"


def test_a_cart_that_is_not_bought_is_reminded_of() -> None:
    trace = interpret(example("abandoned-cart"), ANN, start=MONDAY, around=Around(contact="c"))
    assert trace.sends[0].at == MONDAY + HOUR
    assert trace.ending is not None
    assert trace.ending.at == MONDAY + HOUR + DAY


def test_a_trial_that_is_extended_ends_later() -> None:
    ann = _with(trial_ends_on="2026-11-26")
    longer = ContactChanged(at=MONDAY + DAY, attributes={"trial_ends_on": "2026-12-03"})
    yes = Answered(at=datetime(2026, 12, 11, tzinfo=UTC), step="ask-sales", approved=True)
    trace = interpret(example("trial-end"), ann, start=MONDAY, happenings=[longer, yes])
    assert trace.sends[1].at == datetime(2026, 12, 3, 9, tzinfo=UTC)
    assert [act.detail["event"] for act in trace.acts] == ["trial_extended"]


def test_dunning_goes_on_by_sms_where_the_email_bounces() -> None:
    bounce = Receipt(at=MONDAY + HOUR, visit=1, kind=ReceiptKind.BOUNCED)
    data = {"due_on": "2026-12-01"}
    trace = interpret(example("dunning"), ANN, start=MONDAY, data=data, happenings=[bounce])
    assert [(one.part.value, one.at) for one in trace.sends[:2]] == [("primary", MONDAY), ("fallback", MONDAY + HOUR)]


def test_dunning_ends_with_the_payment_and_takes_its_fallback_back() -> None:
    paid = did("payment_succeeded", MONDAY + 3 * HOUR)
    trace = interpret(example("dunning"), ANN, start=MONDAY, data={"due_on": "2026-12-01"}, happenings=[paid])
    assert _sent(trace) == [("payment-failed", "primary", "sent")]


def test_appointments_are_reminded_of_around_their_date() -> None:
    data = {"starts_at": "2026-11-27T15:00:00+01:00"}
    trace = interpret(example("appointment"), ANN, start=MONDAY, data=data)
    assert [one.at.isoformat() for one in trace.sends] == [
        "2026-11-23T10:00:00+00:00",
        "2026-11-26T16:00:00+00:00",
        "2026-11-27T12:00:00+00:00",
        "2026-11-28T09:00:00+00:00",
    ]


def test_an_appointment_of_tonight_has_no_reminder_of_yesterday() -> None:
    data = {"starts_at": "2026-11-23T20:00:00+01:00"}
    trace = interpret(example("appointment"), ANN, start=MONDAY, data=data)
    assert [one.step for one in trace.sends] == ["confirmation", "sms", "feedback"]


def test_who_does_not_come_back_gets_three_offers_a_month_apart() -> None:
    trace = interpret(example("win-back"), ANN, start=MONDAY)
    assert [one.at - MONDAY for one in trace.sends] == [0 * DAY, 30 * DAY, 60 * DAY]
    assert trace.ending is not None
    assert (trace.ending.how, trace.ending.reason) == (How.EXIT, "given_up")


def test_a_subscription_that_is_confirmed_late_is_welcomed() -> None:
    click = ContactChanged(at=MONDAY + 3 * DAY, fields={"topics": {"newsletter": "subscribed"}})
    trace = interpret(example("double-opt-in"), ANN, start=MONDAY, data={"source": "fair"}, happenings=[click])
    assert len(trace.sends) == 2
    assert [act.kind for act in trace.acts] == ["update_contact", "start_journey"]
    assert trace.acts[0].detail["newsletter_source"] == "fair"


def test_a_birthday_brings_a_voucher_to_who_has_bought() -> None:
    bought = did("purchase", MONDAY - DAY)
    trace = interpret(example("birthday"), ANN, start=MONDAY, happenings=[bought])
    assert [one.template for one in trace.sends] == ["birthday-voucher", "birthday-voucher-reminder"]
    assert [one.template for one in interpret(example("birthday"), ANN, start=MONDAY).sends] == ["birthday-wishes"]


def test_segments_that_conditions_name_are_given_by_who_asks() -> None:
    rule = read_rule({"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "pro"}})
    trace = interpret(example("trial-end"), _with(plan="pro"), start=MONDAY, around=Around(segments={"pros": rule}))
    assert trace.sends == ()
    assert trace.ending is not None
    assert trace.ending.reason == "upgraded"


def _with(**attributes: object) -> Person:
    return replace(ANN, attributes=attributes)


def test_the_journey_of_the_documentation_is_valid() -> None:
    page = (HOME / "docs" / "journeys.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    assert list(journey_of(block).steps) == ["welcome", "two-days", "nudge"]


def test_every_problem_that_validation_has_is_in_the_documentation() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in (HOME / "waypost" / "journeys").glob("*.py"))
    codes = set(re.findall(r'(?:code=|_RefusedError\(\s*|return )"([a-z_]+)"[,)]', sources))
    codes |= set(re.findall(r'^    "[a-z_]+": "((?:bad|too)_[a-z]+)",$', sources, re.M))
    page = (HOME / "docs" / "journeys.md").read_text(encoding="utf-8")
    assert {"duplicate", "loop_without_wait", "bad_zone", "alias", "unknown_field"} <= codes
    assert not [code for code in codes if f"`{code}`" not in page]
