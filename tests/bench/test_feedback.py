"""The feedback bench's own parts: ids that both sides derive, and a control that does its work."""

import asyncio

import psycopg

from tests import services
from tests.relay.ledger import Ledger as Rows
from waypost.bench.feedback_arms import EVENTS_EACH, ControlArm, Subject
from waypost.bench.feedback_ledger import Ledger, attempt_id, message_id

TOPIC = "arn:aws:sns:us-east-1:000000000000:waypost-BENCH"


def test_ids_are_those_that_the_ledger_is_filled_with(database: services.Database) -> None:
    with psycopg.connect(database.owner_url) as connection:
        row = connection.execute("SELECT md5('w/7')::uuid, md5((md5('w/7')::uuid)::text)::uuid").fetchone()
    assert row == (message_id("w", 7), attempt_id("w", 7))
    assert attempt_id("w", 7) != attempt_id("w", 8)


async def test_the_control_verifies_stores_and_applies_each_event(database: services.Database) -> None:
    rows = await Rows.open(database)
    ledger = Ledger(database.owner_url, tenant=rows.tenant, account=rows.account)
    since = ledger.last_event()
    subject = Subject(tenant=rows.tenant, account=rows.account, key="BENCH", topic=TOPIC)
    with ControlArm(database.owner_url, ledger, subject) as control:
        assert await control.rate("few", 5) > 0
    assert await asyncio.to_thread(ledger.applied, since) == 5 * EVENTS_EACH
    assert ledger.delivered("few") == 5
    assert ledger.lags(since).count == 5 * EVENTS_EACH
    ledger.close()
    await rows.close()
