"""Gauges of the ledger for GET /metrics of a worker. Every process of a lane shows the same: take the maximum."""

from prometheus_client import Gauge

from waypost.messaging.values import Lane
from waypost.store.database import Database
from waypost.store.gauges import account_gauges, lane_gauge

_READY = Gauge("waypost_ready_rows", "Messages that wait in their rows, due or not; counted up to 100,000", ["lane"])
_OPEN = Gauge("waypost_open_executions", "Messages whose execution is open", ["lane"])
_FULL = Gauge("waypost_full_windows", "Tenants that may have no more executions open", ["lane"])
_PAUSED = Gauge("waypost_account_paused", "1 while a provider account takes no messages", ["account"])
_QUOTA = Gauge("waypost_account_daily_quota", "Messages a UTC day, where an account has such a limit", ["account"])
_USED = Gauge("waypost_account_used_today", "Sends that an account's budget gave out this UTC day", ["account"])


class Gauges:
    """The loop's work, for one lane and all accounts."""

    def __init__(self, database: Database, lane: Lane) -> None:
        self._database = database
        self._lane = lane

    async def look(self) -> bool:
        """Count once; nothing waits afterwards."""
        async with self._database.transaction() as connection:
            lane = await lane_gauge(connection, self._lane)
            accounts = await account_gauges(connection)
        _READY.labels(self._lane).set(lane.ready)
        _OPEN.labels(self._lane).set(lane.open_executions)
        _FULL.labels(self._lane).set(lane.full_windows)
        for account in accounts:
            _PAUSED.labels(account.id).set(account.paused)
            _USED.labels(account.id).set(account.used_today)
            if account.daily_quota is not None:
                _QUOTA.labels(account.id).set(account.daily_quota)
        return False
