"""What came of an enrollment: visits, messages, what it did, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from waypost.messaging.values import Channel, Outcome, Part


class How(StrEnum):
    """How an enrollment ends.

    completed        a way led to `end`
    exit             an exit step
    goal, exit_rule  it was reached, or held, wherever the contact was
    removed          by a person
    contact_deleted  with the contact
    stopped          by a bound: too many steps
    """

    COMPLETED = "completed"
    EXIT = "exit"
    GOAL = "goal"
    EXIT_RULE = "exit_rule"
    REMOVED = "removed"
    CONTACT_DELETED = "contact_deleted"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A step taken. `number` counts from 1. `edge` is the key of the way out; None: it is there yet, or ended there.

    `waited_until`: for when it was to wake, by what was known when the visit began; None where it did not rest.
    """

    number: int
    step: str
    entered_at: datetime
    left_at: datetime | None = None
    edge: str | None = None
    waited_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that was handed to the send path at this moment, or refused by the gate."""

    at: datetime
    step: str
    visit: int
    part: Part
    channel: Channel
    template: str
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something else that a step did; `kind` is the step's."""

    at: datetime
    step: str
    visit: int
    kind: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How, why and where; `step` is where the contact was, None before the first step."""

    at: datetime
    how: How
    reason: str
    step: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The whole of it. Without an ending the contact waits at the last visit, which wakes at `wakes_at`, if ever."""

    visits: tuple[Visit, ...]
    sends: tuple[Sent, ...]
    acts: tuple[Act, ...]
    ending: Ending | None
    wakes_at: datetime | None = None
