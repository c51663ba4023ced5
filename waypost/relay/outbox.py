"""Delivers hints to executions that wait. Losing one only delays: every waiter re-reads its row at its deadline."""

import asyncio
import logging
from collections.abc import Callable

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from waypost.store.database import Database
from waypost.store.outbox import Hint, delete_hints, put_back_hints, take_hints

logger = logging.getLogger(__name__)

BATCH = 50
SIGNAL_TIMEOUT_S = 2.0


class Outbox:
    """Sends signals for outbox rows and deletes the rows; an execution that is gone needs none."""

    def __init__(self, database: Database, client: Callable[[], Client | None]) -> None:
        self._database = database
        self._client = client

    async def deliver(self) -> bool:
        """Deliver a batch; whether more waits. Rows stay, for a day, while Temporal is away."""
        client = self._client()
        if client is None:
            return False
        async with self._database.transaction() as connection:
            hints = await take_hints(connection, limit=BATCH)
            if not hints:
                return False
            done = await asyncio.gather(*(_signal(client, hint) for hint in hints))
            delivered = [hint.id for hint, ok in zip(hints, done, strict=True) if ok]
            await delete_hints(connection, delivered)
            await put_back_hints(connection, [hint.id for hint in hints if hint.id not in delivered])
        return len(delivered) == BATCH


async def _signal(client: Client, hint: Hint) -> bool:
    try:
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            await client.get_workflow_handle(hint.workflow_id).signal(hint.signal)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return True
        logger.warning("hint not delivered", extra={"error": error.status.name})
        return False
    except (TimeoutError, RuntimeError):  # a lazy client that cannot connect
        return False
    return True
