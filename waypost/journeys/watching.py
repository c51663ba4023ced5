"""What a journey's people are watched for: events that may move somebody, and whether any change of a contact may."""

from collections.abc import Iterator

from waypost.journeys.document import Journey
from waypost.journeys.pieces import Watch
from waypost.journeys.steps import Step, Wait, WaitFor


def watched_events(journey: Journey) -> tuple[str, ...]:
    """The names of all events that goal, exits and steps of the journey wait for, sorted."""
    return tuple(sorted({watch.event for watch in _watches(journey) if watch.event is not None}))


def watches_contact(journey: Journey) -> bool:
    """Whether a change of the contact may move somebody: by a condition, or by a date or clock that a wait goes by."""
    conditions = any(watch.condition is not None for watch in _watches(journey))
    return conditions or any(moves_with_contact(step) for step in journey.steps.values())


def moves_with_contact(step: Step) -> bool:
    """Whether a rest at this step may end at another time once the contact is another."""
    if isinstance(step, Wait):
        return step.for_ is None
    return isinstance(step, WaitFor) and step.watch.condition is not None


def rules_everywhere(journey: Journey) -> tuple[Watch, ...]:
    """Goal and exits, in the order in which they are looked at."""
    return ((journey.goal,) if journey.goal is not None else ()) + journey.exits


def _watches(journey: Journey) -> Iterator[Watch]:
    yield from rules_everywhere(journey)
    for step in journey.steps.values():
        if isinstance(step, WaitFor):
            yield step.watch
