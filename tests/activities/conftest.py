"""The send activity with everything real but the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests import services
from tests.activities.sending_bench import Bench
from tests.relay.ledger import Ledger, open_pool
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
