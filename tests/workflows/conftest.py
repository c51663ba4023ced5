"""The time-skipping server, with our search attributes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from waypost.simulation.servers import time_skipping


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server from its wheel, with our search attributes."""
    async with time_skipping() as started:
        yield started
