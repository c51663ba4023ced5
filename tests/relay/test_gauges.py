"""What an operator watches is what the rows say."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from prometheus_client import REGISTRY

from tests.relay.ledger import NOW, Ledger
from waypost.messaging.values import Lane
from waypost.relay.gauges import Gauges
from waypost.store.database import Database


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_a_lane_shows_its_backlog_its_executions_and_its_full_windows(store: Database, ledger: Ledger) -> None:
    await ledger.execute("UPDATE tenants SET window_fast = 2 WHERE id = %s", (ledger.tenant,))
    for _ in range(3):
        await ledger.add_message(phase="ready", due_at=NOW + timedelta(days=365))
    await ledger.add_message()
    await Gauges(store, Lane.FAST).look()
    assert shown("waypost_ready_rows", lane="fast") == 3
    assert shown("waypost_open_executions", lane="fast") == 1
    assert shown("waypost_full_windows", lane="fast") == 0
    await ledger.add_message()
    await ledger.add_message(lane="bulk")
    await Gauges(store, Lane.FAST).look()
    assert shown("waypost_open_executions", lane="fast") == 2
    assert shown("waypost_full_windows", lane="fast") == 1


async def test_an_account_shows_its_pause_and_its_quota(store: Database, ledger: Ledger) -> None:
    paused = await ledger.add_account(state="paused", daily_quota=50_000)
    unlimited = str(ledger.account)
    await ledger.insert("account_budgets", account_id=paused, used_today=7)
    await Gauges(store, Lane.BULK).look()
    assert shown("waypost_account_paused", account=str(paused)) == 1
    assert shown("waypost_account_used_today", account=str(paused)) == 7
    assert shown("waypost_account_daily_quota", account=str(paused)) == 50_000
    assert shown("waypost_account_paused", account=unlimited) == 0
    assert shown("waypost_account_daily_quota", account=unlimited) is None
    assert shown("waypost_account_paused", account=str(uuid4())) is None
