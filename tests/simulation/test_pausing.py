"""A week's pause in every kind of rest, and each way to go on: what docs/journeys.md says, by the rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.journeys.examples import ANN, MONDAY, small
from tests.simulation.agreeing import agree
from tests.simulation.walked import Walked, Workshop
from waypost.journeys.happenings import OnResume, Paused, Resumed

TWO_DAYS, WEEK = timedelta(days=2), timedelta(days=7)
PAUSED = MONDAY + timedelta(hours=1)
RESUMED = PAUSED + WEEK

AFTER = "b: {kind: send, channel: email, template: t, expires_in: P20D, next: end}"
RESTS = {
    "a wait for two days": f"""
        a: {{kind: wait, for: P2D, next: b}}
        {AFTER}
        """,
    "a wait until nine": f"""
        a: {{kind: wait, until: {{time: "09:00"}}, next: b}}
        {AFTER}
        """,
    "a wait until a date": f"""
        a: {{kind: wait, date: {{attribute: day, at: "09:00"}}, next: b}}
        {AFTER}
        """,
    "a wait for an event": f"""
        a: {{kind: wait_for, for: {{event: bought}}, timeout: P2D, on_timeout: b, next: end}}
        {AFTER}
        """,
    "an approval": f"""
        a: {{kind: approval, question: "?", timeout: P2D, on_timeout: b, on_reject: end, next: end}}
        {AFTER}
        """,
}
# By docs/journeys.md. Vienna's nine o'clock is eight in UTC.
DUE = RESUMED
SHIFTED: dict[str, datetime] = {
    "a wait for two days": MONDAY + WEEK + TWO_DAYS,
    "a wait until nine": (MONDAY + WEEK).replace(hour=8) + timedelta(days=1),
    "a wait until a date": DUE,
    "a wait for an event": MONDAY + WEEK + TWO_DAYS,
    "an approval": MONDAY + WEEK + TWO_DAYS,
}


@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("policy", OnResume)
async def test_what_came_due_in_a_pause_follows_the_policy(workshop: Workshop, rest: str, policy: OnResume) -> None:
    person = replace(ANN, attributes={"day": "2026-11-25"})
    walked = await agree(workshop, small(RESTS[rest]), person, [Paused(at=PAUSED), Resumed(at=RESUMED, policy=policy)])
    (sent,) = walked.sends
    at = SHIFTED[rest] if policy is OnResume.SHIFT else DUE
    assert abs(walked.times[0] - at) < timedelta(minutes=1)
    assert sent[2:] == (("skipped", "late") if policy is OnResume.SKIP_LATE else ("sent", None))


@pytest.mark.parametrize("policy", OnResume)
async def test_a_fallback_waits_out_its_clock_or_comes_at_once(workshop: Workshop, policy: OnResume) -> None:
    steps = (
        "a: {kind: send, channel: email, template: t, expires_in: P20D, "
        "fallback: {channel: sms, template: u, after: P2D}, next: w}\nw: {kind: wait, for: P20D, next: end}"
    )
    walked = await agree(workshop, small(steps), ANN, [Paused(at=PAUSED), Resumed(at=RESUMED, policy=policy)])
    fallback, at = _of(walked, "fallback")
    assert abs(at - (MONDAY + TWO_DAYS + WEEK if policy is OnResume.SHIFT else DUE)) < timedelta(minutes=2)
    assert fallback[2:] == (("skipped", "late") if policy is OnResume.SKIP_LATE else ("sent", None))


@pytest.mark.parametrize("policy", OnResume)
async def test_a_send_in_quiet_hours_asks_the_gate_anew(workshop: Workshop, policy: OnResume) -> None:
    steps = "a: {kind: send, channel: email, template: t, expires_in: P20D, next: end}"
    head = 'quiet_hours: {start: "08:00", end: "18:00"}'
    evening = RESUMED + timedelta(hours=10)
    journey = small(steps, head=head)
    walked = await agree(workshop, journey, ANN, [Paused(at=PAUSED), Resumed(at=evening, policy=policy)])
    (sent,) = walked.sends
    assert sent[2:] == (("skipped", "late") if policy is OnResume.SKIP_LATE else ("sent", None))
    assert abs(walked.times[0] - evening) < timedelta(minutes=1)


def _of(walked: Walked, part: str) -> tuple[tuple[int, str, str, str | None], datetime]:
    (found,) = [(send, at) for send, at in zip(walked.sends, walked.times, strict=True) if send[1] == part]
    return found
