"""An arm's result, and the two arms that are no campaigns of ours: the bare loop, and Procrastinate."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import psycopg

from waypost.bench.arrivals import Arrivals, arrivals_of
from waypost.bench.footprint import Footprint, cpu_between, footprints
from waypost.bench.statements import owner_conninfo
from waypost.simulators.control_client import ControlClient
from waypost.stack.demo_tenant import SES_KEY
from waypost.stack.running import RunningStack

_DATABASE = "waypost_bench_procrastinate"
_TIMEOUT_S = 3600.0
_KNOWN = """
SELECT count(*) FILTER (WHERE outcome = 'sent'), count(*) FILTER (WHERE delivery = 'delivered')
FROM messages WHERE run_id = %s
"""
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """What an arm did. CPU in seconds of each process; `arrivals` by the simulators' log."""

    name: str
    arrivals: Arrivals
    cpu_s: Mapping[str, float]
    more: Mapping[str, object] = field(default_factory=dict)

    def figures(self) -> dict[str, object]:
        """In numbers."""
        per_thousand = {
            name: round(seconds * 1000 / max(1, self.arrivals.count), 2)
            for name, seconds in sorted(self.cpu_s.items())
            if seconds > 0.01
        }
        return {
            "recipients": self.arrivals.count,
            "recipients_per_s": round(self.arrivals.rate(), 1),
            "first_to_last_s": round(self.arrivals.seconds, 2),
            "cpu_ms_per_recipient": per_thousand,
            **self.more,
        }


class BareLoop:
    """`send_bulk_email` in a loop, pre-rendered: the whole of each one's content, or one template and their values."""

    def __init__(self, stack: RunningStack, control: ControlClient, *, slotted: bool) -> None:
        self._stack = stack
        self._control = control
        self._slotted = slotted

    def run(self, count: int) -> ArmResult:
        """Send to so many."""
        word = _fresh("slotted" if self._slotted else "bare")
        where = ("--endpoint", self._stack.urls["simulators"], "--key", "BENCHBARE", "--word", word)
        shape = ("--slotted",) if self._slotted else ()
        argv = (*_module("waypost.bench.bare_loop"), *where, "--count", str(count), *shape)
        since = self._control.stats()["accepted"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("the bare loop ended before it was ready")
            before = footprints(self._stack.pid, process.pid)
            process.stdin.write(b"\n")
            process.stdin.flush()
            after = _watch(process, self._stack, before)
        return ArmResult(
            name="bare loop, one template and values" if self._slotted else "bare loop",
            arrivals=arrivals_of(self._control, word=word, since=since),
            cpu_s=after,
        )


class ProcrastinateArm:
    """Procrastinate on the stack's PostgreSQL, in a database of its own, one worker process.

    What `bulk` records is in Waypost's tables, in rows made like those of a run of `tenant` that was sent, and its
    provider account is that of the run, so that what the provider's events say is recorded too.
    """

    def __init__(self, stack: RunningStack, control: ControlClient, *, tenant: UUID, like: UUID) -> None:
        self._stack = stack
        self._control = control
        self._tenant = tenant
        self._like = like

    def run(self, kind: str, count: int, *, concurrency: int) -> ArmResult:
        """`single` or `bulk`; the jobs are there before the clock runs."""
        word, run = _fresh(kind), uuid4()
        with self._database() as database:
            key = SES_KEY if kind == "bulk" else "BENCHQUEUE"
            where = ("--endpoint", self._stack.urls["simulators"], "--key", key, "--word", word)
            rows = ("--tenant", str(self._tenant), "--run", str(run), "--like", str(self._like))
            ledger = ("--ledger", owner_conninfo(self._stack))
            given = ("--kind", kind, "--database", database, *where, *ledger, *rows, "--count", str(count))
            argv = (sys.executable, "-P", "-c", "from waypost.bench.procrastinate_worker import main; main()")
            width = ("--concurrency", str(concurrency))
            subprocess.run((*argv, "prepare", *given, *width), check=True, timeout=_TIMEOUT_S)
            since = self._control.stats()["accepted"]
            before = footprints(self._stack.pid)
            with subprocess.Popen((*argv, "work", *given, *width), stdout=subprocess.DEVNULL) as process:
                cpu = _watch(process, self._stack, before)
            if kind == "bulk":
                self._await_events(run, count)
                after = cpu_between(before, footprints(self._stack.pid))
                cpu = {name: max(cpu.get(name, 0.0), after.get(name, 0.0)) for name in cpu | after}
        return ArmResult(
            name=f"procrastinate, a task per {'recipient' if kind == 'single' else '50'}",
            arrivals=arrivals_of(self._control, word=word, since=since),
            cpu_s=cpu,
            more={"concurrency": concurrency},
        )

    def _await_events(self, run: UUID, count: int) -> None:
        """What came of the calls is recorded; no later arm pays for it. Raises TimeoutError."""
        give_up = time.monotonic() + _TIMEOUT_S
        with psycopg.connect(owner_conninfo(self._stack), autocommit=True) as connection:
            while connection.execute(_KNOWN, (run,)).fetchone() != (count, count):
                if time.monotonic() > give_up:
                    raise TimeoutError("the control's rows are not complete")
                time.sleep(_LOOK_EVERY_S)

    @contextlib.contextmanager
    def _database(self) -> Iterator[str]:
        owner = owner_conninfo(self._stack)
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {_DATABASE}")
        try:
            yield psycopg.conninfo.make_conninfo(owner, dbname=_DATABASE)
        finally:
            with psycopg.connect(owner, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")


def _watch(
    process: "subprocess.Popen[bytes]", stack: RunningStack, before: Mapping[str, Footprint]
) -> dict[str, float]:
    """CPU by process until this one ends: what it used, and its connections' backends, is gone with it."""
    most = dict(before)
    while process.poll() is None:
        _keep_most(most, footprints(stack.pid, process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_EVERY_S)
    if process.returncode:
        raise RuntimeError(f"the arm ended with {process.returncode}")
    _keep_most(most, footprints(stack.pid))
    return cpu_between(before, most)


def _keep_most(most: dict[str, Footprint], now: Mapping[str, Footprint]) -> None:
    for name, found in now.items():
        if name not in most or found.cpu_s > most[name].cpu_s:
            most[name] = found


def _fresh(word: str) -> str:
    return f"{word}{uuid4().hex[:6]}"


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", name)
