"""The fixtures everybody stands on."""

from __future__ import annotations

import socket

import psycopg
import pytest
from temporalio.client import Client

from tests.services import Database
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


async def test_temporal_answers_with_two_hours_of_retention(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    assert (await client.service_client.check_health()) is True


def test_nothing_beyond_loopback_can_be_reached() -> None:
    with socket.socket() as sock, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        sock.connect(("192.0.2.1", 9))
