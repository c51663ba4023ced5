"""Evaluates the alert rules and exports them; any process may, and they agree by the rows."""

from prometheus_client import Gauge

from waypost.messaging.values import Lane
from waypost.store.alert_rules import QUERIES, Bounds
from waypost.store.alerts import evaluate, lanes, settle_lanes
from waypost.store.database import Database
from waypost.store.reconcile import overview

_ALERTS = Gauge("waypost_alert", "Alerts that hold now; GET /v1/alerts has the evidence and what to do", ["rule"])
_OLDEST = Gauge("waypost_oldest_due_age_seconds", "How long the oldest due message has waited", ["lane"])
_UNRESOLVED = Gauge("waypost_attempts_unresolved", "Attempts whose result is not known", ["state"])


class Alerts:
    """The loop's work."""

    def __init__(self, database: Database, bounds: Bounds) -> None:
        self._database = database
        self._bounds = bounds

    async def look(self) -> bool:
        """Evaluate every rule once, each in a transaction of its own."""
        for rule in QUERIES:
            async with self._database.transaction() as connection:
                _ALERTS.labels(rule).set(await evaluate(connection, rule, self._bounds))
        await self._look_at_lanes()
        async with self._database.transaction() as connection:
            counts = await overview(connection)
        _UNRESOLVED.labels("in_flight").set(counts.in_flight)
        _UNRESOLVED.labels("unknown").set(counts.unknown)
        _UNRESOLVED.labels("abandoned").set(counts.abandoned)
        return False

    async def _look_at_lanes(self) -> None:
        async with self._database.transaction() as connection:
            found = await lanes(connection, self._bounds)
            held = await settle_lanes(connection, found, self._bounds)
        for rule, count in held.items():
            _ALERTS.labels(rule).set(count)
        ages = {each.lane: each.oldest_s for each in found}
        for lane in Lane:
            _OLDEST.labels(lane).set(ages.get(lane, 0.0))
