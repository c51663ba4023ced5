"""What a step decides or does at its moment, as functions of the contact and of what the enrollment carries."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from waypost.journeys.contact_changes import with_attributes
from waypost.journeys.document import Journey
from waypost.journeys.entering import filters_hold
from waypost.journeys.happenings import Around
from waypost.journeys.pieces import FromData
from waypost.journeys.splitting import split_way
from waypost.journeys.steps import (
    AddToList,
    Branch,
    Choice,
    EmitEvent,
    RemoveFromList,
    Split,
    StartJourney,
    Step,
    UpdateContact,
    Wait,
    Webhook,
)
from waypost.journeys.timing import moment_of, next_local_time
from waypost.journeys.trace import Act, Visit
from waypost.segments.comparing import value_at
from waypost.segments.evaluate import evaluate
from waypost.segments.people import Deed, Person

Acting = UpdateContact | AddToList | RemoveFromList | Webhook | EmitEvent | StartJourney


def wait_ends(
    step: Wait, person: Person, data: Mapping[str, Any], *, zone: str, since: datetime, later_than: datetime | None
) -> datetime | None:
    """When a wait that began at `since` ends, by what is known now; None: its date is missing or unreadable.

    `later_than`: when the same step of the enrollment ended last; a time of day does not come twice at one moment.
    """
    if step.for_ is not None:
        return since + step.for_
    if step.until is not None:
        return next_local_time(step.until, zone, since=since, later_than=later_than)
    assert step.date is not None
    date = step.date
    value = value_at(person.attributes, date.attribute) if date.attribute else value_at(data, date.property or "")
    return moment_of(date, value, zone)


def choose(
    journey: Journey,
    step_id: str,
    step: Step,
    person: Person,
    data: Mapping[str, Any],
    *,
    now: datetime,
    around: Around,
) -> str | None:
    """The edge that a branch or split takes; None for every other step."""
    if isinstance(step, Split):
        return str(split_way(step, journey=journey.journey, step=step_id, contact=around.contact))
    if not isinstance(step, Branch):
        return None
    for place, choice in enumerate(step.choices):
        if _holds(choice, person, data, now=now, around=around):
            return str(place)
    return "else"


def _holds(choice: Choice, person: Person, data: Mapping[str, Any], *, now: datetime, around: Around) -> bool:
    return filters_hold(choice.where, data, now=now) and (
        choice.when is None or evaluate(choice.when, person, now=now, segments=around.segments)
    )


def act_of(
    step: Step, visit: Visit, person: Person, data: Mapping[str, Any], *, now: datetime
) -> tuple[Act, Person, Deed | None]:
    """What a step does, the contact after it, and the event that it emits."""
    assert isinstance(step, Acting)
    act = Act(at=now, step=visit.step, visit=visit.number, kind=step.kind)
    match step:
        case UpdateContact():
            changes = {**filled(step.set, data), **dict.fromkeys(step.remove)}
            return replace(act, detail=changes), with_attributes(person, changes), None
        case AddToList():
            return replace(act, detail={"list": step.list}), replace(person, lists=person.lists | {step.list}), None
        case RemoveFromList():
            return replace(act, detail={"list": step.list}), replace(person, lists=person.lists - {step.list}), None
        case Webhook():
            return replace(act, detail={"url": step.url, "data": {**data, **step.data}}), person, None
        case EmitEvent():
            deed = Deed(name=step.event, occurred_at=now, properties=filled(step.properties, data))
            return replace(act, detail={"event": step.event, "properties": deed.properties}), person, deed
        case StartJourney():
            return replace(act, detail={"journey": step.journey, "data": filled(step.data, data)}), person, None
        case _:
            assert_never(step)


def filled(values: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Constants, and what the enrollment carries where one is said to come from there (null where it does not)."""
    return {
        name: value_at(data, value.property) if isinstance(value, FromData) else value for name, value in values.items()
    }
