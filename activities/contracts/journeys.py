"""What the journey workflow may ask of the outside world. References, step ids and verdicts only."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from temporalio import activity

JOURNEY_DECIDE_ACTIVITY = "journey-decide"
JOURNEY_WEBHOOK_ACTIVITY = "journey-webhook"


class Next(StrEnum):
    """What the execution does next.

    send     run the send activity for `message_id`, then ask again
    webhook  run the webhook activity for `visit`, then ask again
    rest     wait for `rest_s` seconds, or until woken, then ask again; None: until woken
    again    ask again at once: there is more than one decision takes
    ended    nothing: the enrollment is over
    """

    SEND = "send"
    WEBHOOK = "webhook"
    REST = "rest"
    AGAIN = "again"
    ENDED = "ended"


@dataclass(frozen=True)
class DecideInput:
    """An enrollment, and the version whose plan its execution has: UUIDs in their canonical text form."""

    tenant_id: str
    enrollment_id: str
    version_id: str


@dataclass(frozen=True)
class Decision:
    """Where the enrollment is after all that could be decided without a wait and without a provider.

    `taken`: the steps that were left, each with the edge by which. `plan`: of `version_id`, where that is another one
    than the execution knew. `queue`: where the execution goes on, where that is another task queue. `at` is when the
    rest ends, by the database's clock: the execution waits for a length of time, so that its own may be another.
    """

    next: Next
    step: str
    """The step where it is; of one that is over, how it ended."""
    visit: int
    taken: tuple[tuple[str, str], ...] = ()
    at: datetime | None = None
    rest_s: float | None = None
    message_id: str | None = None
    version_id: str | None = None
    plan: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class WebhookInput:
    """The visit of a webhook step."""

    tenant_id: str
    enrollment_id: str
    visit: int


class Journeying(ABC):
    """Implemented by activities.journeys; referenced by workflows."""

    @activity.defn(name=JOURNEY_DECIDE_ACTIVITY)
    @abstractmethod
    async def decide(self, task: DecideInput) -> Decision:
        """Take what waits in the inbox, then steps, until one rests, sends or calls, or it is over."""

    @activity.defn(name=JOURNEY_WEBHOOK_ACTIVITY)
    @abstractmethod
    async def webhook(self, task: WebhookInput) -> str:
        """Post a webhook step's data once, and write down whether it was taken; a code for people."""
