"""A demo on a running stack: the script played, then the ledger and the simulator's log read and compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from uuid import UUID

from waypost.demo.door import Door
from waypost.demo.errors import DemoError
from waypost.demo.people import Person
from waypost.demo.proof import Proof, prove
from waypost.demo.script import Script, Stage
from waypost.demo.walk import Walk
from waypost.drills.report import Report
from waypost.messaging.audit import AuditedAttempt
from waypost.messaging.provider_log import acceptance
from waypost.settings import DatabaseSettings
from waypost.simulators.control_client import ControlClient
from waypost.stack.demo_tenant import SENDERS
from waypost.stack.running import RunningStack
from waypost.store.audit import audited_attempts, probe_ids
from waypost.store.database import Database, Role

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What came of it, and where to look."""

    run: str
    proof: Proof
    walk: Walk
    walked: Proof
    """Of the journey's messages alone."""
    execution: str | None
    campaign_execution: str | None
    seconds: Mapping[str, float]

    @cached_property
    def report(self) -> Report:
        """In the format that drills and benches share."""
        found = self.proof.report(seconds=self.seconds)
        return replace(found, checks=(*found.checks, *self.walk.checks()), figures={**found.figures, **self._journey})

    @property
    def _journey(self) -> Mapping[str, object]:
        endings = {" ".join(filter(None, each)): number for each, number in sorted(self.walk.endings.items())}
        return {"journey": {"entered": self.walk.entered, "steps": dict(self.walk.steps), "endings": endings}}


async def perform(stack: RunningStack, persons: Sequence[Person], stage: Stage) -> Performance:
    """Play and prove. Raises `DemoError`."""
    if stack.demo_api_key is None:
        raise DemoError(f"The stack on {stack.data} has no demo tenant: stop it and start `waypost dev --demo`.")
    began, run = time.monotonic(), f"demo-{_base_36(time.time_ns() // 1_000_000)}"
    control = ControlClient(stack.urls["simulators"])
    try:
        since = int(control.stats()["accepted"])
        async with Door(stack.urls["api"], stack.demo_api_key) as door:
            script = Script(door, stage, run=run, persons=persons, reply=_replies(control))
            await script.play()
        played = time.monotonic() - began
        proof, walked = await _proofs(stack, script, control, since)
    finally:
        control.close()
    seconds = {"play": played, "prove": time.monotonic() - began - played}
    return Performance(
        run=run,
        proof=proof,
        walk=script.first_days.walk,
        walked=walked,
        execution=script.execution,
        campaign_execution=script.newsletter.execution,
        seconds=seconds,
    )


def _replies(control: ControlClient) -> _Reply:
    return _Reply(control, number=str(SENDERS["sms"]["address"]))


class _Reply:
    """A person writes to the shop's number."""

    def __init__(self, control: ControlClient, *, number: str) -> None:
        self._control = control
        self._number = number

    async def __call__(self, person: str, body: str) -> None:
        await asyncio.to_thread(self._control.inbound, person=person, number=self._number, body=body)


async def _proofs(stack: RunningStack, script: Script, control: ControlClient, since: int) -> tuple[Proof, Proof]:
    """Of everything, and of the journey's messages alone."""
    # The log first: a claim is committed before a byte leaves, so what the ledger lacks of this log, it lacks.
    log = [acceptance(entry, since + place) for place, entry in enumerate(control.log(since))]
    attempts, probes = await _ledger(stack)
    repeats = (script.repeated, script.repeated_right)
    walk = script.first_days.walk
    proven = partial(prove, attempts=attempts, log=log, probes=probes)
    return (
        proven(rows=script.rows, foreseen=script.foreseen, repeats=repeats),
        proven(rows=walk.rows, foreseen=walk.foreseen, repeats=(0, 0)),
    )


async def _ledger(stack: RunningStack) -> tuple[list[AuditedAttempt], frozenset[UUID]]:
    database = Database(_database_settings(stack.environment), Role.RELAY, size=1)
    await database.open()
    try:
        async with database.transaction() as connection:
            return [attempt async for attempt in audited_attempts(connection)], await probe_ids(connection)
    finally:
        await database.close()


def _database_settings(environment: Mapping[str, str]) -> DatabaseSettings:
    names = ("database_url", "app_password", "relay_password", "segments_password")
    return DatabaseSettings(**{name: environment[f"WAYPOST_{name.upper()}"] for name in names})  # type: ignore[arg-type]  # pydantic reads text as secrets


def _base_36(number: int) -> str:
    digits = ""
    while number:
        number, place = divmod(number, 36)
        digits = _ALPHABET[place] + digits
    return digits
