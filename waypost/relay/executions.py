"""What the loops say of executions that they start, and ask Temporal about those that should be there."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from workflows.names import KIND_ATTRIBUTE, SOURCE_ATTRIBUTE, STATE_ATTRIBUTE, TENANT_ATTRIBUTE

_AT_ONCE = 8
_ASK_TIMEOUT_S = 2.0


def attributes_of(tenant: UUID, *, kind: str, source: str, state: str) -> TypedSearchAttributes:
    """What an execution is found by; `state` is what it begins with."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(TENANT_ATTRIBUTE, str(tenant)),
            SearchAttributePair(KIND_ATTRIBUTE, kind),
            SearchAttributePair(SOURCE_ATTRIBUTE, source),
            SearchAttributePair(STATE_ATTRIBUTE, state),
        ]
    )


class Liveness:
    """Asks Temporal which executions are gone, a few at a time."""

    def __init__(self) -> None:
        self._width = asyncio.Semaphore(_AT_ONCE)

    async def gone(self, client: Client, executions: Sequence[str]) -> list[bool | None]:
        """Of each workflow id: only when Temporal says so, closed or not there. None is silence and means nothing."""
        return list(await asyncio.gather(*(self._is_gone(client, execution) for execution in executions)))

    async def _is_gone(self, client: Client, execution: str) -> bool | None:
        async with self._width:
            try:
                async with asyncio.timeout(_ASK_TIMEOUT_S):
                    described = await client.get_workflow_handle(execution).describe()
            except RPCError as error:
                return True if error.status is RPCStatusCode.NOT_FOUND else None
            except (TimeoutError, RuntimeError):  # a lazy client that cannot connect
                return None
        return described.status not in (WorkflowExecutionStatus.RUNNING, None)
