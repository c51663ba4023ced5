"""Whatever a document says, the answer is a journey or problems with lines; never an exception, never for long."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conventions.sources import HOME
from tests.journeys.examples import FILES, text_of
from waypost.journeys.document import Journey, journey_schema
from waypost.journeys.source import MAX_CHARACTERS, read_source
from waypost.journeys.surroundings import Surroundings, TemplateFacts
from waypost.journeys.validation import MAX_PROBLEMS, check_journey
from waypost.messaging.values import Channel

FREELY = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

TEXTS = [file.read_text(encoding="utf-8") for file in FILES]
WORDS = st.sampled_from(
    ["steps", "kind", "send", "wait", "for", "next", "end", "P1D", "entry", "event", "a", "b", "start", "when", "on"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)


def _is_answered(text: str) -> None:
    checked = check_journey(text)
    assert (checked.journey is None) == bool(checked.problems)
    assert len(checked.problems) <= MAX_PROBLEMS
    for problem in checked.problems:
        assert str(problem)
        json.dumps(problem.as_json())


@FREELY
@given(text=st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    _is_answered(text)


@FREELY
@given(value=JSON)
def test_any_tree_is_answered(value: object) -> None:
    _is_answered(json.dumps(value))


@FREELY
@given(steps=st.dictionaries(WORDS, JSON, max_size=5), entry=JSON, start=JSON, more=JSON)
def test_any_steps_are_answered(steps: object, entry: object, start: object, more: object) -> None:
    _is_answered(
        json.dumps({"journey": "a", "name": "A", "start": start, "entry": entry, "steps": steps, "goal": more})
    )


@FREELY
@given(data=st.data())
def test_an_example_with_any_lines_changed_is_answered(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["drop", "double", "swap", "cut", "put"]))
        if how == "drop" and len(lines) > 1:
            del lines[place]
        elif how == "double":
            lines.insert(place, lines[place])
        elif how == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        elif how == "cut":
            lines[place] = lines[place][: data.draw(st.integers(0, 30))]
        else:
            lines[place] += data.draw(st.text(max_size=5))
    _is_answered("\n".join(lines))


BOMBS = {
    "aliases": "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n",
    "circle": "a: &a [*a]\n",
    "deep list": "[" * 50_000,
    "deep objects": "{a: " * 20_000,
    "deep lines": "\n".join(" " * depth + "a:" for depth in range(400)),
    "many": "[" + "1," * 50_000 + "1]",
    "large": "a" * (MAX_CHARACTERS + 1),
    "long number": "a: " + "9" * 20_000,
    "tag": "a: !!python/object/apply:os.system ['true']",
    "nothing": "",
    "comment": "# nothing",
    "two": "a: 1\n---\nb: 2\n",
    "odd key": "? [a, b]\n: c\n",
    "control": "a: \x00",
    "half": '{"a": "\\ud83d"}',
    "merge": "a: {<<: {b: 1}}",
    "tabs": "a:\n\t- b",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_quickly(name: str) -> None:
    began = time.perf_counter()
    _is_answered(BOMBS[name])
    assert check_journey(BOMBS[name]).problems
    assert time.perf_counter() - began < 5


def test_a_document_may_be_json_indented_by_tabs_with_lines_all_the_same() -> None:
    said = yaml.safe_load(text_of("dunning").replace('"09:00"', "'09:00'"))
    text = json.dumps(said, indent="\t")
    assert check_journey(text).journey == check_journey(text_of("dunning")).journey
    broken = check_journey(text.replace('"next": "grace"', '"next": "grase"'))
    (problem, unreachable) = broken.problems[:2]
    assert problem.line == text[: text.index('"grace"')].count("\n") + 1
    assert {problem.code, unreachable.code} == {"unknown_step", "unreachable"}


def test_words_are_what_they_look_like() -> None:
    tree = read_source(
        'on: yes\nat: 21:00\nday: 2026-11-24\nno: ~\nn: 010\nf: 1.5\nq: "1"\nemoji: "\\ud83d\\ude00"'
    ).tree
    assert tree == {
        "on": "yes",
        "at": "21:00",
        "day": "2026-11-24",
        "no": None,
        "n": 10,
        "f": 1.5,
        "q": "1",
        "emoji": "😀",
    }


STEPS = """
journey: a
name: A
entry: {kind: event, event: ordered}
start: one
steps:
"""


@pytest.mark.parametrize(
    ("steps", "code", "step"),
    [
        ("  one: {kind: exit, reason: x}\n  two: {kind: exit, reason: x}", "unreachable", "two"),
        ("  one: {kind: exit, reason: x}\n  one: {kind: exit, reason: x}", "duplicate", "one"),
        ("  one: {kind: add_to_list, list: x, next: one}", "loop_without_wait", "one"),
        ("  one: {kind: wait, date: {attribute: a}, next: one}", "loop_without_wait", "one"),
        ("  one: {kind: wait, for: PT0S, next: end}", "bad_duration", "one"),
        ("  one: {kind: wait, for: P1Y, next: end}", "bad_duration", "one"),
        ("  one: {kind: wait, until: {time: 24:00}, next: end}", "bad_hour", "one"),
        ("  one: {kind: emit_event, event: ordered, next: end}", "starts_itself", "one"),
        ("  one: {kind: start_journey, journey: a, next: end}", "starts_itself", "one"),
        ("  one: {kind: update_contact, set: {a: {property: b}}, next: end}", "missing_property", "one"),
        ("  one: {kind: send, channel: email, template: t, next: ends}", "unknown_step", "one"),
        ("  one: {kind: send, channel: email, template: t}", "missing_field", "one"),
    ],
)
def test_what_is_wrong_with_a_step_is_said_of_that_step(steps: str, code: str, step: str) -> None:
    assert (code, step) in {(one.code, one.step) for one in check_journey(STEPS + steps).problems}


def test_all_problems_come_at_once_in_the_order_of_their_lines() -> None:
    text = text_of("onboarding")
    for sound, broken in (
        ("for: P2D", "for: P2X"),
        ("next: nudge", "next: nugde"),
        ("21:00", "25:00"),
        ("set:", "sett:"),
    ):
        text = text.replace(sound, broken, 1)
    problems = check_journey(text.replace("else: nudge", "else: nugde")).problems
    lines = [problem.line or 0 for problem in problems]
    assert lines == sorted(lines)
    assert {"bad_hour", "bad_duration", "unknown_step", "unknown_field"} <= {problem.code for problem in problems}


def test_what_a_journey_refers_to_is_looked_up_where_it_is_known() -> None:
    around = Surroundings(
        templates={
            "payment-failed": TemplateFacts(
                channel=Channel.EMAIL, variables=frozenset({"data.amuont", "contact.name"})
            ),
            "payment-reminder": TemplateFacts(channel=Channel.SMS),
        },
        lists=frozenset({"to-suspent"}),
    )
    found = {(one.code, one.step, one.suggestion) for one in check_journey(text_of("dunning"), around).problems}
    assert ("missing_variable", "first", "did you mean amount?") in found
    assert ("wrong_channel", "second", "choose another template or channel") in found
    assert ("unknown_list", "suspend", "did you mean to-suspent?") in found
    assert {step for code, step, _ in found if code == "unknown_template"} == {"first", "second"}  # the fallback's


def test_a_send_without_a_sender_needs_a_default_and_one_with_it_one_of_its_channel() -> None:
    text = STEPS + (
        "  one: {kind: send, channel: email, template: t, next: two}\n"
        "  two: {kind: send, channel: sms, template: t, sender: mail, next: three}\n"
        "  three: {kind: send, channel: email, template: t, sender: mail, next: end,"
        " fallback: {channel: sms, template: t, after: PT1H}}\n"
    )
    around = Surroundings(senders={"mail": Channel.EMAIL}, default_senders=frozenset())
    found = [(one.code, one.step) for one in check_journey(text, around).problems]
    assert found == [("no_sender", "one"), ("wrong_channel", "two"), ("no_sender", "three")]
    around = Surroundings(senders={"mail": Channel.EMAIL}, default_senders=frozenset({Channel.EMAIL, Channel.SMS}))
    assert [one.code for one in check_journey(text, around).problems] == ["wrong_channel"]


def test_a_plan_that_is_too_large_is_refused() -> None:
    ids = [f"a-step-with-quite-a-long-name-{number:03}" for number in range(90)]
    steps = "\n".join(
        f"  {a}: {{kind: add_to_list, list: x, next: {b}}}" for a, b in zip(ids, [*ids[1:], "end"], strict=True)
    )
    (problem,) = check_journey(STEPS.replace("start: one", f"start: {ids[0]}") + steps).problems
    assert problem.code == "plan_too_large"


def test_the_published_schema_is_the_language_s() -> None:
    published = json.loads((HOME / "docs" / "journey.schema.json").read_text(encoding="utf-8"))
    assert published == journey_schema(), "waypost journeys schema > docs/journey.schema.json"
    assert set(published["properties"]) == set(Journey.model_fields)
    assert published["additionalProperties"] is False
