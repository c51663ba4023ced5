"""The way of an event from its provider to its subscribers, and all that can befall it there."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from waypost.simulators.faults import Fault, FaultKind, Faults, Subject
from waypost.simulators.schedule import Schedule

Deliver = Callable[[int], None]
"""Hands the event over; the number is the copy's, 0 for the first or when copies keep their id."""

DEFAULT_SHUFFLE_MS = 1_000.0


@dataclass(slots=True)
class Plan:
    """What the faults in force do to one event."""

    dropped: bool = False
    delay: float = 0.0
    copies: int = 1
    new_ids: bool = False
    shuffle: Fault | None = None


@dataclass(slots=True)
class FeedCounters:
    """Events published by the providers, and what was done to them."""

    published: int = 0
    delivered: int = 0
    dropped: int = 0
    duplicated: int = 0


@dataclass(slots=True)
class ShuffleBatch:
    """Events waiting to leave in another order."""

    waiting: list[tuple[Subject, Deliver, int]] = field(default_factory=list)


class Feed:
    """Publishes events through the event faults."""

    def __init__(self, faults: Faults, schedule: Schedule, *, seed: int) -> None:
        self._faults = faults
        self._schedule = schedule
        self._random = random.Random(seed)
        self._batches: dict[int, ShuffleBatch] = {}
        self._held: list[tuple[Subject, Deliver, int]] = []
        self.counters = FeedCounters()

    @property
    def held(self) -> int:
        """Events kept back by a stopped feed."""
        return len(self._held)

    def publish(self, subject: Subject, deliver: Deliver) -> None:
        """Hand an event over, or do to it what the faults say."""
        self.counters.published += 1
        if not self._faults.of_events:
            self.counters.delivered += 1
            deliver(0)
            return
        plan = self._plan(subject)
        if plan.dropped:
            self.counters.dropped += 1
            return
        self.counters.duplicated += plan.copies - 1
        for copy in range(plan.copies):
            number = copy if plan.new_ids else 0
            self._schedule.after(plan.delay, lambda number=number: self._mix(plan.shuffle, subject, deliver, number))  # type: ignore[misc]  # mypy cannot type a lambda's default

    def resume(self) -> None:
        """Look again at what was kept back: after the faults changed or one ended."""
        for batch in list(self._batches):
            self._flush(batch)
        held, self._held = self._held, []
        for each in held:
            self._hand_over(*each)

    def _plan(self, subject: Subject) -> Plan:
        plan = Plan()
        for fault in self._faults.of_events:
            spec = fault.spec
            if spec.fault is FaultKind.STOP_FEED or not fault.strikes(subject):
                continue
            match spec.fault:
                case FaultKind.DROP_EVENTS:
                    plan.dropped = True
                case FaultKind.DELAY_EVENTS:
                    plan.delay += (spec.ms or 0.0) / 1000
                case FaultKind.DUPLICATE_EVENTS:
                    plan.copies, plan.new_ids = spec.n, spec.new_ids
                case FaultKind.SHUFFLE_EVENTS:
                    plan.shuffle = fault
                case _:
                    raise AssertionError(f"{spec.fault} is no event fault")
        return plan

    def _mix(self, shuffle: Fault | None, subject: Subject, deliver: Deliver, number: int) -> None:
        if shuffle is None:
            self._hand_over(subject, deliver, number)
            return
        batch = self._batches.get(shuffle.number)
        if batch is None:
            batch = self._batches[shuffle.number] = ShuffleBatch()
            wait = DEFAULT_SHUFFLE_MS if shuffle.spec.ms is None else shuffle.spec.ms
            self._schedule.after(wait / 1000, lambda: self._flush(shuffle.number, only=batch))
        batch.waiting.append((subject, deliver, number))
        if len(batch.waiting) >= shuffle.spec.window:
            self._flush(shuffle.number)

    def _flush(self, fault_number: int, *, only: ShuffleBatch | None = None) -> None:
        batch = self._batches.get(fault_number)
        if batch is None or (only is not None and batch is not only):
            return
        del self._batches[fault_number]
        self._random.shuffle(batch.waiting)
        for each in batch.waiting:
            self._hand_over(*each)

    def _hand_over(self, subject: Subject, deliver: Deliver, number: int) -> None:
        for fault in self._faults.of_events:
            if fault.spec.fault is FaultKind.STOP_FEED and fault.strikes(subject):
                if fault.spec.lose:
                    self.counters.dropped += 1
                else:
                    self._held.append((subject, deliver, number))
                return
        self.counters.delivered += 1
        deliver(number)
