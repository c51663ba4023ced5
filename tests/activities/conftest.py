"""The send activity with everything real but the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests import services
from tests.activities.campaign_bench import CampaignBench
from tests.activities.sending_bench import Bench
from tests.relay.ledger import Ledger, open_pool
from waypost.messaging.values import ProviderKind
from waypost.simulators.running import RunningSimulator
from waypost.store.database import Database, Role


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(module_database: services.Database) -> AsyncIterator[Database]:
    """Connections as the tenants' role."""
    async with open_pool(module_database, Role.APP) as pool:
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def relay(module_database: services.Database) -> AsyncIterator[Database]:
    """Connections as the loops' role."""
    async with open_pool(module_database, Role.RELAY) as pool:
        yield pool


@pytest.fixture
async def bench(module_database: services.Database, app: Database, relay: Database) -> AsyncIterator[Bench]:
    """A tenant and an account of the test's own."""
    ledger = await Ledger.open(module_database)
    made = Bench(ledger, app=app, relay=relay)
    await made.prepare()
    yield made
    made.doors.close()
    await ledger.close()


@pytest.fixture
async def campaigns(
    module_database: services.Database, app: Database, relay: Database, simulator: RunningSimulator
) -> AsyncIterator[CampaignBench]:
    """A tenant, and an account of its own at the simulated SES."""
    async for made in _campaigns(module_database, app, relay, simulator, ProviderKind.SES):
        yield made


@pytest.fixture
async def texts(
    module_database: services.Database, app: Database, relay: Database, simulator: RunningSimulator
) -> AsyncIterator[CampaignBench]:
    """The same at the simulated Twilio."""
    async for made in _campaigns(module_database, app, relay, simulator, ProviderKind.TWILIO):
        yield made


async def _campaigns(
    database: services.Database, app: Database, relay: Database, simulator: RunningSimulator, kind: ProviderKind
) -> AsyncIterator[CampaignBench]:
    feed = "durable" if kind is ProviderKind.SES else "lossy"
    ledger = await Ledger.open(database, kind=kind.value, feed=feed)
    if kind is ProviderKind.TWILIO:
        await ledger.execute(
            "UPDATE senders SET channel = 'sms', address = '+14155550100' WHERE id = %s", (ledger.sender,)
        )
    made = CampaignBench(ledger, simulator, app=app, relay=relay, kind=kind)
    await made.prepare()
    yield made
    simulator.control.faults()
    made.doors.close()
    await ledger.close()
