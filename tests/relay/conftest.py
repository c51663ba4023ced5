"""A ledger of the test's own and a pool of the role that works on it."""

from collections.abc import AsyncIterator

import pytest

from tests.relay.ledger import Ledger, open_pool
from tests.services import Database as TestDatabase
from waypost.store.database import Database, Role


@pytest.fixture
async def ledger(module_database: TestDatabase) -> AsyncIterator[Ledger]:
    """A tenant, an account and a sender, in a database that the module's tests share."""
    ledger = await Ledger.open(module_database)
    yield ledger
    await ledger.close()


@pytest.fixture
async def store(module_database: TestDatabase) -> AsyncIterator[Database]:
    """The relay role's connections."""
    async with open_pool(module_database, Role.RELAY) as pool:
        yield pool
