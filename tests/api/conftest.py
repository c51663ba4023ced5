from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.api.running import Api, running
from tests.services import Database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(module_database: Database) -> AsyncIterator[Api]:
    """The app on the module's database."""
    async with running(module_database) as running_api:
        yield running_api
