"""What the script did, in words."""

from typing import Any, assert_never

from waypost.simulation.receipts import Report
from waypost.simulation.script import (
    AnswerEntry,
    ChangeEntry,
    DeleteEntry,
    EventEntry,
    MoveEntry,
    PauseEntry,
    RemoveEntry,
    ResumeEntry,
    SkipEntry,
    TimedEntry,
)

Said = tuple[str, str | None, str, dict[str, Any]]
"""Kind, step, text, facts."""


def say_happened(what: TimedEntry | Report) -> Said:
    """One thing that happened from outside."""
    match what:
        case Report():
            part = "" if what.part == "primary" else " (fallback)"
            return "receipt", what.step, f"The message of {what.step}{part}: {what.said}.", {"receipt": what.said}
        case EventEntry():
            facts = {"event": what.event, "properties": dict(what.properties)}
            return "event", None, f"The contact does {what.event}{_with(what.properties)}.", facts
        case ChangeEntry():
            said = what.change.model_dump(mode="json", exclude_unset=True)
            return "change", None, f"The contact changes: {', '.join(said) or 'nothing'}.", {"change": said}
        case DeleteEntry():
            return "delete", None, "The contact is deleted.", {}
        case AnswerEntry():
            word = "approves" if what.answer else "rejects"
            return "answer", what.step, f"Somebody {word} at {what.step}.", {"answer": what.answer}
        case SkipEntry():
            return "skip_wait", None, "Somebody ends the wait.", {}
        case MoveEntry():
            return "move", what.move, f"Somebody moves the contact to {what.move}.", {}
        case RemoveEntry():
            return "remove", None, "Somebody takes the contact out.", {}
        case PauseEntry():
            return "pause", None, "The journey is paused.", {}
        case ResumeEntry():
            return "resume", None, f"The journey goes on ({what.resume}).", {"policy": what.resume.value}
        case _:
            assert_never(what)


def _with(properties: dict[str, Any]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in list(properties.items())[:4])
    return f" ({said[:80]})" if said else ""
