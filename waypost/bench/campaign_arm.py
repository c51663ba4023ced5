"""Waypost's arm of the campaign bench: a tenant, a crowd, a campaign at once; from the API to the last status."""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import psycopg
from temporalio.client import Client

from waypost.bench.arrivals import arrivals_of
from waypost.bench.campaign_arms import ArmResult
from waypost.bench.footprint import cpu_between, footprints
from waypost.bench.memory import PeakMemory
from waypost.bench.newsletter import LIQUID_HTML, LIQUID_SUBJECT, LIQUID_TEXT
from waypost.bench.statements import owner_conninfo
from waypost.drills.campaigning import CampaignDoor, RunShown
from waypost.drills.crowd import Crowd, gather
from waypost.simulators.control_client import ControlClient
from waypost.stack.demo_tenant import SENDERS, SES_ACCOUNT
from waypost.stack.running import RunningStack
from waypost.store.campaign_audit import Feedback, RunSum, feedback, run_sum
from workflows.names import campaign_workflow_id

TEMPLATE = "letter"
WORKER = "worker bulk"
ACCOUNT_RATE = 100_000
_POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult:
    """One campaign."""

    arm: ArmResult
    run: UUID
    sum: RunSum
    feedback: Feedback
    prepare_s: float
    """From the request that scheduled it to the first arrival."""
    final_s: float
    """From the first arrival until the last recipient's delivery was applied."""
    peak_rss: int
    history_events: int


class CampaignArm:
    """Makes a tenant of its own on the stack's SES test account, whose rate is raised out of the way."""

    def __init__(self, stack: RunningStack, control: ControlClient, client: Client) -> None:
        self._stack = stack
        self._control = control
        self._client = client
        self._admin = httpx.AsyncClient(
            base_url=stack.urls["api"],
            headers={"authorization": f"Bearer {stack.admin_key}"},
            timeout=30,
            trust_env=False,
        )
        self.tenant = UUID(int=0)
        self._door: CampaignDoor | None = None

    @property
    def door(self) -> CampaignDoor:
        """The tenant's campaigns."""
        assert self._door is not None
        return self._door

    async def __aenter__(self) -> Self:
        accounts = (await self._ask("GET", "/v1/provider-accounts"))["data"]
        account = next(each for each in accounts if each["name"] == SES_ACCOUNT)
        await self._ask("PATCH", f"/v1/provider-accounts/{account['id']}", {"rate_per_second": ACCOUNT_RATE})
        bounds = {"backlog_bound": 100_000_000}
        tenant = await self._ask("POST", "/v1/tenants", {"name": f"bench {uuid4().hex[:8]}", **bounds})
        self.tenant = UUID(tenant["id"])
        await self._ask("PUT", f"/v1/tenants/{self.tenant}/senders/email", dict(SENDERS["email"]))
        key = await self._ask("POST", f"/v1/tenants/{self.tenant}/keys", {"name": "bench", "mode": "test"})
        self._door = CampaignDoor(self._stack.urls["api"], key["key"])
        await self.door.put_email(TEMPLATE, subject=LIQUID_SUBJECT, html=LIQUID_HTML, text=LIQUID_TEXT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._door is not None:
            await self._door.__aexit__()
        await self._admin.aclose()

    async def crowd(self, name: str, count: int) -> Crowd:
        """So many contacts, in a list of the crowd's name."""
        crowd = Crowd(tenant=self.tenant, prefix=name, count=count)
        await asyncio.to_thread(gather, owner_conninfo(self._stack), crowd, into=name)
        return crowd

    async def run(self, name: str, count: int, *, patience_s: float) -> CampaignResult:
        """A campaign to a crowd of its own, from its schedule to the last delivery applied. Raises TimeoutError."""
        await self.crowd(name, count)
        await self.door.put_campaign(name, template=TEMPLATE, audience={"list": name})
        since = self._control.stats()["accepted"]
        before = footprints(self._stack.pid)
        with PeakMemory(self._stack.pid, WORKER) as memory:
            asked = time.monotonic()
            run = await self.door.scheduled(name)
            shown, final_at = await self._until_final(name, patience_s)
        cpu = cpu_between(before, footprints(self._stack.pid))
        arrived = await asyncio.to_thread(arrivals_of, self._control, word=name, since=since)
        sum_, told = await self._audit(run.id)
        return CampaignResult(
            arm=ArmResult(name=f"waypost, {count}", arrivals=arrived, cpu_s=cpu, more={"state": shown.state}),
            run=run.id,
            sum=sum_,
            feedback=told,
            prepare_s=arrived.first - asked,
            final_s=final_at - arrived.first,
            peak_rss=memory.peak,
            history_events=await history_events(self._client, run.id),
        )

    async def _until_final(self, name: str, patience_s: float) -> tuple[RunShown, float]:
        """Completed, and every delivery known; when that was, `time.monotonic()`."""
        give_up = time.monotonic() + patience_s
        while True:
            shown = await self.door.run(name)
            assert shown is not None
            if shown.state == "completed" and shown.counts["delivered"] >= shown.counts["sent"]:
                return shown, time.monotonic()
            if time.monotonic() > give_up:
                raise TimeoutError(f"campaign {name} is {shown.state} after {patience_s:.0f} s: {dict(shown.counts)}")
            await asyncio.sleep(_POLL_S)

    async def _audit(self, run: UUID) -> tuple[RunSum, Feedback]:
        async with await psycopg.AsyncConnection.connect(owner_conninfo(self._stack)) as connection:
            return await run_sum(connection, run), await feedback(connection, run)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = await self._admin.request(method, path, json=body)
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content


async def history_events(client: Client, run: UUID) -> int:
    """Of all executions of a run: the orchestrator's and its shards', with what each continued as."""
    await asyncio.sleep(2)  # visibility comes a little later
    query = f"WorkflowId STARTS_WITH '{campaign_workflow_id(run)}'"
    executions = [(each.id, each.run_id) async for each in client.list_workflows(query)]
    histories = [await client.get_workflow_handle(name, run_id=of).fetch_history() for name, of in executions]
    return sum(len(history.events) for history in histories)
