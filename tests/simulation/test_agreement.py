"""The workflow, its decisions and the send path come to what the reference interpreter says."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.journeys.examples import ANN, MONDAY, did, small
from tests.journeys.randomly import DOCUMENT, HAPPENING, pruned
from tests.simulation.agreeing import agree
from tests.simulation.walked import Workshop
from waypost.journeys import walking
from waypost.journeys.document import write_journey
from waypost.journeys.happenings import Happening
from waypost.journeys.mermaid import to_mermaid

OFF_THE_HOUR = timedelta(minutes=17)
"""Random waits are of whole hours. What happens at the very moment of a wake is the interpreter's tests' business: the
dispatcher starts what is due within a quarter of a second, so that here either may come first."""

FREELY = settings(
    max_examples=25,
    deadline=None,
    derandomize="WAYPOST_WALK_ANEW" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(autouse=True)
def soon_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both: who goes round each second would take long to be stopped."""
    monkeypatch.setattr(walking, "MAX_VISITS", 30)


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
        person = replace(ANN, attributes={"day": day} if day else {})
        note(f"{to_mermaid(journey)}\n{write_journey(journey)}\n{person}\n" + "\n".join(map(str, happenings)))
        await agree(workshop, journey, person, [replace(one, at=one.at + OFF_THE_HOUR) for one in happenings])


async def test_an_event_that_a_later_decision_emits_is_seen_at_once(workshop: Workshop) -> None:
    """Its inbox was read before: what the journey tells itself after that is among what it is told."""
    journey = small(
        """
        a: {kind: wait_for, for: {event: x}, timeout: PT1H, on_timeout: b, next: end}
        b: {kind: emit_event, event: y, next: c}
        c: {kind: wait_for, for: {event: y}, timeout: P1D, on_timeout: end, next: d}
        d: {kind: send, channel: email, template: t, next: end}
        """
    )
    await agree(workshop, journey, ANN, [did("z", MONDAY + timedelta(minutes=30))])
