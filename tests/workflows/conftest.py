"""The time-skipping server, with our search attributes."""

from __future__ import annotations

import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from waypost.stack.temporal import SEARCH_ATTRIBUTES
from waypost.temporal.client import DATA_CONVERTER


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server from its wheel."""
    path = Path(sysconfig.get_path("scripts")) / "temporal-test-server"
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(path), data_converter=DATA_CONVERTER
    ) as started:
        await started.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=started.client.namespace,
                search_attributes=dict.fromkeys(SEARCH_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
        )
        yield started
