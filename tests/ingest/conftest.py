"""A ledger of the test's own and a pool of the role that works on it."""

from collections.abc import AsyncIterator

import pytest

from tests.relay.ledger import Ledger, relay_pool
from tests.services import Database as TestDatabase
from waypost.store.database import Database


@pytest.fixture
async def ledger(module_database: TestDatabase) -> AsyncIterator[Ledger]:
    """A tenant, an account and a sender, in a database that the module's tests share."""
    ledger = await Ledger.open(module_database)
    yield ledger
    await ledger.close()


@pytest.fixture
async def store(module_database: TestDatabase) -> AsyncIterator[Database]:
    """The relay role's connections."""
    pool = relay_pool(module_database)
    await pool.open()
    yield pool
    await pool.close()
