"""A shard of a campaign's run: page after page, until no row of its key range is open."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts.campaigns import Campaigning, PageInput, PageResult, PageStep
    from workflows.names import CAMPAIGN_SHARD_WORKFLOW, WAKE_SIGNAL

PAGE_TIMEOUT = timedelta(minutes=5)
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)
FIRST_IDLE, LONGEST_IDLE = timedelta(seconds=5), timedelta(seconds=60)
"""Where no time is known at which the shard goes on: it looks again after a while, each time a longer one."""

_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=15)
)


@dataclass(frozen=True)
class ShardInput:
    """References, and what earlier executions of the same shard counted."""

    tenant_id: str
    run_id: str
    shard: int
    handed_over: int = 0
    ended: int = 0


@workflow.defn(name=CAMPAIGN_SHARD_WORKFLOW)
class CampaignShardWorkflow:
    """Holds no recipient and no position: every page asks the rows."""

    def __init__(self) -> None:
        self._woken = False
        self._handed_over = 0
        self._ended = 0
        self._idle = FIRST_IDLE

    @workflow.run
    async def run(self, shard: ShardInput) -> int:
        """Send to the whole shard; how many went to the provider."""
        self._handed_over, self._ended = shard.handed_over, shard.ended
        while True:
            page = await self._page(shard)
            self._count(page)
            if page.step in (PageStep.DONE, PageStep.ENDED):
                return self._handed_over
            if page.step is PageStep.WAIT:
                await self._wait(page.at)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(
                    ShardInput(shard.tenant_id, shard.run_id, shard.shard, self._handed_over, self._ended)
                )

    @workflow.signal(name=WAKE_SIGNAL)
    def wake(self) -> None:
        """A hint that the run's row changed."""
        self._woken = True

    async def _page(self, shard: ShardInput) -> PageResult:
        return await workflow.execute_activity_method(
            Campaigning.page,
            PageInput(shard.tenant_id, shard.run_id, shard.shard),
            start_to_close_timeout=PAGE_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRY,
            summary="the next due recipients: gate, render, claim, call, record",
        )

    def _count(self, page: PageResult) -> None:
        self._handed_over += page.handed_over
        self._ended += page.ended
        if page.step is not PageStep.WAIT or page.at is not None or page.handed_over or page.ended:
            self._idle = FIRST_IDLE
        until = f", until {page.at}" if page.at else ""
        waits = f" · {page.reason}{until}" if page.step is PageStep.WAIT else ""
        workflow.set_current_details(
            f"{self._handed_over:,} handed to the provider · {self._ended:,} not sent to{waits}"
        )

    async def _wait(self, until: datetime | None) -> None:
        if until is None:
            left, self._idle = self._idle, min(LONGEST_IDLE, 2 * self._idle)
        else:
            left = min(LONGEST_WAIT, max(timedelta(), until - workflow.now()))
        try:
            await workflow.wait_condition(
                lambda: self._woken, timeout=left, timeout_summary="until rows are due, or the run goes on"
            )
        except TimeoutError:
            return
        self._woken = False
        self._idle = FIRST_IDLE
