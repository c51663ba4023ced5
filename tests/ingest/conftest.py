"""An ingest process in the test's own event loop: the real app, served on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from api.ingest import IngestConfig, create_app
from tests.relay.conftest import ledger, store
from tests.relay.ledger import database_settings, until
from tests.services import Database as TestDatabase
from waypost.settings import IngestSettings, SecretSettings
from waypost.store.accounts import SealedCredentials, stored_reference
from waypost.store.sealing import Sealer

__all__ = ["ledger", "store"]

SECRET_KEY = "a secret key of at least thirty-two characters"


@dataclass(frozen=True)
class Ingest:
    """Where it listens, and what it counts."""

    url: str
    registry: CollectorRegistry

    def count(self, metric: str, **labels: str) -> float:
        return self.registry.get_sample_value(metric, labels) or 0.0


def sealed(key: str, secret: str) -> Jsonb:
    """Credentials as the row of an account holds them."""
    reference = SealedCredentials(source="sealed", key=key, secret=secret)
    return Jsonb(stored_reference(reference, Sealer(SECRET_KEY)))


@asynccontextmanager
async def serving(database: TestDatabase) -> AsyncIterator[Ingest]:
    registry = CollectorRegistry()
    config = IngestConfig(
        database=database_settings(database),
        secrets=SecretSettings(secret_key=SecretStr(SECRET_KEY)),
        ingest=IngestSettings(),
    )
    app = create_app(config, registry=registry)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        serve = asyncio.create_task(server.serve(sockets=[listener]))
        await until(partial(_started, server))
        yield Ingest(f"http://127.0.0.1:{listener.getsockname()[1]}", registry)
        server.should_exit = True
        await serve


async def _started(server: uvicorn.Server) -> bool:
    return server.started


@pytest.fixture(scope="module")
async def ingest(module_database: TestDatabase) -> AsyncIterator[Ingest]:
    async with serving(module_database) as running:
        yield running
