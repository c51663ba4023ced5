"""A worker process of one lane: `python worker.py --lanes fast`. Run as many as you need of each.

The composition root: settings → adapters → a Worker a tenant, and the relay loops, which are safe in any number.
SIGTERM drains: polling stops, calls under way are finished and recorded.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import uvloop
from temporalio.client import Client

from activities.budgets import Budgets
from activities.campaign_calls import Calls
from activities.campaign_composing import CampaignComposer
from activities.campaign_pages import Pages
from activities.campaigns import CampaignActivities
from activities.composing import Composer, content_hash
from activities.doors import Doors
from activities.journey_webhooks import Webhooks
from activities.journeys import JourneyActivities
from activities.sending import SendActivities
from waypost.logs import configure_logs
from waypost.messaging.link_tokens import LinkSigner
from waypost.messaging.provider import LookUp, ProviderAccount, Sender
from waypost.messaging.values import Lane
from waypost.providers.accounts import open_look_up, open_sender
from waypost.providers.deadlines import Deadlines
from waypost.providers.webhooks import Poster
from waypost.relay.campaigns import CAMPAIGNS_LOOP, campaign_loops
from waypost.relay.dispatch import Dispatcher, queue_for
from waypost.relay.entries import entry_loops
from waypost.relay.journeys import JOURNEYS_LOOP, journey_loops
from waypost.relay.loops import Loop, run_loops
from waypost.relay.placement import Placement
from waypost.relay.reconcile import OUTBOX_LOOP, Patience, Reach, reconcile_loops
from waypost.serving import StatusServer, calm_collector
from waypost.settings import DatabaseSettings, PublicSettings, SecretSettings, TemporalSettings, WorkerSettings
from waypost.store.accounts import load_account
from waypost.store.database import Database, DatabaseAway, Role
from waypost.store.notifications import (
    CAMPAIGNS_CHANNEL,
    JOURNEYS_CHANNEL,
    OUTBOX_CHANNEL,
    TENANTS_CHANNEL,
    Teller,
    listen,
    notify,
    ready_channel,
)
from waypost.store.sealing import Sealer
from waypost.temporal.client import connect
from waypost.temporal.workers import QueueWorkers
from workflows.campaign import CampaignWorkflow
from workflows.campaign_shard import CampaignShardWorkflow
from workflows.journey import JourneyWorkflow
from workflows.message import MessageWorkflow

logger = logging.getLogger("waypost.worker")

_RETRY_S = 0.5
_LOOPS_TOLD = {OUTBOX_CHANNEL: OUTBOX_LOOP, CAMPAIGNS_CHANNEL: CAMPAIGNS_LOOP, JOURNEYS_CHANNEL: JOURNEYS_LOOP}

OpenDatabase = Callable[[DatabaseSettings, Role], Database]
OpenAccount = Callable[[ProviderAccount, Deadlines], Sender]


class WorkerProcess:
    """Everything that one process of a lane runs. The adapters can be others: the drills' kill at set points."""

    def __init__(
        self,
        lane: Lane,
        settings: WorkerSettings,
        *,
        open_database: OpenDatabase = Database,
        open_account: OpenAccount = open_sender,
    ) -> None:
        self._lane = lane
        self._settings = settings
        self._open_account = open_account
        self._deadlines = Deadlines(total=settings.call_timeout_s)
        database = DatabaseSettings()
        self._app = open_database(database, Role.APP)
        self._relay = open_database(database, Role.RELAY)
        self._client: Client | None = None
        self._workers: QueueWorkers | None = None
        self._placement = Placement(self._relay, lane, self._set_queues)
        self._dispatcher = Dispatcher(self._relay, lambda: self._client, lane)
        self._budgets = Budgets(self._relay, lane)
        secrets = SecretSettings()
        self._sealer = Sealer(secrets.secret_key.get_secret_value(), secrets.previous)
        self._signer = LinkSigner(secrets.secret_key.get_secret_value(), secrets.previous)
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._public_url = PublicSettings().public_url
        self._composer = Composer(self._app, self._signer, self._public_url)
        self._poster = Poster(allow_private=settings.webhook_allow_private, ca_file=settings.webhook_ca_file)
        self._webhooks = Webhooks(
            app=self._app,
            poster=self._poster,
            secret_key=secrets.secret_key.get_secret_value(),
            previous=secrets.previous,
        )
        self._teller = Teller(lambda channel: notify(self._relay, channel))
        self._relay_loops = self._make_relay_loops()
        self._doors = Doors(self._load_account, self._open_sender, width=settings.worker_concurrency)
        self._status = StatusServer(self._missing, host=settings.worker_metrics_host, port=settings.worker_metrics_port)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain."""
        stopping = asyncio.create_task(stop.wait())
        tasks = [asyncio.create_task(self._start())]  # it waits for both servers: who is told to stop must not
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done() and tasks[0].exception() is None:
            tasks = [asyncio.create_task(loop) for loop in self._loops()]
            await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in tasks if task.done()]
        await self._drain(tasks)
        stopping.cancel()
        for task in ended:
            task.result()  # a loop never ends by itself: show why it did

    async def _start(self) -> None:
        await self._app.open()
        await self._relay.open()
        self._status.start()
        await self._check_roles()
        await self._connect()

    def _loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [
            self._placement.run(),
            self._dispatch(),
            run_loops(self._relay_loops),
            listen(self._relay, [ready_channel(self._lane), TENANTS_CHANNEL, *_LOOPS_TOLD], self._told),
        ]

    def _make_relay_loops(self) -> Sequence[Loop]:
        return self._bulk_loops() + reconcile_loops(
            database=self._relay,
            lane=self._lane,
            patience=Patience.of(self._settings),
            reach=Reach(
                client=lambda: self._client,
                load_account=self._load_account,
                open_sender=self._open_sender,
                open_look_up=self._open_look_up,
                rerender=self._composer.again,
                fingerprint=content_hash,
            ),
        )

    def _bulk_loops(self) -> list[Loop]:
        if self._lane is not Lane.BULK:
            return []
        return [
            *campaign_loops(self._relay, lambda: self._client),
            *journey_loops(self._relay, lambda: self._client),
            *entry_loops(self._relay),
        ]

    async def _dispatch(self) -> None:
        while True:
            try:
                if await self._dispatcher.run_once() == 0:
                    await self._dispatcher.wait()
            except Exception as error:  # whatever it was, the rows wait and the next look is due
                logger.warning("dispatch paused", extra={"error": type(error).__name__})
                await asyncio.sleep(_RETRY_S)

    def _told(self, channel: str) -> None:
        if channel == ready_channel(self._lane):
            self._dispatcher.tell()
        elif channel in _LOOPS_TOLD:
            for loop in self._relay_loops:
                if loop.name == _LOOPS_TOLD[channel]:
                    loop.told.set()
        else:
            self._placement.tell()

    async def _check_roles(self) -> None:
        while True:
            try:
                await self._app.check_role()
                await self._relay.check_role()
                return
            except DatabaseAway as error:
                logger.warning("waiting for PostgreSQL", extra={"error": type(error).__name__})
                await asyncio.sleep(_RETRY_S)

    async def _connect(self) -> None:
        """Workers cannot start from a client that has never connected, so wait for Temporal here."""
        while self._client is None:
            try:
                self._client = await connect(TemporalSettings())
            except RuntimeError as error:
                logger.warning("waiting for Temporal", extra={"error": type(error).__name__})
                await asyncio.sleep(_RETRY_S)
        sending = SendActivities(
            app=self._app,
            relay=self._relay,
            composer=self._composer,
            doors=self._doors,
            budgets=self._budgets,
            process=self._name,
        )
        journeying = JourneyActivities(
            app=self._app,
            webhooks=self._webhooks,
            tell=self._teller.tell,
            queue_for=lambda tenant, placement: queue_for(tenant, placement, self._lane),
        )
        campaigning = CampaignActivities(relay=self._relay, pages=self._pages())
        self._workers = QueueWorkers(
            self._client,
            workflows=[MessageWorkflow, CampaignWorkflow, CampaignShardWorkflow, JourneyWorkflow],
            activities=[
                sending.send,
                campaigning.prepare,
                campaigning.page,
                campaigning.decide,
                campaigning.complete,
                journeying.decide,
                journeying.webhook,
            ],
            graceful=timedelta(seconds=self._settings.call_timeout_s + 5),
            width=self._settings.worker_concurrency,
        )

    def _pages(self) -> Pages:
        return Pages(
            app=self._app,
            relay=self._relay,
            composer=CampaignComposer(self._composer, self._signer, self._public_url),
            doors=self._doors,
            calls=Calls(app=self._app, relay=self._relay, budgets=self._budgets, process=self._name),
        )

    async def _set_queues(self, queues: frozenset[str]) -> None:
        assert self._workers is not None
        await self._workers.set_queues(queues)

    async def _load_account(self, account: UUID) -> ProviderAccount:
        return await load_account(self._relay, account, sealer=self._sealer)

    def _open_sender(self, account: ProviderAccount) -> Sender:
        return self._open_account(account, self._deadlines)

    def _open_look_up(self, account: ProviderAccount) -> LookUp:
        return open_look_up(account, self._deadlines)

    def _missing(self) -> str | None:
        if self._client is None:
            return "waiting for PostgreSQL or Temporal"
        return None if self._workers is not None else "starting"

    async def _drain(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._placement.leave()  # first: others poll our queues while our last calls end
        if self._workers is not None:
            await self._workers.close()
        await self._close_budgets()
        await self._teller.close()
        await self._poster.close()
        self._doors.close()
        await self._status.close()
        await self._app.close()
        await self._relay.close()

    async def _close_budgets(self) -> None:
        try:
            await self._budgets.close()
        except DatabaseAway as error:
            logger.warning("budget not given back", extra={"error": type(error).__name__})


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", choices=[lane.value for lane in Lane], required=True, help="the lane to serve")
    lane = Lane(parser.parse_args(arguments).lanes)
    configure_logs(f"worker-{lane}")
    calm_collector()
    uvloop.run(_run(lane))


async def _run(lane: Lane) -> None:
    await until_signalled(WorkerProcess(lane, WorkerSettings()))


async def until_signalled(process: WorkerProcess) -> None:
    """Run it until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await process.run(stop)


if __name__ == "__main__":
    main()
