"""The fixtures everybody stands on."""

from __future__ import annotations

import socket
from datetime import timedelta

import psycopg
import pytest
from temporalio import activity
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.worker import Worker

from tests.services import Database
from waypost.simulators.running import RunningSimulator
from waypost.stack import temporal
from waypost.stack.postgres import PostgresServer
from waypost.stack.temporal import TemporalServer


def test_a_fresh_database_is_migrated_and_every_role_can_log_in(database: Database) -> None:
    for url in (database.owner_url, database.app_url, database.relay_url, database.segments_url):
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT to_regclass('alembic_version')").fetchone() != (None,)


def test_the_server_is_the_newest_of_the_wheel_and_asks_for_a_password(
    postgres_server: PostgresServer,
) -> None:
    assert postgres_server.major >= 18
    wrong = postgres_server.url(database="postgres").replace("owner-password", "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


async def test_temporal_keeps_closed_executions_for_two_hours(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    namespace = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert namespace.config.workflow_execution_retention_ttl.ToTimedelta() == timedelta(hours=2)


async def test_temporal_has_our_search_attributes_as_keywords(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    assert {name: known.custom_attributes[name] for name in temporal.SEARCH_ATTRIBUTES} == dict.fromkeys(
        temporal.SEARCH_ATTRIBUTES, keyword
    )


async def test_fairness_lets_a_small_tenants_work_pass_a_large_backlog(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    served: list[str] = []

    @activity.defn(name="serve")
    async def serve(tenant: str) -> None:
        served.append(tenant)

    started = [
        await client.start_activity(
            serve,
            tenant,
            id=f"fairness-{tenant}-{number}",
            task_queue="fairness",
            start_to_close_timeout=timedelta(seconds=10),
            priority=Priority(fairness_key=tenant),
        )
        for tenant, count in (("large", 30), ("small", 3))
        for number in range(count)
    ]
    async with Worker(client, task_queue="fairness", activities=[serve], max_concurrent_activities=1):
        for handle in started:
            await handle.result()
    assert max(index for index, tenant in enumerate(served) if tenant == "small") < 12


def test_nothing_beyond_loopback_can_be_reached() -> None:
    with socket.socket() as sock, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        sock.connect(("192.0.2.1", 9))


def test_the_simulators_answer(simulator: RunningSimulator) -> None:
    assert simulator.control.stats()["uptime_seconds"] > 0
