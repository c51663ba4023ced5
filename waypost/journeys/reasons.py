"""Why a step led where it did, in words."""

from collections.abc import Mapping
from typing import Any, assert_never

from waypost.journeys.graph import edges_of
from waypost.journeys.steps import (
    AddToList,
    Approval,
    Branch,
    EmitEvent,
    Exit,
    RemoveFromList,
    Send,
    Split,
    StartJourney,
    Step,
    UpdateContact,
    Wait,
    WaitFor,
    Webhook,
)
from waypost.journeys.wording import words_of


def cause(why: Mapping[str, Any], step: Step | None, edge: str | None) -> str:
    """A sentence: why a visit of a step led out by an edge. `why` is what its decision wrote down."""
    if "moved_to" in why:
        return f"A person, or a new version, put it at {why['moved_to']}."
    if why.get("skipped"):
        return "A person ended the wait."
    match step:
        case None:
            return "The step is of another version."
        case Branch():
            return _branched(why)
        case Split():
            return f"Chance, the same for this contact each time, chose {_label(step, edge)}."
        case Wait():
            return _SEEN.get(str(why.get("seen")), "The wait was over.")
        case WaitFor():
            return _waited(step, str(why.get("seen")), edge)
        case Approval():
            return {"next": "Somebody approved.", "on_reject": "Somebody rejected."}.get(
                edge or "", "Nobody answered in time."
            )
        case Send():
            return _sent(why)
        case Webhook():
            return "The webhook was given up." if edge == "on_failure" else "The webhook was called."
        case StartJourney():
            refused = f": {why['refused']}" if "refused" in why else ""
            return f"Journey {step.journey} was {'not ' if refused else ''}entered{refused}."
        case Exit():
            return f"It is an exit: {step.reason}."
        case UpdateContact() | AddToList() | RemoveFromList() | EmitEvent():
            return f"Done: {words_of(step)}."
        case _:
            assert_never(step)


_SEEN: Mapping[str, str] = {
    "date_missing": "The date is missing.",
    "date_past": "The date was past.",
    "date_gone": "The date was taken away.",
}


def _branched(why: Mapping[str, Any]) -> str:
    held = why.get("held")
    if not isinstance(held, dict):
        return f"Chosen: {why.get('chosen', 'else')}."
    said = ", ".join(f"{name} {'held' if holds else 'did not hold'}" for name, holds in held.items())
    return f"Of its choices {said}: {why.get('chosen')} it was."


def _waited(step: WaitFor, seen: str, edge: str | None) -> str:
    if seen == "event":
        return f"The contact did {step.watch.event}."
    if seen == "condition" or edge == "next":
        return "What it waited for held."
    return "It did not come in time."


def _sent(why: Mapping[str, Any]) -> str:
    outcome, reason = why.get("outcome"), why.get("reason")
    said = {"sent": "The message was sent", "maybe_sent": "The message was perhaps sent"}.get(
        str(outcome), f"The message was not sent: {outcome}"
    )
    return f"{said} ({reason})." if reason else f"{said}."


def _label(step: Step, edge: str | None) -> str:
    return next((one.label for one in edges_of(step) if one.key == edge), "a way")
