"""What a step does, in a few words: for diagrams and lists."""

from datetime import time, timedelta
from typing import assert_never

from waypost.journeys.durations import write_duration
from waypost.journeys.pieces import ContactDate, Watch
from waypost.journeys.steps import (
    AddToList,
    Approval,
    Branch,
    EmitEvent,
    Exit,
    LocalTime,
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
from waypost.messaging.rules import EVERY_DAY


def words_of(step: Step) -> str:
    """A step's title, or what it does."""
    return step.title or _words(step)


def _words(step: Step) -> str:
    match step:
        case Send():
            also = f", else {step.fallback.channel}" if step.fallback is not None else ""
            return f"{step.channel}: {step.template}{also}"
        case Wait():
            return _wait(step)
        case WaitFor():
            return f"wait for {_watch(step.watch)}, {say_duration(step.timeout)} at most"
        case Branch():
            return "which one holds?"
        case Split():
            return "by chance"
        case UpdateContact():
            return f"set {', '.join([*step.set, *step.remove])}"
        case AddToList():
            return f"add to list {step.list}"
        case RemoveFromList():
            return f"remove from list {step.list}"
        case Webhook():
            return f"call {step.url.split('/')[2]}"
        case EmitEvent():
            return f"event {step.event}"
        case StartJourney():
            return f"start journey {step.journey}"
        case Approval():
            return step.question
        case Exit():
            return f"exit: {step.reason}"
        case _:
            assert_never(step)


def _watch(watch: Watch) -> str:
    return watch.event if watch.event is not None else "a condition"


def _wait(step: Wait) -> str:
    if step.for_ is not None:
        return f"wait {say_duration(step.for_)}"
    if step.until is not None:
        return f"wait until {_clock(step.until.time)}{_days(step.until)}"
    assert step.date is not None
    return f"wait until {say_date(step.date)}"


def say_date(date: ContactDate) -> str:
    """`3 days before trial_ends_on, 09:00`."""
    near = ""
    if date.offset:
        near = f"{say_duration(abs(date.offset))} {'before' if date.offset < timedelta(0) else 'after'} "
    return f"{near}{date.attribute or date.property}{f', {_clock(date.at)}' if date.at is not None else ''}"


def say_duration(duration: timedelta) -> str:
    """`3 days`, `2 hours`; ISO 8601 where it is no whole number of one unit."""
    for name, unit in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, rest = divmod(int(duration.total_seconds()), unit)
        if count and not rest:
            return f"{count} {name}{'s' if count > 1 else ''}"
    return write_duration(duration)


def _clock(at: time) -> str:
    return at.isoformat("minutes" if not at.second else "seconds")


def _days(local: LocalTime) -> str:
    if len(set(local.days)) == len(EVERY_DAY):
        return ""
    return " on " + ", ".join(day[:3] for day in EVERY_DAY if day in local.days)
