"""What the message workflow may ask of the outside world."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from temporalio import activity

from waypost.messaging.values import Outcome

SEND_ACTIVITY = "send"


class Step(StrEnum):
    """What the execution does next.

    done        nothing: the outcome is set, or evidence is awaited by the row alone
    put_back    nothing: the row waits and will be dispatched again
    again       ask again at `at` (a login code whose first try is unknown; a fallback whose time has not come)
    fallback    the message is out of our hands; its fallback is due at `at`, or when the delivery changes
    """

    DONE = "done"
    PUT_BACK = "put_back"
    AGAIN = "again"
    FALLBACK = "fallback"


@dataclass(frozen=True)
class SendInput:
    """References only: both are UUIDs in their canonical text form."""

    tenant_id: str
    message_id: str


@dataclass(frozen=True)
class SendResult:
    """A verdict and references: what happened, in codes, and what comes next."""

    step: Step
    state: str
    """For people reading the Web UI: an outcome, or why there is none yet."""
    at: datetime | None = None
    outcome: Outcome | None = None
    fallback_id: str | None = None


class Sending(ABC):
    """Implemented by activities.sending; referenced by workflows."""

    @activity.defn(name=SEND_ACTIVITY)
    @abstractmethod
    async def send(self, task: SendInput) -> SendResult:
        """Take one message as far as it goes now: load, gate, render, budget, claim, one provider call, record."""
