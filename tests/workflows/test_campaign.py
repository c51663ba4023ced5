"""The campaign's workflows under the sandbox, in skipped time, with activities that answer as they are told."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities.contracts.campaigns import (
    COMPLETE_ACTIVITY,
    DECIDE_ACTIVITY,
    PAGE_ACTIVITY,
    PREPARE_ACTIVITY,
    Campaigning,
    PageInput,
    PageResult,
    PageStep,
    Progress,
    RunInput,
)
from tests.replay.saved import save
from waypost.settings import TemporalSettings
from waypost.stack.temporal import TemporalServer
from waypost.temporal.client import connect
from workflows.campaign import CampaignWorkflow
from workflows.campaign_shard import FIRST_IDLE, LONGEST_IDLE, CampaignShardWorkflow, ShardInput
from workflows.names import STATE_ATTRIBUTE, WAKE_SIGNAL, shard_workflow_id

TENANT = "11111111-1111-4111-8111-111111111111"

SENDING = Progress("sending", audience=100, shards=1)
TWO_SHARDS = Progress("sending", audience=100, shards=2)
COMPLETED = Progress("completed", audience=100, shards=1)
MORE = PageResult(PageStep.MORE, handed_over=50)
DONE = PageResult(PageStep.DONE, handed_over=1, ended=1)
HELD = PageResult(PageStep.WAIT, reason="waits for evidence or a decision")

Answer = Progress | tuple[Progress, timedelta]


@dataclass
class ScriptedCampaign(Campaigning):
    """Each activity answers its list, in turn, and then its last answer for ever. Times are so long after the call."""

    environment: WorkflowEnvironment
    prepared: list[Progress] = field(default_factory=lambda: [SENDING])
    pages: list[PageResult | Exception] = field(default_factory=lambda: [DONE])
    decided: list[Progress] = field(default_factory=lambda: [SENDING])
    completed: list[Progress] = field(default_factory=lambda: [COMPLETED])
    page_at: timedelta | None = None
    decide_in: timedelta | None = None
    again_in: timedelta | None = None
    held: set[int] = field(default_factory=set)
    """Shards whose pages wait for evidence, whatever else is said."""
    asked: defaultdict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    shards: list[int] = field(default_factory=list)

    @activity.defn(name=PREPARE_ACTIVITY)
    async def prepare(self, run: RunInput) -> Progress:
        now = await self._now("prepare")
        answer = _next(self.prepared)
        if self.decide_in is not None:
            answer = replace(answer, decide_at=now + self.decide_in)
        return answer if self.again_in is None else replace(answer, again_at=now + self.again_in)

    @activity.defn(name=PAGE_ACTIVITY)
    async def page(self, page: PageInput) -> PageResult:
        now = await self._now("page")
        self.shards.append(page.shard)
        if page.shard in self.held:
            return HELD
        answer = _next(self.pages)
        if isinstance(answer, Exception):
            raise answer
        if answer.step is PageStep.WAIT and self.page_at is not None:
            return replace(answer, at=now + self.page_at)
        return answer

    @activity.defn(name=DECIDE_ACTIVITY)
    async def decide(self, run: RunInput) -> Progress:
        await self._now("decide")
        return _next(self.decided)

    @activity.defn(name=COMPLETE_ACTIVITY)
    async def complete(self, run: RunInput) -> Progress:
        await self._now("complete")
        return _next(self.completed)

    async def _now(self, what: str) -> datetime:
        now = await self.environment.get_current_time()
        self.asked[what].append(now)
        return now

    def pauses(self, what: str) -> list[timedelta]:
        """How long lay between the calls of an activity."""
        return [later - earlier for earlier, later in itertools.pairwise(self.asked[what])]

    async def release(self, run: Run) -> None:
        """What was held is not any more, and the shards hear of it."""
        held, self.held = self.held, set()
        for number in held:
            await run.shard(number).signal(WAKE_SIGNAL)

    async def until(self, what: str, times: int) -> None:
        """Return once an activity has been called so often."""
        async with asyncio.timeout(10):
            while len(self.asked[what]) < times:  # noqa: ASYNC110 - it happens in a worker
                await asyncio.sleep(0.01)


T = TypeVar("T")


def _next(answers: list[T]) -> T:
    return answers.pop(0) if len(answers) > 1 else answers[0]


class Run:
    """One campaign's execution."""

    def __init__(self, environment: WorkflowEnvironment, script: ScriptedCampaign) -> None:
        self.environment = environment
        self.script = script
        self.id = str(uuid4())
        self.queue = f"tenant/bulk/{self.id}"
        self.handle: WorkflowHandle[CampaignWorkflow, Progress]

    async def __aenter__(self) -> Run:
        self._worker = Worker(
            self.environment.client,
            task_queue=self.queue,
            workflows=[CampaignWorkflow, CampaignShardWorkflow],
            activities=[self.script.prepare, self.script.page, self.script.decide, self.script.complete],
            workflow_runner=SandboxedWorkflowRunner(),
        )
        await self._worker.__aenter__()
        await self.start()
        return self

    async def start(self) -> None:
        """As the relay starts it."""
        self.handle = await self.environment.client.start_workflow(
            CampaignWorkflow.run,
            RunInput(TENANT, self.id),
            id=f"campaign/{self.id}",
            task_queue=self.queue,
            search_attributes=TypedSearchAttributes([SearchAttributePair(STATE_ATTRIBUTE, "preparing")]),
        )

    async def __aexit__(self, *_: object) -> None:
        await self._worker.__aexit__(None, None, None)

    def shard(self, number: int = 0) -> WorkflowHandle[CampaignShardWorkflow, int]:
        """The execution of a shard."""
        return self.environment.client.get_workflow_handle_for(
            CampaignShardWorkflow.run, shard_workflow_id(self.id, number)
        )


