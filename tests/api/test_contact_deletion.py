"""What becomes of a deleted contact's messages."""

from __future__ import annotations

import pytest

from tests.api.message_fixtures import open_shop, receipt
from tests.api.running import Api, ok
from tests.services import Database

CANCELLED = ("closed", "cancelled", "contact_deleted")


async def test_what_nobody_has_claimed_is_cancelled_with_its_fallback(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    fallback = {"channel": "sms", "after": "PT5M", "content": {"channel": "sms", "body": "Hello"}}
    message = (await shop.sent(receipt(fallback=fallback)))["id"]
    others = (await shop.sent(receipt(to={"email": "bob@reader.test"})))["id"]
    await ok(shop.client.delete("/v1/contacts/ann"))
    rows = shop.rows(
        "SELECT phase, outcome, outcome_reason FROM messages WHERE tenant_id = %s AND (id = %s OR primary_id = %s)",
        *(shop.id, message, message),
    )
    assert [tuple(row.values()) for row in rows] == [CANCELLED, CANCELLED]
    assert shop.message(others)["outcome"] is None
    verdicts = shop.rows("SELECT reason FROM verdicts WHERE message_id = %s", message)
    assert verdicts == [{"reason": "contact_deleted"}]


@pytest.mark.parametrize(("phase", "state"), [("dispatched", "void"), ("held", "unknown"), ("ready", "abandoned")])
async def test_what_somebody_has_in_hand_may_not_be_claimed_again(
    api: Api, module_database: Database, phase: str, state: str
) -> None:
    shop = await open_shop(api, module_database)
    message = (await shop.sent())["id"]
    shop.attempt(message, state)
    shop.move(message, phase)
    await ok(shop.client.delete("/v1/contacts/ann"))
    row = shop.message(message)
    assert (row["phase"], row["outcome"], row["cancel_requested_at"] is not None) == (phase, None, True)


async def test_what_has_gone_out_stays_as_it_was(api: Api, module_database: Database) -> None:
    shop = await open_shop(api, module_database)
    message = (await shop.sent())["id"]
    shop.attempt(message, "accepted")
    shop.rows("UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'x' WHERE id = %s", message)
    before = shop.message(message)
    await ok(shop.client.delete("/v1/contacts/ann"))
    assert shop.message(message) == before
