"""What a history says, in words."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory


def events_of(history: WorkflowHistory) -> list[str]:
    """The kinds of its events, without their common beginning."""
    prefix = len("EVENT_TYPE_")
    return [EventType.Name(event.event_type)[prefix:] for event in history.events]
