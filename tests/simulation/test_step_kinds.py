"""A walk through each kind of step, agreed with the interpreter; its history is kept, to be replayed tomorrow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.journeys.examples import ANN, MONDAY, did, small
from tests.simulation.agreeing import agree
from tests.simulation.walked import Workshop
from waypost.journeys.happenings import Answered, Happening

LATER = MONDAY + timedelta(hours=5)
BACK = "a: {kind: send, channel: email, template: t, next: b}"

KINDS: dict[str, tuple[str, Sequence[Happening]]] = {
    "send": (
        "{kind: send, channel: email, template: t, fallback: {channel: sms, template: u, after: PT4H}, next: end}",
        (),
    ),
    "wait": ('{kind: wait, until: {time: "09:00"}, next: end}', ()),
    "wait_for": ("{kind: wait_for, for: {event: x}, timeout: P1D, on_timeout: end, next: end}", [did("x", LATER)]),
    "branch": ("{kind: branch, choices: [{when: {kind: list, key: l}, next: end}], else: end}", ()),
    "split": ("{kind: split, ways: [{name: p, next: end}, {name: q, next: end}]}", ()),
    "update_contact": ("{kind: update_contact, set: {n: 1}, next: end}", ()),
    "add_to_list": ("{kind: add_to_list, list: l, next: end}", ()),
    "remove_from_list": ("{kind: remove_from_list, list: l, next: end}", ()),
    "webhook": ('{kind: webhook, url: "https://a.example/", next: end}', ()),
    "emit_event": ("{kind: emit_event, event: x, next: end}", ()),
    "start_journey": ("{kind: start_journey, journey: other, next: end}", ()),
    "approval": (
        '{kind: approval, question: "?", timeout: P1D, on_timeout: end, on_reject: end, next: end}',
        [Answered(at=LATER, step="b", approved=True)],
    ),
    "exit": ("{kind: exit, reason: out}", ()),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_step_of_each_kind(workshop: Workshop, kind: str) -> None:
    step, happenings = KINDS[kind]
    await agree(workshop, small(f"{BACK}\nb: {step}"), ANN, happenings, keep_history=f"journey-step-{kind}")
