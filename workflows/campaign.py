"""One run of a campaign: prepared, sent by its shards, decided about where it tests itself, completed."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts.campaigns import Campaigning, Progress
    from activities.contracts.campaigns import RunInput as RunInput  # the starter takes it from here
    from workflows.campaign_shard import CampaignShardWorkflow, ShardInput
    from workflows.names import CAMPAIGN_WORKFLOW, STATE_ATTRIBUTE, WAKE_SIGNAL, shard_workflow_id

PREPARE_TIMEOUT = timedelta(minutes=30)
ASK_TIMEOUT = timedelta(seconds=30)
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
LOOK_AGAIN = timedelta(minutes=1)
"""How long a run that waits for a person is left alone; a resume wakes it at once."""

RESTART_AFTER = timedelta(seconds=1)
ASK_FOR_SHARD = timedelta(seconds=5)
"""How soon a shard that runs for an earlier execution is asked for again."""

Shard = ChildWorkflowHandle[CampaignShardWorkflow, int]

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
        shards = dict[int, Shard]()
        while True:
            await self._start_missing(run, shards, progress)
            if len(shards) == progress.shards and all(_ended_well(shard) for shard in shards.values()):
                return await self._complete(run)
            await self._until_something_happens(shards, progress)
            if self._woken:
                self._woken = False
                progress = await self._decide(run)
                self._show(progress)

    async def _start_missing(self, run: RunInput, shards: dict[int, Shard], progress: Progress) -> None:
        """A shard whose execution was terminated by hand is started again, for the rows say what is left of it."""
        if any(_failed(shard) for shard in shards.values()):
            await workflow.sleep(RESTART_AFTER, summary="before a shard is started again")
        for number in range(progress.shards):
            if number not in shards or _failed(shards[number]):
                shards.pop(number, None)
                shard = await self._start(run, number, progress)
                if shard is not None:
                    shards[number] = shard

    async def _until_something_happens(self, shards: dict[int, Shard], progress: Progress) -> None:
        """A hint, the end of a shard, or the time of a decision; that is a hint to oneself."""
        if any(_failed(shard) for shard in shards.values()):
            return
        running = sum(not shard.done() for shard in shards.values())
        left = None
        if progress.decide_at is not None:
            left = max(timedelta(seconds=1), progress.decide_at - workflow.now())
        if len(shards) < progress.shards:
            left = ASK_FOR_SHARD if left is None else min(left, ASK_FOR_SHARD)
        try:
            await workflow.wait_condition(
                lambda: self._woken or sum(not shard.done() for shard in shards.values()) < running, timeout=left
            )
        except TimeoutError:
            self._woken = self._woken or progress.decide_at is not None

    async def _start(self, run: RunInput, shard: int, progress: Progress) -> Shard | None:
        try:
            return await workflow.start_child_workflow(
                CampaignShardWorkflow.run,
                ShardInput(run.tenant_id, run.run_id, shard),
                id=shard_workflow_id(run.run_id, shard),
                parent_close_policy=ParentClosePolicy.TERMINATE,
                static_summary=f"shard {shard + 1} of {progress.shards}",
            )
        except WorkflowAlreadyStartedError:
            return None  # of an earlier execution that was terminated: it follows it in a moment

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


def _failed(shard: Shard) -> bool:
    return shard.done() and not _ended_well(shard)


def _ended_well(shard: Shard) -> bool:
    return shard.done() and not shard.cancelled() and shard.exception() is None
