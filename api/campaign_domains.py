"""Counting a run's recipients by domain, kept from costing more than it is worth."""

import asyncio
from collections import OrderedDict
from time import monotonic
from uuid import UUID

from waypost.messaging.values import Channel
from waypost.store.campaign_reports import DomainCounts, counts_by_domain
from waypost.store.campaign_tables import CampaignRunRow
from waypost.store.database import Database

LAST_S = 15.0
_RUNS_KEPT = 200


class DomainCounters:
    """It reads every recipient of a run: one run at a time, and what was counted is good for LAST_S."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Semaphore(1)
        self._kept: OrderedDict[UUID, tuple[float, list[DomainCounts]]] = OrderedDict()

    async def of(self, run: CampaignRunRow) -> list[DomainCounts]:
        """A run's counts by domain, the largest first; none where addresses have no domain."""
        if run.channel != Channel.EMAIL:
            return []
        async with self._turn:
            kept = self._kept.get(run.id)
            if kept is None or monotonic() - kept[0] > LAST_S:
                kept = (monotonic(), await self._count(run))
            self._keep(run.id, kept)
            return kept[1]

    async def _count(self, run: CampaignRunRow) -> list[DomainCounts]:
        async with self._database.transaction(run.tenant_id) as connection:
            return await counts_by_domain(connection, tenant=run.tenant_id, run=run.id)

    def _keep(self, run: UUID, found: tuple[float, list[DomainCounts]]) -> None:
        self._kept[run] = found
        self._kept.move_to_end(run)
        if len(self._kept) > _RUNS_KEPT:
            self._kept.popitem(last=False)
