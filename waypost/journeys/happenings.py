"""What can happen to an enrollment from outside, each at a moment: what the interpreter is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from waypost.messaging.rules import FrequencyCap, QuietHours
from waypost.messaging.values import Channel, SuppressionReason
from waypost.segments.people import Deed
from waypost.segments.rules import Rule


class ReceiptKind(StrEnum):
    """What became of a sent message."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"


class OnResume(StrEnum):
    """What a resume does with what a pause held.

    continue   what became due meanwhile comes now, and is sent
    skip_late  the same, but a send that is later than late_after is skipped
    shift      durations and timeouts are longer by the pause; times of day are the next ones after the shifted
               beginning; dates stay where they are
    """

    CONTINUE = "continue"
    SKIP_LATE = "skip_late"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event of the contact was received."""

    at: datetime
    deed: Deed


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactChanged:
    """The contact was changed. Attributes are laid over (None takes one away); fields are those of `Person`."""

    at: datetime
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactDeleted:
    """The contact is no more."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A provider told what became of the primary message of a visit."""

    at: datetime
    visit: int
    kind: ReceiptKind = ReceiptKind.DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A person approved, or did not. Counts where the enrollment waits for it at this step."""

    at: datetime
    step: str
    approved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The journey was paused."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The journey goes on."""

    at: datetime
    policy: OnResume = OnResume.CONTINUE


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSkipped:
    """A person ends the wait at which the enrollment is: a wait goes on, all others time out."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A person puts the enrollment at a step."""

    at: datetime
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A person takes the contact out."""

    at: datetime


Happening: TypeAlias = (
    Happened | ContactChanged | ContactDeleted | Receipt | Answered | Paused | Resumed | WaitSkipped | Moved | Removed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the tenant has and the journey stands on. `zone` is of contacts and journeys that name none."""

    contact: str = ""
    """The contact's id, by which splits are stable."""
    zone: str = "UTC"
    segments: Mapping[str, Rule] = field(default_factory=dict)
    opt_in_topics: frozenset[str] = frozenset()
    suppressed: Mapping[Channel, SuppressionReason] = field(default_factory=dict)
    failing_webhooks: frozenset[str] = frozenset()
    """Steps whose webhook is refused."""
    quiet_hours: QuietHours | None = None
    caps: tuple[FrequencyCap, ...] = ()
    sent: tuple[tuple[datetime, Channel], ...] = ()
    """What else the contact was written, as far as caps look."""
    late_after: timedelta = timedelta(hours=1)
