"""Everything that could start a campaign again, done again each second: by the API, by Temporal, by the watchdog."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from activities.contracts.campaigns import RunInput
from waypost.drills.campaigning import CampaignDoor
from waypost.drills.staging import Staging
from waypost.messaging.values import Lane
from waypost.store.campaign_audit import forget_driven
from workflows.campaign_shard import ShardInput
from workflows.names import (
    CAMPAIGN_SHARD_WORKFLOW,
    CAMPAIGN_WORKFLOW,
    OWN_PLACEMENT,
    campaign_workflow_id,
    shard_workflow_id,
    task_queue,
)

EVERY_S = 1.0
_START_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Started:
    """A campaign under way: its key and its run."""

    key: str
    run: UUID


class SecondStarts:
    """Fires every path at every campaign each second, and counts."""

    def __init__(self, staging: Staging, door: CampaignDoor, tenant: UUID, campaigns: Sequence[Started]) -> None:
        self._staging = staging
        self._door = door
        self._tenant = tenant
        self._campaigns = campaigns
        self.rounds = 0
        self.fired: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        client = await self._staging.temporal()
        while True:
            began = asyncio.get_running_loop().time()
            await asyncio.gather(self._watchdog(), *(self._each(client, campaign) for campaign in self._campaigns))
            self.rounds += 1
            await asyncio.sleep(max(0.0, began + EVERY_S - asyncio.get_running_loop().time()))

    async def _each(self, client: Client, campaign: Started) -> None:
        run = campaign.run
        reference = RunInput(str(self._tenant), str(run))
        shard = ShardInput(str(self._tenant), str(run), 0)
        orchestrator, first_shard = campaign_workflow_id(run), shard_workflow_id(run, 0)
        await asyncio.gather(
            self._request(campaign.key, "schedule", "schedule"),
            self._request(campaign.key, "schedule", "schedule, redelivered at the same moment"),
            self._request(campaign.key, "resume", "resume"),
            self._start(client, CAMPAIGN_WORKFLOW, reference, orchestrator, "a second scheduler"),
            self._start(client, CAMPAIGN_WORKFLOW, reference, f"{orchestrator}/other", "a scheduler with its own ids"),
            self._start(client, CAMPAIGN_SHARD_WORKFLOW, shard, first_shard, "a shard by hand"),
            self._start(client, CAMPAIGN_SHARD_WORKFLOW, shard, f"{first_shard}/other", "a second loop over a shard"),
        )

    async def _request(self, key: str, action: str, path: str) -> None:
        self.fired[path] += 1
        self.answers[f"{action}: {await self._door.again(key, action)}"] += 1

    async def _start(self, client: Client, workflow: str, given: Any, identity: str, path: str) -> None:
        """With the policies that start the most: again as soon as the last has closed."""
        self.fired[path] += 1
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await client.start_workflow(
                    workflow,
                    given,
                    id=identity,
                    task_queue=task_queue(placement=OWN_PLACEMENT, tenant=self._tenant, lane=Lane.BULK),
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                )
        except (RPCError, TimeoutError) as error:
            self.answers[f"{path}: {type(error).__name__}"] += 1

    async def _watchdog(self) -> None:
        self.fired["the watchdog's look"] += 1
        await self._staging.read(lambda connection: forget_driven(connection, [each.run for each in self._campaigns]))
