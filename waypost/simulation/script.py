"""What happens to the contact in a simulation, and when: each entry says one thing."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from waypost.journeys.durations import Duration
from waypost.journeys.happenings import OnResume
from waypost.journeys.pieces import Name, StepId
from waypost.messaging.addresses import EmailAddress, Locale, PhoneNumber, TimeZone
from waypost.messaging.values import Channel, Part
from waypost.segments.rules import Key
from waypost.simulation.given import Data, Given, Moment

MAX_ENTRIES = 1_000


class _Timed(Given):
    at: Annotated[Moment, Field(description="Since the start, or a time; without it at the start")] = timedelta(0)


class _Person(_Timed):
    key: Annotated[str | None, Field(description="Of the enrollment of this key alone")] = None


class EventEntry(_Timed):
    """The contact does something."""

    event: Name
    properties: Data = Field(default_factory=dict)
    id: Annotated[str | None, Field(min_length=1, max_length=200)] = None


class Change(Given):
    """What is said of the contact; null takes it away."""

    email: EmailAddress | None = None
    phone: PhoneNumber | None = None
    time_zone: TimeZone | None = None
    locale: Locale | None = None
    attributes: Data = Field(default_factory=dict)
    consent: dict[Channel, bool] = Field(default_factory=dict)
    join: tuple[Key, ...] = ()
    leave: tuple[Key, ...] = ()
    subscribe: tuple[Key, ...] = ()
    unsubscribe: tuple[Key, ...] = ()


class ChangeEntry(_Timed):
    """The contact is changed."""

    change: Change


class DeleteEntry(_Timed):
    """The contact is deleted."""

    delete: Literal[True]


class ReceiptEntry(Given):
    """What becomes of each message of a step; `none`: nothing is heard of it. Else all are delivered at once."""

    receipt: Literal["delivered", "bounced", "failed", "complained", "opened", "clicked", "none"]
    step: StepId
    part: Part = Part.PRIMARY
    after: Annotated[Duration | None, Field(description="Since its sending")] = None


class AnswerEntry(_Person):
    """A person answers at an approval."""

    answer: bool
    step: StepId


class SkipEntry(_Person):
    """A person ends the wait."""

    skip_wait: Literal[True]


class MoveEntry(_Person):
    """A person puts the contact at a step."""

    move: StepId


class RemoveEntry(_Person):
    """A person takes the contact out."""

    remove: Literal[True]


class PauseEntry(_Timed):
    """The journey is paused."""

    pause: Literal[True]


class ResumeEntry(_Timed):
    """The journey goes on."""

    resume: OnResume


TimedEntry: TypeAlias = (
    EventEntry
    | ChangeEntry
    | DeleteEntry
    | AnswerEntry
    | SkipEntry
    | MoveEntry
    | RemoveEntry
    | PauseEntry
    | ResumeEntry
)

KINDS: tuple[str, ...] = (
    *("event", "change", "delete", "receipt", "answer", "skip_wait", "move", "remove", "pause", "resume"),
)


def _kind(value: Any) -> str | None:
    found = [kind for kind in KINDS if (kind in value if isinstance(value, Mapping) else hasattr(value, kind))]
    return found[0] if found else None


Entry = Annotated[
    Annotated[EventEntry, Tag("event")]
    | Annotated[ChangeEntry, Tag("change")]
    | Annotated[DeleteEntry, Tag("delete")]
    | Annotated[ReceiptEntry, Tag("receipt")]
    | Annotated[AnswerEntry, Tag("answer")]
    | Annotated[SkipEntry, Tag("skip_wait")]
    | Annotated[MoveEntry, Tag("move")]
    | Annotated[RemoveEntry, Tag("remove")]
    | Annotated[PauseEntry, Tag("pause")]
    | Annotated[ResumeEntry, Tag("resume")],
    Discriminator(
        _kind,
        custom_error_type="entry",
        custom_error_message=f"Say what happens: one of {', '.join(KINDS)}.",
    ),
]


class Script(Given):
    """All that happens, in any order; of one moment in this one."""

    events: Annotated[tuple[Entry, ...], Field(max_length=MAX_ENTRIES)] = ()
