"""The relay's loops beside the dispatcher: reconcile, sweeps, probes, look-ups, watchdog, outbox, alerts.

All are safe in any number of processes. `worker.py` runs what `reconcile_loops` returns with `loops.run_loops`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prometheus_client import Counter
from temporalio.client import Client

from waypost.messaging.provider import LookUp, ProviderAccount, RenderedMessage, Sender
from waypost.messaging.values import Lane
from waypost.relay.alerts import Alerts
from waypost.relay.gauges import Gauges
from waypost.relay.look_ups import LookUps, Rerender
from waypost.relay.loops import Loop
from waypost.relay.months import Months
from waypost.relay.outbox import Outbox
from waypost.relay.probes import Prober
from waypost.relay.watchdog import Watchdog
from waypost.settings import WorkerSettings
from waypost.store.alert_rules import Bounds
from waypost.store.budgets import reopen_accounts
from waypost.store.database import Database
from waypost.store.imports import forget_import_keys, forget_imports
from waypost.store.outbox import drop_old_hints
from waypost.store.reconcile import assume_sent, lose_in_flight, void_absent
from waypost.store.retention import (
    forget_contact_events,
    forget_enrollments,
    forget_events,
    forget_inbound,
    forget_journey_audit,
    forget_messages,
    forget_verdicts,
)
from waypost.store.sweeps import (
    cancel_of_closed_tenants,
    date_fallbacks,
    end_expired,
    forget_alerts,
    forget_probes,
    forget_requests,
    free_held,
    take_over_fallbacks,
)
from workflows.names import DELIVERED_SIGNAL

BATCH = 500
OUTBOX_LOOP = "outbox"
FALLBACK_GRACE = timedelta(seconds=60)
_RESOLVED = Counter("waypost_reconciled_total", "Rows that reconcile and sweeps have moved", ["what"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait: for one call, its fence and record, for proof of absence, at all; and for an execution.

    And for how many days what is over is kept, 0: for ever.
    """

    call: timedelta = timedelta(seconds=10)
    record: timedelta = timedelta(seconds=10)
    margin: timedelta = timedelta(seconds=120)
    horizon: timedelta = timedelta(hours=24)
    orphan: timedelta = timedelta(seconds=30)
    event_days: int = 90
    message_days: int = 365

    @classmethod
    def of(cls, settings: WorkerSettings) -> "Patience":
        """As the worker's settings say."""
        return cls(
            call=timedelta(seconds=settings.call_timeout_s),
            record=timedelta(seconds=settings.record_grace_s),
            margin=timedelta(seconds=settings.unknown_margin_s),
            horizon=timedelta(seconds=settings.horizon_s),
            orphan=timedelta(seconds=settings.orphan_after_s),
            event_days=settings.event_retention_days,
            message_days=settings.message_retention_days,
        )

    @property
    def in_flight(self) -> timedelta:
        """No attempt is honestly in flight for longer."""
        return self.call + self.record

    @property
    def between_alerts_s(self) -> float:
        """The alerts are looked at often enough to see what a proof ends a little after the margin."""
        return max(0.5, min(5.0, self.margin.total_seconds() / 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the loops reach outside PostgreSQL, given by the composition root."""

    client: Callable[[], Client | None]
    load_account: Callable[[UUID], Awaitable[ProviderAccount]]
    open_sender: Callable[[ProviderAccount], Sender]
    open_look_up: Callable[[ProviderAccount], LookUp]
    rerender: Rerender
    fingerprint: Callable[[RenderedMessage], bytes]


def reconcile_loops(*, database: Database, lane: Lane, patience: Patience, reach: Reach) -> list[Loop]:
    """The loops of one process of a lane (role waypost_relay). Tell the loop `outbox` when PostgreSQL says so."""
    sweep = Sweeper(database)
    outbox = Outbox(database, reach.client)
    watchdog = Watchdog(database, reach.client, lane, suspect_age=patience.orphan)
    prober = Prober(database, load=reach.load_account, open_sender=reach.open_sender)
    look_ups = LookUps(
        database,
        age=patience.call + patience.margin,
        signal=DELIVERED_SIGNAL,
        load=reach.load_account,
        open_look_up=reach.open_look_up,
        rerender=reach.rerender,
        fingerprint=reach.fingerprint,
    )
    alerts = Alerts(database, Bounds.of_margin(patience.margin))
    return [
        Loop(name=OUTBOX_LOOP, interval_s=1, work=outbox.deliver),
        Loop(name="in-flight", interval_s=2, work=sweep.once("lost", lose_in_flight, age=patience.in_flight)),
        Loop(
            name="absence",
            interval_s=2,
            # Not the call alone: between claim and call the fence allows some time, and acceptance comes after it.
            work=sweep.once(
                "absent", void_absent, margin=patience.margin, call=patience.in_flight, signal=DELIVERED_SIGNAL
            ),
        ),
        Loop(name="horizon", interval_s=5, work=sweep.once("assumed", assume_sent, horizon=patience.horizon)),
        Loop(name="probes", interval_s=1, work=prober.probe),
        Loop(name="look-ups", interval_s=5, work=look_ups.ask),
        Loop(name="accounts", interval_s=1, work=sweep.once("account_reopened", reopen_accounts)),
        Loop(name="expiry", interval_s=2, work=sweep.once("expired", end_expired)),
        Loop(name="closed-tenants", interval_s=2, work=sweep.once("tenant_closed", cancel_of_closed_tenants)),
        Loop(
            name="fallbacks",
            interval_s=10,
            work=sweep.once("fallback_taken_over", take_over_fallbacks, grace=FALLBACK_GRACE),
        ),
        Loop(name="fallback-dates", interval_s=30, work=sweep.once("fallback_dated", date_fallbacks)),
        Loop(name="held", interval_s=10, work=sweep.once("held_freed", free_held)),
        Loop(name="requests", interval_s=30, work=sweep.once("request_forgotten", forget_requests)),
        Loop(name="old-probes", interval_s=300, work=sweep.once("probe_forgotten", forget_probes)),
        Loop(name="old-alerts", interval_s=300, work=sweep.once("alert_forgotten", forget_alerts)),
        Loop(name="old-hints", interval_s=300, work=sweep.once("hint_dropped", drop_old_hints)),
        *_retention(database, sweep, patience),
        Loop(name="watchdog", interval_s=5, work=watchdog.look),
        Loop(name="alerts", interval_s=patience.between_alerts_s, work=alerts.look),
        Loop(name="gauges", interval_s=10, work=Gauges(database, lane).look),
    ]


def _retention(database: Database, sweep: "Sweeper", patience: Patience) -> list[Loop]:
    """What is over is kept for its time."""
    events, messages = patience.event_days, patience.message_days
    months = Months(database, message_days=messages, event_days=events)
    return [
        Loop(name="months", interval_s=300, work=months.look),
        Loop(name="old-events", interval_s=300, work=sweep.once("event_forgotten", forget_events, days=events)),
        Loop(
            name="old-contact-events",
            interval_s=300,
            work=sweep.once("contact_event_forgotten", forget_contact_events, days=events),
        ),
        Loop(name="old-inbound", interval_s=300, work=sweep.once("inbound_forgotten", forget_inbound, days=events)),
        Loop(name="old-verdicts", interval_s=300, work=sweep.once("verdict_forgotten", forget_verdicts, days=events)),
        Loop(name="import-keys", interval_s=60, work=sweep.once("import_key_forgotten", forget_import_keys)),
        Loop(name="old-imports", interval_s=300, work=sweep.once("import_forgotten", forget_imports, days=events)),
        Loop(
            name="old-enrollments",
            interval_s=300,
            work=sweep.once("enrollment_forgotten", forget_enrollments, days=messages),
        ),
        Loop(
            name="old-journey-audit",
            interval_s=300,
            work=sweep.once("journey_deed_forgotten", forget_journey_audit, days=messages),
        ),
        Loop(name="old-messages", interval_s=300, work=sweep.once("message_forgotten", forget_messages, days=messages)),
    ]


class Sweeper:
    """Makes a loop's work of a store function that moves a bounded batch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def once(self, what: str, step: Callable[..., Awaitable[int]], **values: object) -> Callable[[], Awaitable[bool]]:
        """One batch in one transaction, counted under `what`; whether more waits."""

        async def work() -> bool:
            async with self._database.transaction() as connection:
                moved = await step(connection, limit=BATCH, **values)
            if moved:
                _RESOLVED.labels(what).inc(moved)
            return moved >= BATCH

        return work
