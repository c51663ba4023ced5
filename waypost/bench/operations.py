"""What an execution costs at Temporal: events of its history, and what Temporal Cloud would bill as actions."""

from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

_ACTIONS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Of one execution that is over, or of several on average."""

    events: float
    actions: float

    def per(self, steps: int) -> Mapping[str, float]:
        """A step's share."""
        return {"history events": round(self.events / steps, 1), "actions": round(self.actions / steps, 1)}


async def operations(client: Client, workflow_id: str) -> Operations:
    """Read the history of an execution."""
    kinds = [event.event_type async for event in client.get_workflow_handle(workflow_id).fetch_history_events()]
    return Operations(events=len(kinds), actions=sum(kind in _ACTIONS for kind in kinds))


async def mean_operations(client: Client, workflow_ids: list[str]) -> Operations:
    """On average over some executions."""
    found = [await operations(client, workflow_id) for workflow_id in workflow_ids]
    return Operations(
        events=sum(each.events for each in found) / len(found), actions=sum(each.actions for each in found) / len(found)
    )
