"""The workflow, its decisions and the send path come to what the reference interpreter says."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.testing import WorkflowEnvironment

from tests import services
from tests.journeys.examples import ANN, MONDAY, small
from tests.journeys.randomly import DOCUMENT, HAPPENING, pruned
from tests.simulation.walked import Walked, Workshop, near
from waypost.journeys import walking
from waypost.journeys.document import Journey
from waypost.journeys.happenings import Around, Happening
from waypost.journeys.interpreter import interpret
from waypost.journeys.trace import Trace
from waypost.messaging.values import Outcome
from waypost.segments.people import Person

UNTIL = MONDAY + timedelta(days=30)
FREELY = settings(
    max_examples=int(os.environ.get("WAYPOST_WALKS", "25")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture
async def workshop(
    module_database: services.Database, environment: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Workshop]:
    opened = await Workshop.open(module_database, environment)
    monkeypatch.setattr(walking, "MAX_VISITS", 30)  # of both: who goes round each second would take long to be stopped
    yield opened
    await opened.ledger.close()


def expected(trace: Trace) -> Walked:
    """In the same words."""
    sends = [one for one in trace.sends]
    return Walked(
        visits=tuple((one.step, one.edge) for one in trace.visits),
        sends=tuple(
            (one.visit, one.part.value, one.outcome.value, None if one.outcome is Outcome.SENT else one.reason)
            for one in sends
        ),
        times=tuple(one.at for one in sends),
        ending=None if trace.ending is None else (trace.ending.how.value, trace.ending.reason, trace.ending.step),
    )


async def agree(
    workshop: Workshop, journey: Journey, person: Person = ANN, happenings: list[Happening] | None = None
) -> None:
    walked, contact = await workshop.walk(journey, person, start=MONDAY, until=UNTIL, happenings=happenings or [])
    trace = interpret(
        journey,
        person,
        start=MONDAY,
        happenings=happenings or [],
        until=UNTIL,
        around=Around(contact=str(contact), zone="UTC"),
    )
    said = expected(trace)
    assert (walked.visits, walked.sends, walked.ending) == (said.visits, said.sends, said.ending)
    assert near(walked.times, said.times), (walked.times, said.times)


async def test_a_send_a_wait_and_a_send(workshop: Workshop) -> None:
    journey = small(
        """
        a: {kind: send, channel: email, template: t, next: b}
        b: {kind: wait, for: P2D, next: c}
        c: {kind: send, channel: email, template: t, next: end}
        """
    )
    await agree(workshop, journey)


@FREELY
@given(said=DOCUMENT, happenings=st.lists(HAPPENING, max_size=8), day=st.sampled_from([None, "2026-11-24"]))
async def test_random_journeys_and_what_happens_come_to_the_same(
    workshop: Workshop, said: dict[str, Any], happenings: list[Happening], day: str | None
) -> None:
    journey = pruned(said)
    if journey is not None:
        begun = time.monotonic(); print("walk", flush=True)
        await agree(workshop, journey, replace(ANN, attributes={"day": day} if day else {}), happenings)
        print(round(time.monotonic() - begun, 2), flush=True)
