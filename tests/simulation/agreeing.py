"""The workflow and the reference interpreter, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.journeys.examples import ANN, MONDAY
from tests.simulation.walked import Walked, Workshop
from waypost.journeys.document import Journey
from waypost.journeys.happenings import Around, Happening
from waypost.journeys.interpreter import interpret
from waypost.journeys.trace import Trace
from waypost.messaging.values import Outcome
from waypost.segments.people import Person

UNTIL = MONDAY + timedelta(days=30)


def expected(trace: Trace) -> Walked:
    """In the same words."""
    sends = trace.sends
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
    workshop: Workshop,
    journey: Journey,
    person: Person = ANN,
    happenings: Sequence[Happening] = (),
    *,
    keep_history: str | None = None,
) -> Walked:
    """Walk it both ways, compare, and tell what came of it."""
    walked, contact = await workshop.walk(
        journey, person, start=MONDAY, until=UNTIL, happenings=happenings, keep_history=keep_history
    )
    trace = interpret(
        journey,
        person,
        start=MONDAY,
        happenings=happenings,
        until=UNTIL,
        around=Around(contact=str(contact), zone="UTC"),
    )
    said = expected(trace)
    assert (walked.visits, walked.sends, walked.ending) == (said.visits, said.sends, said.ending)
    assert near(walked.times, said.times), (walked.times, said.times)
    return walked


def near(one: Sequence[datetime], other: Sequence[datetime], *, by: timedelta = timedelta(minutes=1)) -> bool:
    """The same moments, but for what the machine needs."""
    return len(one) == len(other) and all(abs(a - b) <= by for a, b in zip(one, other, strict=True))
