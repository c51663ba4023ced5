"""A ledger of the test's own, in a database that the module's tests share, and a pool of each role."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests import services
from tests.relay.ledger import Ledger, open_pool
from waypost.store.database import Database, Role


@pytest.fixture
async def ledger(module_database: services.Database) -> AsyncIterator[Ledger]:
    """A tenant, an account and a sender of the test's own."""
    ledger = await Ledger.open(module_database)
    yield ledger
    await ledger.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(module_database: services.Database) -> AsyncIterator[Database]:
    """Connections as the tenants' role."""
    async with open_pool(module_database, Role.APP) as pool:
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def loops(module_database: services.Database) -> AsyncIterator[Database]:
    """Connections as the loops' role."""
    async with open_pool(module_database, Role.RELAY) as pool:
        yield pool
