"""What a journey means: one contact's enrollment, from its start to its end, as a function of what happens.

The truth that the workflow is held against. Time is exact, steps take none, and one thing follows another like this:

1. What happens is drained in the order of receipt, one thing wholly before the next. Of one moment, what was received
   comes before what the enrollment itself emitted, that before fallbacks that are due, and those before its own wake:
   an event wins against a timeout of the same moment.
2. Goal, then exits in their order, are looked at after each thing drained and before each visit: events at the one,
   conditions at both. What was before the start counts for conditions alone; what the journey emits does so at once.
3. Steps are taken until one rests. A `wait_for` sees what is drained after it began; a condition that holds then does
   not rest at all.
4. An end by goal, exit rule, removal or deletion takes back what was not sent yet, fallbacks too; any other leaves it.
5. A pause holds steps, wakes and fallbacks, but neither goal, exits, removal nor deletion. On resuming, what came
   meanwhile follows in its order, then what is due.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from waypost.journeys.document import Journey
from waypost.journeys.happenings import Around, Happening
from waypost.journeys.trace import Trace
from waypost.journeys.walking import Walk
from waypost.segments.people import Person


def interpret(
    journey: Journey,
    person: Person,
    *,
    start: datetime,
    data: Mapping[str, Any] | None = None,
    happenings: Iterable[Happening] = (),
    until: datetime | None = None,
    around: Around | None = None,
) -> Trace:
    """Walk a valid journey. All times are aware. Raises KeyError for a segment that `around` lacks.

    `data`: what the enrollment carries, such as the properties of the event that it was entered with. `happenings` are
    taken in the order of their times, those of one time in the order given; what is before `start` is over by then.
    `until`: nothing later than this is looked at; without it the walk goes on until it ends or nothing wakes it.
    """
    walk = Walk(journey=journey, person=person, around=around or Around(), now=start, data=dict(data or {}))
    outside = deque(sorted(happenings, key=lambda one: one.at))
    while outside and outside[0].at < start:
        walk.apply(outside.popleft())
    walk.begin()
    while not walk.is_over:
        if not _one_more(walk, outside, until):
            break
    return walk.trace()


def _one_more(walk: Walk, outside: deque[Happening], until: datetime | None) -> bool:
    """Do what comes next; False where nothing does."""
    moments: list[tuple[datetime, int]] = [(outside[0].at, 0)] if outside else []
    moments += [(walk.now, 1)] if walk.emitted else []
    if (fallback := walk.fallback_due()) is not None:
        moments.append((max(fallback, walk.now), 2))
    if (wake := walk.wakes_at()) is not None:
        moments.append((max(wake, walk.now), 3))
    if not moments or (until is not None and min(moments)[0] > until):
        return False
    walk.now, what = min(moments)
    if what == 0:
        walk.drain(outside.popleft())
    elif what == 1:
        walk.drain_emitted()
    elif what == 2:
        walk.send_fallback()
    else:
        walk.wake()
    return True
