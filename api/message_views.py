"""What is shown of a message: its row, and its story as one timeline."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

import isodate
from pydantic import Field

from api.fields import Shown
from waypost.messaging.values import (
    AttemptState,
    Channel,
    Delivery,
    EventKind,
    MessageClass,
    Mode,
    Outcome,
    Part,
    Phase,
)
from waypost.settings import TemporalSettings
from waypost.store.message_story import AttemptRow, EventRow, MessageRow, Story, VerdictRow
from workflows.names import campaign_workflow_id, journey_workflow_id, message_workflow_id

Source = Literal["transactional", "campaign", "journey", "probe"]


class Links(Shown):
    """Where to look further."""

    self: str
    execution: Annotated[str, Field(description="The execution in the Temporal Web UI, once there is one")]


class Recipient(Shown):
    """Whom the message goes to."""

    contact: Annotated[str | None, Field(description="External id; null for a bare address or an erased contact")]
    address: str


class TemplateShown(Shown):
    """The template's version that the message is pinned to."""

    key: str
    version: int


class AccountShown(Shown):
    """The provider account the message goes through."""

    id: UUID
    name: str


class MessageShown(Shown):
    """A message as the ledger has it."""

    id: UUID
    status: Annotated[str, Field(description="The outcome; while there is none, the phase")]
    source: Source
    source_id: UUID
    enrollment_id: Annotated[UUID | None, Field(description="Of a journey's message")]
    part: Part
    message_class: Annotated[MessageClass, Field(alias="class")]
    mode: Mode
    channel: Channel
    to: Recipient
    sender: str
    account: AccountShown
    template: TemplateShown | None
    tags: Sequence[str]
    metadata: dict[str, Any] | None
    unknown_policy: Literal["wait", "at_most_once"] | None
    phase: Phase
    hold_reason: Annotated[str | None, Field(description="Why the message waits")]
    created_at: datetime
    send_at: datetime | None
    late_approved_at: Annotated[datetime | None, Field(description="When it was released though late")]
    due_at: datetime | None
    expires_at: datetime
    dispatched_at: datetime | None
    cancel_requested_at: datetime | None
    attempts: int
    outcome: Outcome | None
    outcome_reason: str | None
    outcome_at: datetime | None
    delivery: Delivery
    bounced: bool
    complained: bool
    undeliverable: bool
    primary_id: Annotated[UUID | None, Field(description="Set on a fallback: the message it stands in for")]
    fallback_id: UUID | None
    fallback_after: Annotated[str | None, Field(description="ISO 8601 duration", examples=["PT10M"])]
    links: Links


class AttemptShown(Shown):
    """One try to hand the message to the provider."""

    id: UUID
    number: int
    state: AttemptState
    claimed_at: datetime
    recorded_at: datetime | None
    provider_message_id: str | None
    code: str | None
    resolution: str | None
    resolved_at: datetime | None
    dup_accept: bool


class VerdictShown(Shown):
    """A verdict of the gate other than "send"."""

    at: datetime
    verdict: Literal["defer", "refuse"]
    reason: str
    outcome: Outcome | None
    until: datetime | None


class EventShown(Shown):
    """What the provider reported."""

    attempt_id: UUID
    kind: EventKind
    occurred_at: datetime
    received_at: datetime
    permanent: bool
    machine: bool
    code: str | None


Moment = Literal["accepted", "verdict", "attempt", "attempt_ended", "event", "cancel_requested", "released", "outcome"]


class TimelineEntry(Shown):
    """One thing that happened, in a sentence fit for a log: no address, no content."""

    at: datetime
    kind: Moment
    text: str
    attempt: Annotated[int | None, Field(description="The attempt's number")] = None


class MessageStory(MessageShown):
    """A message and all that happened to it; of long lists the newest entries."""

    attempt_list: Sequence[AttemptShown]
    verdicts: Sequence[VerdictShown]
    events: Sequence[EventShown]
    timeline: Sequence[TimelineEntry]


class MessageLinks:
    """Writes the links of messages."""

    def __init__(self, *, public_url: str, temporal: TemporalSettings) -> None:
        self._self = f"{public_url.rstrip('/')}/v1/messages/"
        self._execution = f"{temporal.ui_url.rstrip('/')}/namespaces/{quote(temporal.namespace, safe='')}/workflows/"

    def of(self, message: UUID, *, execution: str | None = None) -> dict[str, str]:
        """Links of a message. `execution` is the workflow id of what drives it, where that is not its own."""
        execution = execution or message_workflow_id(message)
        return {"self": f"{self._self}{message}", "execution": f"{self._execution}{quote(execution, safe='')}"}

    def of_campaign(self, run: UUID) -> str:
        """The execution of a campaign's run."""
        return f"{self._execution}{quote(campaign_workflow_id(run), safe='')}"

    def of_enrollment(self, enrollment: UUID) -> str:
        """The execution of an enrollment."""
        return f"{self._execution}{quote(journey_workflow_id(enrollment), safe='')}"


