"""The time-skipping server and a database, for simulations."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests import services
from tests.simulation.walked import Workshop
from waypost.simulation.servers import time_skipping


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server from its wheel, with our search attributes."""
    async with time_skipping() as started:
        yield started


@pytest.fixture
async def workshop(module_database: services.Database, environment: WorkflowEnvironment) -> AsyncIterator[Workshop]:
    """A tenant whose journeys are walked one after another."""
    opened = await Workshop.open(module_database, environment)
    yield opened
    await opened.ledger.close()
