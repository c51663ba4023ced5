"""What the campaign workflows may ask of the outside world. References and counts only."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from temporalio import activity

PREPARE_ACTIVITY = "campaign-prepare"
PAGE_ACTIVITY = "campaign-page"
DECIDE_ACTIVITY = "campaign-decide"
COMPLETE_ACTIVITY = "campaign-complete"


@dataclass(frozen=True)
class RunInput:
    """A campaign's run: UUIDs in their canonical text form."""

    tenant_id: str
    run_id: str


@dataclass(frozen=True)
class Progress:
    """Where a run is. `again_at`: ask again then, for it waits for a time or a person."""

    state: str
    audience: int = 0
    shards: int = 0
    decide_at: datetime | None = None
    again_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("completed", "cancelled")


class PageStep(StrEnum):
    """What the shard does next.

    more   ask for the next page
    wait   nothing is due before `at`; None: it waits for evidence, a decision or a person
    done   no row of the shard is open
    ended  the run was cancelled
    """

    MORE = "more"
    WAIT = "wait"
    DONE = "done"
    ENDED = "ended"


@dataclass(frozen=True)
class PageInput:
    """A shard of a run."""

    tenant_id: str
    run_id: str
    shard: int


@dataclass(frozen=True)
class PageResult:
    """How far a page came."""

    step: PageStep
    handed_over: int = 0
    """Recipients whose message went to the provider."""
    ended: int = 0
    """Recipients who were not sent to, each with a reason on the row."""
    at: datetime | None = None
    reason: str = ""


class Campaigning(ABC):
    """Implemented by activities.campaigns; referenced by workflows."""

    @activity.defn(name=PREPARE_ACTIVITY)
    @abstractmethod
    async def prepare(self, run: RunInput) -> Progress:
        """Freeze the audience, once: asked again it tells what is."""

    @activity.defn(name=PAGE_ACTIVITY)
    @abstractmethod
    async def page(self, page: PageInput) -> PageResult:
        """Send to the next due recipients of a shard: gate, render, then budget, claim, call, record for each call."""

    @activity.defn(name=DECIDE_ACTIVITY)
    @abstractmethod
    async def decide(self, run: RunInput) -> Progress:
        """Judge the canary or choose the winner, where it is time to; tells what is."""

    @activity.defn(name=COMPLETE_ACTIVITY)
    @abstractmethod
    async def complete(self, run: RunInput) -> Progress:
        """Complete the run if no recipient is open; tells what is."""