def show_message(row: MessageRow, links: MessageLinks) -> dict[str, Any]:
    """A row as MessageShown has it. A plain dict: a page of 200 is not validated twice."""
    campaign = row.source == "campaign"
    return {
        "id": row.id,
        "status": row.outcome or row.phase,
        "source": row.source,
        "source_id": row.source_id,
        "enrollment_id": row.enrollment_id,
        "part": Part.PRIMARY if campaign else row.part,  # a campaign's recipient has its contact there
        "class": row.class_,
        "mode": row.mode,
        "channel": row.channel,
        "to": {"contact": row.contact, "address": row.address},
        "sender": row.sender,
        "account": {"id": row.account_id, "name": row.account},
        "template": {"key": row.template, "version": row.template_version} if row.template else None,
        "tags": row.tags or [],
        "metadata": row.metadata,
        "unknown_policy": row.unknown_policy,
        "phase": row.phase,
        "hold_reason": row.hold_reason,
        "created_at": row.created_at,
        "send_at": row.send_at,
        "late_approved_at": row.late_approved_at,
        "due_at": row.due_at,
        "expires_at": row.expires_at,
        "dispatched_at": row.dispatched_at,
        "cancel_requested_at": row.cancel_requested_at,
        "attempts": row.attempts,
        "outcome": row.outcome,
        "outcome_reason": row.outcome_reason,
        "outcome_at": row.outcome_at,
        "delivery": row.delivery,
        "bounced": row.bounced,
        "complained": row.complained,
        "undeliverable": row.undeliverable,
        "primary_id": row.primary_id,
        "fallback_id": row.fallback_id,
        "fallback_after": isodate.duration_isoformat(row.fallback_after) if row.fallback_after else None,
        "links": links.of(row.id, execution=_driven_by(row)),
    }


def _driven_by(row: MessageRow) -> str | None:
    """The execution of somebody else that drives it. What was put back to its row is dispatched as one of its own."""
    if row.source == "campaign":
        return campaign_workflow_id(row.source_id)
    if row.dispatches > 0:
        return None
    if row.enrollment_id is not None:
        return journey_workflow_id(row.enrollment_id) if row.primary_id is None else None
    return message_workflow_id(row.primary_id) if row.primary_id else None


def show_story(story: Story, links: MessageLinks) -> dict[str, Any]:
    """A story as MessageStory has it."""
    return {
        **show_message(story.message, links),
        "attempt_list": [AttemptShown.model_validate(row).model_dump() for row in story.attempts],
        "verdicts": [VerdictShown.model_validate(row).model_dump() for row in story.verdicts],
        "events": [EventShown.model_validate(row).model_dump() for row in story.events],
        "timeline": [entry.model_dump() for entry in timeline(story)],
    }


def timeline(story: Story) -> list[TimelineEntry]:
    """Everything in the order in which it happened; what happened at once stays in the order of cause and effect."""
    message = story.message
    numbers = {attempt.id: attempt.number for attempt in story.attempts}
    entries = [
        *_accepted(message),
        *(_verdict(row) for row in story.verdicts),
        *(entry for row in story.attempts for entry in _attempt(row)),
        *(_event(row, numbers.get(row.attempt_id)) for row in story.events),
        *_ended(message),
    ]
    return sorted(entries, key=lambda entry: entry.at)


def _accepted(message: MessageRow) -> Iterator[TimelineEntry]:
    when = f", to be sent at {message.send_at.isoformat()}" if message.send_at else ""
    yield TimelineEntry(at=message.created_at, kind="accepted", text=f"Accepted on {message.channel}{when}.")
    if message.cancel_requested_at is not None:
        yield TimelineEntry(at=message.cancel_requested_at, kind="cancel_requested", text="The caller cancelled it.")
    if message.late_approved_at is not None:
        yield TimelineEntry(at=message.late_approved_at, kind="released", text="Released though it was late.")


def _verdict(row: VerdictRow) -> TimelineEntry:
    if row.until is not None:
        text = f"Deferred until {row.until.isoformat()}: {row.reason}."
    else:
        text = f"Refused at the gate as {row.outcome}: {row.reason}."
    return TimelineEntry(at=row.at, kind="verdict", text=text)


def _attempt(row: AttemptRow) -> Iterator[TimelineEntry]:
    yield TimelineEntry(at=row.claimed_at, kind="attempt", text=f"Attempt {row.number} claimed.", attempt=row.number)
    code = f" ({row.code})" if row.code else ""
    if row.resolved_at is not None:
        how = f" by {row.resolution}" if row.resolution else ""
        text = f"Attempt {row.number} is {row.state}{how}{code}."
        yield TimelineEntry(at=row.resolved_at, kind="attempt_ended", text=text, attempt=row.number)
    elif row.recorded_at is not None:
        text = f"Attempt {row.number} ended {row.state}{code}."
        yield TimelineEntry(at=row.recorded_at, kind="attempt_ended", text=text, attempt=row.number)


def _event(row: EventRow, attempt: int | None) -> TimelineEntry:
    notes = [note for note, holds in (("permanent", row.permanent), ("by a machine", row.machine)) if holds]
    detail = f" ({', '.join(notes + ([row.code] if row.code else []))})" if notes or row.code else ""
    return TimelineEntry(at=row.occurred_at, kind="event", text=f"Provider: {row.kind}{detail}.", attempt=attempt)


def _ended(message: MessageRow) -> Iterator[TimelineEntry]:
    if message.outcome is not None and message.outcome_at is not None:
        text = f"Outcome {message.outcome}: {message.outcome_reason}."
        yield TimelineEntry(at=message.outcome_at, kind="outcome", text=text)
