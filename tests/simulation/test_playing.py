"""What can happen to a contact in a simulation does what it does in earnest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from waypost.simulation.cases import Case, read_document
from waypost.simulation.expecting import Expectation, compare
from waypost.simulation.given import ContactGiven, TenantGiven
from waypost.simulation.playing import play
from waypost.simulation.script import Script
from waypost.simulation.servers import Servers, servers
from waypost.simulation.timeline import tell

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
WAITS = """
journey: waits
name: Waits
entry: {kind: api, expects: [plan]}
start: a
steps:
  a: {kind: wait, for: P2D, next: b}
  b: {kind: approval, question: "Well?", timeout: P3D, next: c, on_reject: end, on_timeout: end}
  c: {kind: send, channel: sms, template: hello, next: end}
"""
NUMBER = count()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Servers]:
    async with servers() as started:
        yield started


async def came(running: Servers, text: str, events: list[Any], expected: list[Any], **given: Any) -> None:
    """Play it, and hold it against what is expected."""
    tenant = TenantGiven.model_validate(given.get("tenant", {}))
    case = Case(
        name=str(next(NUMBER)),
        journey=read_document(text, "x", tenant=tenant, templates={}),
        text=text,
        start=MONDAY,
        tenant=tenant,
        script=Script.model_validate({"events": events}),
        contact=ContactGiven(id="ann", email="ann@example.com", phone="+436641234567", time_zone="Europe/Vienna"),
        data=given.get("data"),
    )
    timeline = tell(await play(running, case))
    compared = compare(timeline, [Expectation.model_validate(one) for one in expected])
    assert all(one.verdict == "same" for one in compared), [one.as_json() for one in compared]


SENT = {"send": "hello", "channel": "sms", "to": "+436641234567"}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([{"at": "P3D", "answer": True, "step": "b"}], [{"at": "P3D", **SENT}, {"at": "P3D", "ended": "completed"}]),
        ([{"at": "P3D", "answer": False, "step": "b"}], [{"at": "P3D", "ended": "completed"}]),
        ([], [{"at": "P2D", "waits": "b", "until": "P5D"}, {"at": "P5D", "ended": "completed"}]),
        ([{"at": "P1D", "skip_wait": True}], [{"at": "P1D", "waits": "b"}, {"at": "P4D", "ended": "completed"}]),
        ([{"at": "P1D", "move": "c"}], [{"at": "P1D", **SENT}, {"ended": "completed"}]),
        ([{"at": "P1D", "remove": True}], [{"at": "P1D", "ended": "removed"}]),
        ([{"at": "P1D", "delete": True}], [{"at": "P1D", "ended": "contact_deleted"}]),
        (
            [{"at": "P1D", "pause": True}, {"at": "P8D", "resume": "shift"}],
            [{"at": "P9D", "waits": "b", "until": "P12D"}, {"at": "P12D", "ended": "completed"}],
        ),
        (
            [{"at": "P1D", "pause": True}, {"at": "P8D", "resume": "continue"}],
            [{"at": "P8D", "waits": "b"}, {"at": "P11D", "ended": "completed"}],
        ),
        (
            [
                {"at": "P1D", "change": {"phone": None, "attributes": {"vip": True}}},
                {"at": "P3D", "answer": True, "step": "b"},
            ],
            [{"at": "P3D", "not_sent": "hello", "reason": "no_address"}, {"ended": "completed"}],
        ),
    ],
)
async def test_what_a_person_does_is_done(running: Servers, events: list[Any], expected: list[Any]) -> None:
    await came(running, WAITS, events, expected)


async def test_what_does_not_fit_where_it_is_is_said_and_does_nothing(running: Servers) -> None:
    case = Case(
        name="misplaced",
        journey=read_document(WAITS, "x", tenant=TenantGiven(), templates={}),
        text=WAITS,
        start=MONDAY,
        script=Script.model_validate({"events": [{"at": "P1D", "answer": True, "step": "b"}]}),
    )
    timeline = tell(await play(running, case))
    (line,) = [one for one in timeline.lines if one.kind == "answer"]
    assert line.facts["note"] == "nobody waits for an approval at b"


SCHEDULE = """
journey: monthly
name: Monthly
entry: {kind: schedule, first: "2026-12-01T09:00", every: P7D, segment: everybody}
reentry: after_exit
start: a
steps:
  a: {kind: send, channel: email, template: news, next: end}
"""


async def test_a_schedule_lets_the_contact_in_on_its_own_clock(running: Servers) -> None:
    await came(running, SCHEDULE, [], [{"at": "2026-12-01T09:00", "send": "news"}, {"ended": "completed"}])


SEGMENT = """
journey: quiet
name: Quiet
entry: {kind: segment, segment: quiet}
start: a
steps:
  a: {kind: send, channel: email, template: where-are-you, topic: news, next: end}
"""
QUIET = {"segments": {"quiet": {"kind": "event", "name": "used", "at_most": 0, "within": "P10D"}}}


async def test_time_alone_brings_the_contact_into_a_segment(running: Servers) -> None:
    used = [{"at": "-P2D", "event": "used"}]
    expected = [{"send": "where-are-you"}, {"ended": "completed"}]
    await came(running, SEGMENT, used, expected, tenant=QUIET)


async def test_who_left_the_topic_gets_nothing(running: Servers) -> None:
    left = [{"at": "PT0S", "change": {"unsubscribe": ["news"]}}, {"at": "-P2D", "event": "used"}]
    expected = [{"not_sent": "where-are-you"}, {"ended": "completed"}]
    await came(running, SEGMENT, left, expected, tenant=QUIET)
