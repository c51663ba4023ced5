"""A row that is looked up by its key is found by its key, however small an index of open rows looks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.relay.ledger import Ledger
from tests.relay.runs import add_contacts, add_run, freeze_all
from waypost.store import attempts, campaign_pages, send
from waypost.store.database import Database

NAMES = (
    *("number", "attempts", "content_hash", "process", "state", "code", "phase", "outcome", "reason", "retry_after"),
    *("provider_message_id", "until", "wait", "at", "topic", "capped"),
    *("messages", "numbers", "attempts", "hashes", "variants", "templates", "versions", "states", "codes"),
    *("provider_ids", "phases", "outcomes", "reasons", "waits", "untils"),
)
OF_OPEN_ROWS = ("expiring", "ready", "waiting", "dispatched", "held", "unresolved", "without_event")


@pytest.mark.parametrize(
    ("statement", "attempts_made"),
    [
        pytest.param(attempts._CLAIM, 0, id="claim"),
        pytest.param(attempts._RECORD, 0, id="record"),
        pytest.param(campaign_pages._CLAIM, [], id="claim of a page"),
        pytest.param(campaign_pages._RECORD, [], id="record of a page"),
        pytest.param(campaign_pages._SETTLE, [], id="settling of a page"),
        pytest.param(campaign_pages._PAGE, 0, id="look"),
        pytest.param(send._PUT_BACK, 0, id="put back"),
    ],
)
async def test_no_index_of_open_rows_is_read_where_all_rows_are_closed(
    app: Database, loops: Database, ledger: Ledger, statement: Any, attempts_made: object
) -> None:
    await _all_closed(loops, ledger)
    row = (
        await ledger.execute(
            "SELECT id, run_id, waypost_month(created_at) AS month FROM messages WHERE tenant_id = %s LIMIT 1",
            (ledger.tenant,),
        )
    )[0]
    known = {"tenant": ledger.tenant, "message": row["id"], "attempt": row["id"], "run": row["run_id"]}
    known |= {"month": row["month"], "months": [row["month"]]}
    known |= {"shard": 0, "cohort": 0, "limit": 50, "after": row["id"], "number": 1, "attempts": attempts_made}
    values = dict.fromkeys(NAMES) | known
    async with app.transaction(ledger.tenant) as connection:
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        rows = await (await connection.execute("EXPLAIN " + statement, values)).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert not [name for name in OF_OPEN_ROWS if f"messages_{name} " in plan or f"attempts_{name}" in plan], plan
    assert "messages_pkey" in plan or re.search(r"attempts_\w+_pkey", plan) or "messages_of_run_open" in plan


async def _all_closed(loops: Database, ledger: Ledger) -> None:
    """A run that was sent, and statistics that say so."""
    await add_contacts(ledger, 200)
    await freeze_all(loops, ledger, await add_run(ledger))
    await ledger.execute(
        "INSERT INTO attempts (tenant_id, id, message_id, number, account_id, claimed_at, process, state, month) "
        "SELECT tenant_id, gen_random_uuid(), id, 1, account_id, waypost_now(), 'test', 'accepted', "
        "waypost_month(created_at) FROM messages "
        "ON CONFLICT DO NOTHING"
    )
    await ledger.execute("UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'accepted'")
    await ledger.execute("ANALYZE messages, attempts")