def states_of(history: WorkflowHistory) -> list[str]:
    """The values that the workflow gave to the search attribute."""
    fields = [
        event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    ]
    return [field[STATE_ATTRIBUTE.name].data.decode().strip('"') for field in fields]


async def test_a_run_is_prepared_sent_by_its_shards_and_completed(environment: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(environment, prepared=[TWO_SHARDS], pages=[MORE, MORE, DONE])
    async with Run(environment, script) as run:
        assert await run.handle.result() == COMPLETED
        history = await run.handle.fetch_history()
        shard = await run.shard().fetch_history()
    assert set(script.shards) == {0, 1}
    assert [len(script.asked[what]) for what in ("prepare", "page", "decide", "complete")] == [1, 4, 0, 1]
    assert states_of(history) == ["sending", "completed"]
    save("campaign-plain", history)
    save("campaign-shard-pages", shard)


async def test_a_shard_counts_what_went_out(environment: WorkflowEnvironment) -> None:
    async with Run(environment, ScriptedCampaign(environment, pages=[MORE, MORE, DONE])) as run:
        await run.handle.result()
        assert await run.shard().result() == 101


async def test_histories_hold_references_and_counts_only(environment: WorkflowEnvironment) -> None:
    async with Run(environment, ScriptedCampaign(environment)) as run:
        await run.handle.result()
        started = (await run.shard().fetch_history()).events[0].workflow_execution_started_event_attributes
    (payload,) = started.input.payloads
    assert set(payload.data.decode()) & set("@+") == set()
    assert ShardInput(TENANT, run.id, 0).run_id in payload.data.decode()


async def test_a_cancelled_run_ends_its_shards_and_itself(environment: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(
        environment, pages=[MORE, PageResult(PageStep.ENDED)], completed=[Progress("cancelled", 100, 1)]
    )
    async with Run(environment, script) as run:
        assert (await run.handle.result()).state == "cancelled"
        assert states_of(await run.handle.fetch_history()) == ["sending", "cancelled"]


async def test_a_run_that_is_gone_or_cancelled_before_it_began_starts_no_shard(
    environment: WorkflowEnvironment,
) -> None:
    script = ScriptedCampaign(environment, prepared=[Progress("cancelled")])
    async with Run(environment, script) as run:
        assert (await run.handle.result()).state == "cancelled"
    assert script.shards == []


async def test_before_its_time_it_is_asked_again_then(environment: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(environment, prepared=[Progress("scheduled"), SENDING], again_in=timedelta(hours=3))
    async with Run(environment, script) as run:
        await run.handle.result()
    assert timedelta(hours=3) <= script.pauses("prepare")[0] < timedelta(hours=3, minutes=1)


async def test_a_run_that_is_paused_unprepared_is_looked_at_each_minute(environment: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(environment, prepared=[Progress("paused"), Progress("paused"), SENDING])
    async with Run(environment, script) as run:
        await run.handle.result()
    assert all(timedelta(seconds=59) < pause < timedelta(seconds=65) for pause in script.pauses("prepare"))


async def test_a_resume_wakes_it_at_once(environment: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(
        environment, prepared=[Progress("scheduled"), SENDING], again_in=timedelta(days=1), completed=[COMPLETED]
    )
    async with Run(environment, script) as run:
        await script.until("prepare", 1)
        await run.handle.signal(WAKE_SIGNAL)
        await run.handle.result()
    assert script.pauses("prepare")[0] < timedelta(minutes=1)


async def test_a_shard_waits_until_rows_are_due(environment: WorkflowEnvironment) -> None:
    waits = PageResult(PageStep.WAIT, reason="waits for the next due time")
    script = ScriptedCampaign(environment, pages=[waits, DONE], page_at=timedelta(minutes=3))
    async with Run(environment, script) as run:
        await run.handle.result()
        save("campaign-shard-waits", await run.shard().fetch_history())
    assert timedelta(minutes=3) <= script.pauses("page")[0] < timedelta(minutes=3, seconds=10)


async def test_no_wait_is_longer_than_five_minutes(environment: WorkflowEnvironment) -> None:
    """Whatever the last page said: a wake that was lost delays, and no more."""
    waits = PageResult(PageStep.WAIT, reason="waits for the next due time")
    script = ScriptedCampaign(environment, pages=[waits, DONE], page_at=timedelta(days=2))
    async with Run(environment, script) as run:
        await run.handle.result()
    assert script.pauses("page")[0] < timedelta(minutes=6)


async def test_a_wake_ends_a_shard_s_wait(environment: WorkflowEnvironment) -> None:
    waits = PageResult(PageStep.WAIT, reason="waits for the next due time")
    script = ScriptedCampaign(environment, pages=[waits, DONE], page_at=timedelta(minutes=4))
    async with Run(environment, script) as run:
        await script.until("page", 1)
        await run.shard().signal(WAKE_SIGNAL)
        await run.handle.result()
    assert script.pauses("page")[0] < timedelta(minutes=1)


async def test_what_waits_for_evidence_is_looked_at_ever_more_rarely(environment: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(environment, pages=[*[HELD] * 7, MORE, HELD, DONE])
    async with Run(environment, script) as run:
        await run.handle.result()
        save("campaign-shard-held", await run.shard().fetch_history())
    seconds = [round(pause.total_seconds()) for pause in script.pauses("page")]
    first, longest = FIRST_IDLE.total_seconds(), LONGEST_IDLE.total_seconds()
    expected = [first, 2 * first, 4 * first, 8 * first, longest, longest, longest, 0, first]
    assert all(abs(got - wanted) <= 2 for got, wanted in zip(seconds, expected, strict=True)), seconds


async def test_a_page_that_fails_is_asked_for_again(environment: WorkflowEnvironment) -> None:
    failing: list[PageResult | Exception] = [ApplicationError("no", type="OperationalError") for _ in range(6)]
    script = ScriptedCampaign(environment, pages=[*failing, DONE])
    async with Run(environment, script) as run:
        assert await run.handle.result() == COMPLETED
    assert max(script.pauses("page")) <= timedelta(seconds=20)


async def test_the_decision_is_asked_for_at_its_time_while_the_rest_waits(environment: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(
        environment, pages=[MORE, *[HELD] * 12, DONE], decided=[SENDING], decide_in=timedelta(minutes=5)
    )
    async with Run(environment, script) as run:
        assert await run.handle.result() == COMPLETED
        save("campaign-decides", await run.handle.fetch_history())
    assert len(script.asked["decide"]) == 1
    waited = script.asked["decide"][0] - script.asked["prepare"][0]
    assert timedelta(minutes=5) <= waited < timedelta(minutes=5, seconds=10)


async def test_a_decision_that_was_put_off_is_asked_for_again(environment: WorkflowEnvironment) -> None:
    later = await environment.get_current_time() + timedelta(minutes=8)
    script = ScriptedCampaign(
        environment,
        pages=[*[HELD] * 14, DONE],
        decided=[replace(SENDING, decide_at=later), SENDING],
        decide_in=timedelta(minutes=1),
    )
    async with Run(environment, script) as run:
        await run.handle.result()
    assert len(script.asked["decide"]) == 2
    assert script.asked["decide"][1] >= later


async def test_a_shard_that_ends_while_rows_are_open_again_is_started_again(environment: WorkflowEnvironment) -> None:
    """A row that was void after all: the completion finds it, and the shards run once more."""
    open_again = replace(SENDING, again_at=await environment.get_current_time())
    script = ScriptedCampaign(environment, completed=[open_again, COMPLETED])
    async with Run(environment, script) as run:
        assert await run.handle.result() == COMPLETED
        save("campaign-again", await run.handle.fetch_history())
    assert script.shards == [0, 0]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(temporal_server: TemporalServer) -> WorkflowEnvironment:
    """The dev server: the time-skipping one tells no parent that its child was terminated."""
    client = await connect(TemporalSettings(address=temporal_server.address))
    return WorkflowEnvironment.from_client(client)


async def test_a_shard_that_was_terminated_by_hand_is_started_again_while_others_run(
    server: WorkflowEnvironment,
) -> None:
    script = ScriptedCampaign(server, prepared=[TWO_SHARDS], held={0, 1})
    async with Run(server, script) as run:
        await script.until("page", 2)
        await run.shard(1).terminate("by hand")
        before = len(script.shards)
        async with asyncio.timeout(10):
            while 1 not in script.shards[before:]:  # noqa: ASYNC110 - it happens in a worker
                await asyncio.sleep(0.05)
        await script.release(run)
        assert await run.handle.result() == COMPLETED
        save("campaign-shard-terminated", await run.handle.fetch_history())


async def test_a_run_that_was_terminated_and_started_again_drives_all_its_shards(server: WorkflowEnvironment) -> None:
    script = ScriptedCampaign(server, prepared=[TWO_SHARDS], held={0, 1})
    async with Run(server, script) as run:
        await script.until("page", 2)
        await run.handle.terminate("by hand")
        await run.start()
        await script.until("prepare", 2)
        async with asyncio.timeout(15):
            while not set(script.shards[2:]) >= {0, 1}:  # noqa: ASYNC110 - it happens in a worker
                await asyncio.sleep(0.05)
        await script.release(run)
        assert await run.handle.result() == COMPLETED


@pytest.mark.parametrize("waits", [[], [HELD] * 3])
async def test_a_page_is_a_handful_of_events(environment: WorkflowEnvironment, waits: Sequence[PageResult]) -> None:
    script = ScriptedCampaign(environment, pages=[*[MORE] * 10, *waits, DONE])
    async with Run(environment, script) as run:
        await run.handle.result()
        events = len((await run.shard().fetch_history()).events)
    assert events <= 7 + 6 * 11 + 11 * len(waits)
