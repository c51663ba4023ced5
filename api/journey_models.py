"""What is said of journeys and enrollments over the API."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from api.fields import Body, ExternalId, Shown
from waypost.journeys.happenings import OnResume
from waypost.journeys.pieces import MAX_DATA_BYTES, StepId
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import validate_data

MAX_MOVES = 100
MAX_VERSION = 2**31 - 1


def _data(value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return validate_data(value, max_bytes=MAX_DATA_BYTES)
    except LabelError as error:
        raise error.as_pydantic() from None


VersionNumber = Annotated[int, Field(ge=1, le=MAX_VERSION)]
Moves = Annotated[
    dict[StepId, StepId], Field(max_length=MAX_MOVES, description="Steps of the one version → of the other")
]
EntryKey = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ResumeInput(Body):
    """What becomes of what the pause held: docs/journeys.md has the table."""

    policy: OnResume = OnResume.CONTINUE


class ArchiveInput(Body):
    """Whether those who are in it are taken out."""

    remove: bool = False


class MigrateInput(Body):
    """From which version to which. A step goes to the step of its id, or to another by `moves`."""

    from_: Annotated[VersionNumber, Field(alias="from")]
    to: VersionNumber
    moves: Moves = Field(default_factory=dict)
    dry_run: Annotated[bool, Field(description="Count, and move nobody")] = False


class EnrollInput(Body):
    """Whom to enroll, with what it carries."""

    contact: Annotated[ExternalId, Field(description="External id")]
    data: Annotated[
        dict[str, Any], AfterValidator(_data), Field(description="What the enrollment carries, 8 KB of JSON at most")
    ] = Field(default_factory=dict)
    key: Annotated[EntryKey | None, Field(description="Of a journey with reentry: per_key, and of no other")] = None


class SkipInput(Body):
    """At which step it waits."""

    step: StepId | None = None


class MoveInput(Body):
    """The step that the contact is put at."""

    step: StepId


class AnswerInput(Body):
    """A person's word at an approval."""

    step: StepId
    approved: bool


class JourneySummary(Shown):
    """A journey in a list. `version` is the one that people enter; 0: none was published."""

    key: str
    name: str
    mode: str
    state: Literal["draft", "active", "paused", "archived"]
    version: int
    created_at: datetime
    updated_at: datetime


class PeopleShown(BaseModel):
    """Where people are now, and how those ended who were in it."""

    open: int
    waiting: Annotated[int, Field(description="Of the open ones: before their first step")]
    steps: Mapping[str, int]
    endings: Mapping[str, int]


class JourneyShown(JourneySummary):
    """A journey with its draft, and its people. `draining`: the version that waits until the old one is empty."""

    draft: Annotated[str, Field(description="The document as it was written")]
    draft_revision: int
    draining: int | None
    counts: PeopleShown


More = Annotated[bool, Field(description="There are more people than one request has time for: ask again")]


class ArchivedShown(JourneyShown):
    """An archived journey. `removed`: who was taken out by this request."""

    removed: int
    more: More


class PublishedShown(BaseModel):
    """What publishing came to. `new`: it was not published before, as it is."""

    version: int
    new: bool
    draining: bool
    moved: Annotated[int, Field(description="People of the version before who go on in this one")]
    left: int
    more: More


class StepMove(BaseModel):
    """Where people of a step go. `to` null: they are left in their version. `stays`: they go on waiting as they do."""

    step: str
    people: int
    to: str | None
    stays: bool


class MigrationShown(BaseModel):
    """A migration: where each step leads with how many are there, and how many were moved and left."""

    dry_run: bool
    steps: Sequence[StepMove]
    waiting: Annotated[int, Field(description="Before their first step: they begin in the other version")]
    moved: int
    left: int
    more: More


class VersionSummary(Shown):
    """A published version, and how many are in it."""

    number: int
    published_at: datetime
    published_by: Annotated[str, Field(description="The id of the key that published it")]
    open: int


class VersionShown(VersionSummary):
    """A published version: the document as it was written, and as it was read."""

    source: str
    definition: dict[str, Any]


class DeedShown(Shown):
    """Something that somebody did to a journey or to an enrollment of it."""

    at: datetime
    action: str
    actor: Annotated[str, Field(description="The id of the key")]
    enrollment_id: UUID | None
    detail: dict[str, Any]


class EnrollmentShown(BaseModel):
    """One contact's run of a journey."""

    id: UUID
    journey: str
    version: int
    contact: Annotated[str | None, Field(description="External id; null once it is forgotten")]
    key: str
    number: Annotated[int, Field(description="The contact's n-th of this journey and key")]
    mode: str
    source: str
    state: Literal["open", "ended"]
    data: dict[str, Any]
    step: str | None
    resting_since: datetime | None
    wakes_at: datetime | None
    paused_at: datetime | None
    entered_at: datetime
    ended_at: datetime | None
    how: str | None
    reason: str | None
    execution: Annotated[str, Field(description="The execution in the Temporal Web UI")]


class VisitShown(Shown):
    """A step that was taken. `edge` is the way out; `why` says why it led there."""

    number: int
    step: str
    kind: str
    entered_at: datetime
    left_at: datetime | None
    waited_until: datetime | None
    edge: str | None
    why: Mapping[str, Any]


class EnrollmentDetail(EnrollmentShown):
    """An enrollment with the steps that it took."""

    visits: Sequence[VisitShown]


class Waker(BaseModel):
    """Something that would move it now. `to` is the step that follows; null: the enrollment would end."""

    by: Literal["time", "event", "condition", "answer", "message", "resume", "decision"]
    at: datetime | None = None
    message: Annotated[UUID | None, Field(description="The message that is to be sent")] = None
    event: str | None = None
    to: str | None = None
    ends: Annotated[str | None, Field(description="The goal's or exit rule's name, where it would end")] = None
    sentence: str


class ReasonShown(BaseModel):
    """A step that was left, and why it led where it did."""

    visit: int
    step: str
    kind: str
    edge: str | None
    to: Annotated[str | None, Field(description="The step that followed")]
    at: datetime
    why: Mapping[str, Any]
    sentence: str


class ExplanationShown(BaseModel):
    """Where an enrollment is, since when, how it came there, and what moves it next."""

    enrollment: EnrollmentShown
    since: datetime | None
    sentence: str
    wakers: Sequence[Waker]
    untaken: Annotated[Mapping[str, int], Field(description="What it was told and has not decided about yet, by kind")]
    way: Sequence[ReasonShown]
