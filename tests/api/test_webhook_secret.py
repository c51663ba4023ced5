from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.api.message_fixtures import Shop, open_shop
from tests.api.running import SECRET_KEY, Api, ok
from tests.services import Database
from waypost.messaging.webhooks import signing_secret, written_secret


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(api: Api, module_database: Database) -> AsyncIterator[Shop]:
    yield await open_shop(api, module_database)


async def test_a_tenant_reads_the_secret_that_its_webhooks_are_signed_with(shop: Shop) -> None:
    told = await ok(shop.client.get("/v1/webhook-secret"))
    assert told == {"secret": written_secret(signing_secret(SECRET_KEY, shop.id))}
