"""Every name that Temporal keeps: workflows, ids, queues, signals, search attributes. Activities' are in contracts.

They are frozen by tests/conventions: running executions know them by these strings.
"""

from uuid import UUID

from temporalio.common import SearchAttributeKey

from waypost.messaging.values import Lane

MESSAGE_WORKFLOW = "message"
DELIVERED_SIGNAL = "delivery-changed"
CAMPAIGN_WORKFLOW = "campaign"
CAMPAIGN_SHARD_WORKFLOW = "campaign-shard"
JOURNEY_WORKFLOW = "journey"
WAKE_SIGNAL = "wake"

TENANT_ATTRIBUTE = SearchAttributeKey.for_keyword("WaypostTenant")
KIND_ATTRIBUTE = SearchAttributeKey.for_keyword("WaypostKind")
SOURCE_ATTRIBUTE = SearchAttributeKey.for_keyword("WaypostSource")
STATE_ATTRIBUTE = SearchAttributeKey.for_keyword("WaypostState")

OWN_PLACEMENT = "own"


def message_workflow_id(message: UUID) -> str:
    """The execution of one message."""
    return f"message/{message}"


def campaign_workflow_id(run: UUID | str) -> str:
    """The execution of a campaign's run."""
    return f"campaign/{run}"


def shard_workflow_id(run: UUID | str, shard: int) -> str:
    """The execution of one shard of a run."""
    return f"campaign/{run}/shard-{shard}"


def journey_workflow_id(enrollment: UUID | str) -> str:
    """The execution of an enrollment."""
    return f"journey/{enrollment}"


def task_queue(*, placement: str, tenant: UUID, lane: Lane) -> str:
    """The queue of a tenant's lane: its own, or that of the pool it is placed in."""
    owner = f"tenant-{tenant}" if placement == OWN_PLACEMENT else placement
    return f"{owner}/{lane}"
