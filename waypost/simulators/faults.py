"""Misbehaviour on demand: which call or event a fault hits is decided here, deterministically for a given seed.

A fault's n-th matching call or event is hit where its `every`, `probability` and `count` say so; the probability's dice
are a hash of (seed, fault number, n), so two runs with the same traffic and seed hit the same ones.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from waypost.simulators.errors import ControlError


class FaultKind(StrEnum):
    """What goes wrong. Names that begin with `accept_` put the message into the truth log first."""

    THROTTLE = "throttle"
    ERROR_5XX = "error_5xx"
    ACCEPT_THEN_5XX = "accept_then_5xx"
    HANG = "hang"
    ACCEPT_THEN_HANG = "accept_then_hang"
    DRIP = "drip"
    """Accepts, then sends the reply a byte every `ms` (default 500)."""
    SLOW = "slow"
    """Accepts, replies after `ms`."""
    RESET = "reset"
    ACCEPT_THEN_RESET = "accept_then_reset"
    CREDENTIALS_EXPIRED = "credentials_expired"
    QUOTA = "quota"
    SENDING_PAUSED = "sending_paused"
    BULK_ENTRY = "bulk_entry"
    """SES bulk: the matching entry is refused with `status`, the others go on."""
    DROP_EVENTS = "drop_events"
    DELAY_EVENTS = "delay_events"
    DUPLICATE_EVENTS = "duplicate_events"
    SHUFFLE_EVENTS = "shuffle_events"
    STOP_FEED = "stop_feed"
    """Events are kept back; they flow when the fault goes. With `lose` they are dropped, as a lossy feed does."""


EVENT_FAULTS = frozenset(kind for kind in FaultKind if kind.endswith("_events")) | {FaultKind.STOP_FEED}


class FaultSpec(BaseModel):
    """One fault as `PUT /control/faults` takes it. `ms` milliseconds, `duration` seconds from when it was set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: FaultKind
    provider: Literal["ses", "twilio"] | None = None
    account: str | None = None
    match: str | None = None
    """Prefix of the recipient."""
    probability: float = Field(default=1.0, ge=0, le=1)
    every: int = Field(default=1, ge=1)
    count: int | None = Field(default=None, ge=1)
    duration: float | None = Field(default=None, gt=0)
    ms: float | None = Field(default=None, ge=0)
    n: int = Field(default=2, ge=1, le=100)
    """Duplicate: deliveries of each event in all."""
    window: int = Field(default=50, ge=2, le=100_000)
    """Shuffle: how many events are mixed; a batch that does not fill leaves after `ms` (default 1,000)."""
    kinds: list[str] | None = None
    attempts: list[str] | None = None
    new_ids: bool = False
    """Duplicate: give copies their own SNS MessageId, as a provider that publishes twice does."""
    lose: bool = False
    status: str = "TRANSIENT_FAILURE"
    """Bulk entry: the status it gets."""
    code: str | None = None
    """Answer with this error code of the provider instead of the usual one."""

    @model_validator(mode="after")
    def _selectors_fit(self) -> Self:
        if (self.kinds is not None or self.attempts is not None) and self.fault not in EVENT_FAULTS:
            raise ValueError("`kinds` and `attempts` select events; this fault is one of calls")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a fault is matched against: a call (no `kind`) or an event."""

    provider: str
    account: str
    recipients: tuple[str, ...]
    attempt: str | None = None
    kind: str | None = None


class Fault:
    """A fault in force, and how often it was met and hit."""

    def __init__(self, spec: FaultSpec, *, number: int, seed: int) -> None:
        self.spec = spec
        self.number = number
        self.seen = 0
        self.hits = 0
        self._seed = seed
        self._ends = None if spec.duration is None else time.monotonic() + spec.duration

    @property
    def over(self) -> bool:
        """Whether it will never hit again."""
        spent = self.spec.count is not None and self.hits >= self.spec.count
        return spent or (self._ends is not None and time.monotonic() >= self._ends)

    def strikes(self, subject: Subject) -> bool:
        """Whether it hits this call or event; counts."""
        if self.over or not self._matches(subject):
            return False
        self.seen += 1
        if self.seen % self.spec.every or not self._dice():
            return False
        self.hits += 1
        return True

    def view(self) -> dict[str, Any]:
        """What `GET /control/faults` shows."""
        counters = {"id": self.number, "seen": self.seen, "hits": self.hits, "over": self.over}
        return self.spec.model_dump(mode="json", exclude_defaults=True) | counters

    def _matches(self, subject: Subject) -> bool:
        spec = self.spec
        return (
            (spec.provider is None or spec.provider == subject.provider)
            and (spec.account is None or spec.account == subject.account)
            and (spec.match is None or any(each.startswith(spec.match) for each in subject.recipients))
            and (spec.kinds is None or subject.kind in spec.kinds)
            and (spec.attempts is None or subject.attempt in spec.attempts)
        )

    def _dice(self) -> bool:
        if self.spec.probability >= 1.0:
            return True
        thrown = hashlib.blake2b(f"{self._seed}/{self.number}/{self.seen}".encode(), digest_size=8).digest()
        return int.from_bytes(thrown, "big") / 2**64 < self.spec.probability


SPECS = TypeAdapter(list[FaultSpec])


class Faults:
    """All faults in force, calls' and events' apart so that a quiet path costs one test of an empty list."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._numbered = 0
        self._faults: list[Fault] = []
        self.of_calls: list[Fault] = []
        self.of_events: list[Fault] = []
        self.of_entries: list[Fault] = []

    def replace(self, raw: object) -> list[Fault]:
        """Put these in place of all. Raises `ControlError`."""
        specs = parse(raw)
        self._faults = []
        return self._add(specs)

    def add(self, raw: object) -> list[Fault]:
        """Add to those in force. Raises `ControlError`."""
        return self._add(parse(raw))

    def remove(self, number: int | None) -> None:
        """Remove one by its id, or all."""
        self._faults = [] if number is None else [each for each in self._faults if each.number != number]
        self._sort()

    def view(self) -> list[dict[str, Any]]:
        """All faults with their counters."""
        return [each.view() for each in self._faults]

    def on_call(self, subject: Subject) -> FaultSpec | None:
        """The first fault that hits this call."""
        return first_strike(self.of_calls, subject)

    def on_entry(self, subject: Subject) -> FaultSpec | None:
        """The first fault that hits this entry of a bulk call."""
        return first_strike(self.of_entries, subject)

    def _add(self, specs: Iterable[FaultSpec]) -> list[Fault]:
        made = []
        for spec in specs:
            self._numbered += 1
            made.append(Fault(spec, number=self._numbered, seed=self._seed))
        self._faults.extend(made)
        self._sort()
        return made

    def _sort(self) -> None:
        self.of_events = [each for each in self._faults if each.spec.fault in EVENT_FAULTS]
        self.of_entries = [each for each in self._faults if each.spec.fault is FaultKind.BULK_ENTRY]
        self.of_calls = [each for each in self._faults if each not in self.of_events and each not in self.of_entries]


def first_strike(faults: list[Fault], subject: Subject) -> FaultSpec | None:
    """The first that hits."""
    return next((each.spec for each in faults if each.strikes(subject)), None)


def parse(raw: object) -> list[FaultSpec]:
    """Read a list of faults, or a single one. Raises `ControlError`."""
    try:
        return SPECS.validate_python([raw] if isinstance(raw, dict) else raw)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        raise ControlError(f"fault {'.'.join(map(str, first['loc']))}: {first['msg']}") from wrong
