"""The page activity on a real ledger, with real provider clients in front of the simulators."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from temporalio.testing import ActivityEnvironment

from activities.budgets import Budgets
from activities.campaign_calls import Calls
from activities.campaign_composing import CampaignComposer
from activities.campaign_pages import Pages
from activities.campaigns import CampaignActivities
from activities.composing import Composer
from activities.contracts.campaigns import PageInput, PageResult, PageStep, Progress, RunInput
from activities.doors import Doors
from tests.activities.sending_bench import PUBLIC_URL, SIGNER, account
from tests.relay.ledger import Ledger
from tests.relay.runs import SMS, add_contacts, add_run, freeze_all, outcomes, run_row
from waypost.messaging.provider import Credentials, ProviderAccount, Sender
from waypost.messaging.values import Channel, FeedKind, Lane, ProviderKind
from waypost.providers.accounts import open_sender
from waypost.providers.deadlines import Deadlines
from waypost.simulators.running import RunningSimulator
from waypost.store.database import Database

QUICK = Deadlines(connect=1, read=1.5, total=2)


class CampaignBench:
    """One tenant, one account of the simulators, and a process's campaign activities."""

    def __init__(
        self, ledger: Ledger, simulator: RunningSimulator, *, app: Database, relay: Database, kind: ProviderKind
    ) -> None:
        self.ledger, self.app, self.relay = ledger, app, relay
        self.control = simulator.control
        self.kind = kind
        self.key = f"AKIA{uuid4().hex[:12].upper()}" if kind is ProviderKind.SES else f"AC{uuid4().hex}"
        self._url = simulator.url
        self.doors = Doors(self._account, self._open, width=8)
        self.activities = self.process()

    def process(self) -> CampaignActivities:
        """The activities of one more worker process."""
        budgets = Budgets(self.relay, Lane.BULK)
        pages = Pages(
            app=self.app,
            relay=self.relay,
            composer=CampaignComposer(Composer(self.app, SIGNER, PUBLIC_URL), SIGNER, PUBLIC_URL),
            doors=self.doors,
            calls=Calls(app=self.app, relay=self.relay, budgets=budgets, process="test"),
        )
        return CampaignActivities(relay=self.relay, pages=pages)

    async def prepare(self) -> None:
        """Make the account's budget, and the account in the simulators."""
        await self.ledger.execute(
            "UPDATE provider_accounts SET rate_per_second = 5000 WHERE id = %s", (self.ledger.account,)
        )
        await self.ledger.insert("account_budgets", account_id=self.ledger.account, tokens=5000)
        self.control.account(self.kind.value, self.key, secret="secret")

    async def _account(self, identity: UUID) -> ProviderAccount:
        return account(
            identity,
            kind=self.kind,
            endpoint=self._url,
            feed=FeedKind.DURABLE if self.kind is ProviderKind.SES else FeedKind.LOSSY,
            credentials=Credentials(key=self.key, secret="secret"),
            callback_base="http://127.0.0.1:1",
        )

    def _open(self, opened: ProviderAccount) -> Sender:
        return open_sender(opened, QUICK)

    async def page(self, run: UUID, shard: int = 0, activities: CampaignActivities | None = None) -> PageResult:
        """Run one page, as a worker would."""
        task = PageInput(str(self.ledger.tenant), str(run), shard)
        return await ActivityEnvironment().run((activities or self.activities).page, task)

    async def ask(self, what: str, run: UUID) -> Progress:
        """Run prepare, decide or complete."""
        step: Any = getattr(self.activities, what)
        progress: Progress = await ActivityEnvironment().run(step, RunInput(str(self.ledger.tenant), str(run)))
        return progress

    async def now_due(self, run: UUID) -> None:
        """Whoever waits for a time is due."""
        await self.ledger.execute(
            "UPDATE messages SET due_at = LEAST(due_at, waypost_now()) WHERE run_id = %s AND phase = 'ready'", (run,)
        )

    def got(self) -> Counter[str]:
        """What the provider accepted on this account, by address: the truth."""
        return Counter(str(entry["recipient"]) for entry in self.control.log() if entry["account"] == self.key)


async def sending(bench: CampaignBench, count: int, *, how: dict[str, Any] | None = None, **run: Any) -> UUID:
    """A run that is sending to so many."""
    await add_contacts(bench.ledger, count)
    made = await add_run(bench.ledger, **run)
    channel = Channel.SMS if run.get("contents") == [SMS] else Channel.EMAIL
    await freeze_all(bench.relay, bench.ledger, made, channel=channel, **(how or {}))
    return made


async def to_the_end(bench: CampaignBench, run: UUID, *, seconds: float = 20) -> None:
    """Page after page, waits cut short, until nothing is ready any more that may go out."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        result = await bench.page(run)
        if result.step is PageStep.DONE or (result.step is PageStep.WAIT and result.at is None):
            return
        if result.at is not None and result.at - (await run_row(bench.ledger, run))["scheduled_at"] > timedelta(
            hours=1
        ):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(await outcomes(bench.ledger, run))
