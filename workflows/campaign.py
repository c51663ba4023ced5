"""One run of a campaign: prepared, sent by its shards, decided about where it tests itself, completed."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts.campaigns import Campaigning, Progress, RunInput
    from workflows.campaign_shard import CampaignShardWorkflow, ShardInput
    from workflows.names import CAMPAIGN_WORKFLOW, STATE_ATTRIBUTE, WAKE_SIGNAL, shard_workflow_id

PREPARE_TIMEOUT = timedelta(minutes=30)
ASK_TIMEOUT = timedelta(seconds=30)
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
LOOK_AGAIN = timedelta(minutes=1)
"""How long a run that waits for a person is left alone; a resume wakes it at once."""

_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=15)
)
"""Without a limit: a run ends by its rows."""


@workflow.defn(name=CAMPAIGN_WORKFLOW)
class CampaignWorkflow:
    """Everything it knows is read from rows: started again at any moment, it goes on where the rows are."""

    def __init__(self) -> None:
        self._woken = False

    @workflow.run
    async def run(self, run: RunInput) -> Progress:
        """Drive one run to its end."""
        progress = await self._prepared(run)
        while not progress.ended:
            progress = await self._sent(run, progress)
            if not progress.ended:
                self._show(progress)
                await self._pause(progress.again_at)
                if workflow.info().is_continue_as_new_suggested():
                    workflow.continue_as_new(run)
                progress = await self._prepared(run)
        self._show(progress)
        return progress

    @workflow.signal(name=WAKE_SIGNAL)
    def wake(self) -> None:
        """A hint that the run's row changed."""
        self._woken = True

    async def _prepared(self, run: RunInput) -> Progress:
        while True:
            progress = await workflow.execute_activity_method(
                Campaigning.prepare,
                run,
                start_to_close_timeout=PREPARE_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=_RETRY,
                summary="freeze the audience",
            )
            self._show(progress)
            if progress.ended or progress.shards > 0:
                return progress
            await self._pause(progress.again_at)

    async def _sent(self, run: RunInput, progress: Progress) -> Progress:
        """Until every shard has no open row, or the run was cancelled; then complete it if that is so."""
        shards = [await self._start(run, shard, progress) for shard in range(progress.shards)]
        decide_at = progress.decide_at
        while any(not shard.done() for shard in shards if shard is not None):
            left = None if decide_at is None else max(timedelta(), decide_at - workflow.now())
            try:
                await workflow.wait_condition(
                    lambda: self._woken or all(shard is None or shard.done() for shard in shards), timeout=left
                )
            except TimeoutError:
                self._woken = True
            if self._woken:
                self._woken = False
                progress = await self._decide(run)
                self._show(progress)
                decide_at = progress.decide_at
        return await self._complete(run)

    async def _start(
        self, run: RunInput, shard: int, progress: Progress
    ) -> ChildWorkflowHandle[CampaignShardWorkflow, int] | None:
        try:
            return await workflow.start_child_workflow(
                CampaignShardWorkflow.run,
                ShardInput(run.tenant_id, run.run_id, shard),
                id=shard_workflow_id(run.run_id, shard),
                parent_close_policy=ParentClosePolicy.TERMINATE,
                static_summary=f"shard {shard + 1} of {progress.shards}",
            )
        except WorkflowAlreadyStartedError:
            return None  # an earlier run of this execution left it; it goes on by itself, and `complete` says when

    async def _decide(self, run: RunInput) -> Progress:
        return await workflow.execute_activity_method(
            Campaigning.decide,
            run,
            start_to_close_timeout=ASK_TIMEOUT,
            retry_policy=_RETRY,
            summary="canary or winner: is it time to decide?",
        )

    async def _complete(self, run: RunInput) -> Progress:
        return await workflow.execute_activity_method(
            Campaigning.complete,
            run,
            start_to_close_timeout=ASK_TIMEOUT,
            retry_policy=_RETRY,
            summary="no recipient open?",
        )

    async def _pause(self, until: datetime | None) -> None:
        left = LOOK_AGAIN if until is None else max(timedelta(seconds=1), until - workflow.now())
        try:
            await workflow.wait_condition(
                lambda: self._woken, timeout=left, timeout_summary="until the next look at the run's row"
            )
        except TimeoutError:
            return
        self._woken = False

    def _show(self, progress: Progress) -> None:
        if progress.state != workflow.info().typed_search_attributes.get(STATE_ATTRIBUTE):
            workflow.upsert_search_attributes([STATE_ATTRIBUTE.value_set(progress.state)])
        waits = f"; looked at again at {progress.again_at}" if progress.again_at else ""
        workflow.set_current_details(
            f"**{progress.state}** · {progress.audience:,} recipients in {progress.shards} shards{waits}."
        )
