"""Starts what drives a campaign's run, when its time has come and again should its execution be gone.

It moves no row but its own note of when it asked: asking Temporal twice starts nothing twice (DESIGN 7).
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import Priority
from temporalio.common import WorkflowIDConflictPolicy as Conflict
from temporalio.common import WorkflowIDReusePolicy as Reuse

from waypost.messaging.values import Lane
from waypost.relay.dispatch import queue_for
from waypost.relay.executions import attributes_of
from waypost.relay.loops import Loop
from waypost.relay.reconcile import Sweeper
from waypost.relay.recurrences import recur
from waypost.store.campaign_runs import (
    DueRun,
    cancel_runs_of_closed_tenants,
    due_runs,
    end_rows_of_cancelled,
    not_driven,
)
from waypost.store.database import Database
from waypost.store.tallies import fold_tallies
from workflows.campaign import RunInput
from workflows.names import (
    CAMPAIGN_WORKFLOW,
    campaign_workflow_id,
)

logger = logging.getLogger(__name__)

AGAIN = timedelta(seconds=10)
BATCH = 50
_START_TIMEOUT_S = 2.0
_PRIORITY = 3
CAMPAIGNS_LOOP = "campaigns"


class CampaignStarter:
    """One look starts or finds the executions of a batch of runs."""

    def __init__(self, database: Database, client: Callable[[], Client | None]) -> None:
        self._database = database
        self._client = client

    async def look(self) -> bool:
        """Ask Temporal for every run that is due; whether more may wait."""
        client = self._client()
        if client is None:
            return False
        async with self._database.transaction() as connection:
            runs = await due_runs(connection, again=AGAIN, limit=BATCH)
        await asyncio.gather(*(self._drive(client, run) for run in runs))
        return len(runs) == BATCH

    async def _drive(self, client: Client, run: DueRun) -> None:
        try:
            await asyncio.wait_for(start_campaign(client, run), _START_TIMEOUT_S)
        except Exception as error:  # whatever it was: the run's row is asked for again
            logger.warning("campaign not started", extra={"error": type(error).__name__, "run_id": str(run.id)})
            async with self._database.transaction() as connection:
                await not_driven(connection, run)


async def start_campaign(client: Client, run: DueRun) -> None:
    """Start `campaign/<run id>`, or find it running. A closed one may be followed: its row says that work is left."""
    await client.start_workflow(
        CAMPAIGN_WORKFLOW,
        RunInput(str(run.tenant_id), str(run.id)),
        id=campaign_workflow_id(run.id),
        task_queue=queue_for(run.tenant_id, run.placement, Lane.BULK),
        id_reuse_policy=Reuse.ALLOW_DUPLICATE,
        id_conflict_policy=Conflict.USE_EXISTING,
        task_timeout=timedelta(seconds=10),
        static_summary=f"campaign, {run.channel}, run {run.number} ({run.kind})",
        static_details=f"Tenant `{run.tenant_id}`, run `{run.id}`. Counts: `GET /v1/campaigns/{{key}}`.",
        search_attributes=attributes_of(run.tenant_id, kind=CAMPAIGN_WORKFLOW, source="campaign", state="preparing"),
        priority=Priority(priority_key=_PRIORITY, fairness_key=str(run.tenant_id)),
    )


def campaign_loops(database: Database, client: Callable[[], Client | None]) -> list[Loop]:
    """The campaigns' loops of one process of the bulk lane (role waypost_relay)."""
    starter = CampaignStarter(database, client)
    sweep = Sweeper(database)
    return [
        Loop(name=CAMPAIGNS_LOOP, interval_s=1, work=starter.look),
        Loop(name="recurrences", interval_s=1, work=sweep.once("recurrences", recur)),
        Loop(name="tallies", interval_s=1, work=sweep.once("tallies_folded", fold_tallies)),
        Loop(name="cancelled-runs", interval_s=1, work=sweep.once("cancelled_with_run", end_rows_of_cancelled)),
        Loop(name="runs-of-closed", interval_s=5, work=sweep.once("run_closed", cancel_runs_of_closed_tenants)),
    ]
