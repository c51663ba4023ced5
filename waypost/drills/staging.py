"""A private stack for a drill: what `waypost dev` starts, on free ports and in a folder of its own.

Its processes are the product's, or the same with adapters that kill. The drill can take each down and bring it back;
the simulators, which keep the truth, are never touched.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from temporalio.client import Client

from waypost.drills.fault_points import FOLDER_VARIABLE, FaultPoints
from waypost.messaging.audit import Acceptance
from waypost.messaging.provider_log import acceptance
from waypost.settings import DatabaseSettings, TemporalSettings
from waypost.simulators.control_client import ControlClient
from waypost.stack.layout import Stack, StackOptions, build, make_data_folder
from waypost.stack.lock import StackLock
from waypost.stack.logs import Logs
from waypost.stack.process import ProcessSpec, StackPlan, TaskSpec
from waypost.stack.supervisor import RestartPolicy, StackEvent, Supervisor
from waypost.store.audit import Connection
from waypost.store.database import Database, DatabaseAway, Role
from waypost.temporal.client import connect

T = TypeVar("T")

WORKER, BULK_WORKER, API, INGEST = "worker-fast", "worker-bulk", "api", "ingest"
POSTGRES, TEMPORAL = "postgres", "temporal"
PRODUCT = (API, INGEST, WORKER, BULK_WORKER)

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Of the caller's environment: what programs need. No setting of ours: a drill never reaches a real stack."""

_DRILLED: Mapping[str, tuple[str, ...]] = {
    API: ("waypost.drills.doors", "api"),
    INGEST: ("waypost.drills.doors", "ingest"),
    WORKER: ("waypost.drills.worker", "--lanes", "fast"),
    BULK_WORKER: ("waypost.drills.worker", "--lanes", "bulk"),
}

_CLOSE_S = 10.0
_AT_ONCE = RestartPolicy(first_pause_s=0.05, longest_pause_s=0.05, crashes=1_000_000)


@dataclass(frozen=True, kw_only=True)
class StagingOptions:
    """`settings` are WAYPOST_… variables of every process; `data` keeps the folder, otherwise it goes at the end."""

    settings: Mapping[str, str]
    killable: bool = False
    data: Path | None = None
    beside: Callable[[Stack], ProcessSpec] | None = None
    """One more process beside the product's, such as a control."""


class Staging:
    """A running private stack."""

    def __init__(self, stack: Stack, supervisor: Supervisor) -> None:
        self.stack = stack
        self.control = ControlClient(stack.urls["simulators"])
        self._supervisor = supervisor
        self._database = Database(_database_settings(stack.environment), Role.RELAY, size=2)

    @property
    def data(self) -> Path:
        """Its folder."""
        return self.stack.options.data

    @property
    def admin_key(self) -> str:
        """Opens the admin API."""
        return self.stack.environment["WAYPOST_ADMIN_KEY"]

    async def open(self) -> None:
        """Connect to the ledger."""
        await self._database.open()

    async def close(self) -> None:
        """Give back connections; the stack goes on."""
        self.control.close()
        await self._database.close()

    def pid(self, process: str) -> int:
        """The process as it is now."""
        return self._supervisor.pid(process)

    def points(self, process: str) -> FaultPoints:
        """Where a process of a killable staging can be killed."""
        return FaultPoints(_points_folder(self.data, process))

    async def take_down(self, process: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a process and leave it down."""
        await self._supervisor.take_down(process, how)

    async def bring_back(self, process: str) -> None:
        """Start it again; returns when it is ready."""
        await self._supervisor.bring_back(process)

    async def restart(self, process: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a process and start it again."""
        await self.take_down(process, how)
        await self.bring_back(process)

    async def read(self, query: Callable[[Connection], Awaitable[T]], *, patience_s: float = 120.0) -> T:
        """Ask the ledger, waiting while PostgreSQL is away. Raises what psycopg raises after that."""
        deadline = asyncio.get_running_loop().time() + patience_s
        while True:
            try:
                async with self._database.transaction() as connection:
                    return await query(connection)
            except DatabaseAway:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.2)

    def truth(self) -> list[Acceptance]:
        """All that the simulated providers ever accepted."""
        return [acceptance(entry, place) for place, entry in enumerate(self.control.log())]

    async def temporal(self) -> Client:
        """A client of its Temporal."""
        return await connect(TemporalSettings(address=self.stack.environment["TEMPORAL_ADDRESS"]))

    def copy_temporal(self, to: Path) -> None:
        """A consistent copy of Temporal's store, taken while it runs. Blocking."""
        with (
            contextlib.closing(sqlite3.connect(self._temporal_file)) as source,
            contextlib.closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)

    async def roll_back_temporal(self, to: Path) -> None:
        """Stop Temporal, put the copy in its store's place, start it again."""
        await self.take_down(TEMPORAL, signal.SIGTERM)
        await asyncio.to_thread(_put_in_place, to, self._temporal_file)
        await self.bring_back(TEMPORAL)

    @property
    def _temporal_file(self) -> Path:
        return self.data / "temporal.db"


def _put_in_place(copy: Path, store: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{store}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(copy, store)


@contextlib.asynccontextmanager
async def staged(options: StagingOptions, report: Callable[[StackEvent], None]) -> AsyncIterator[Staging]:
    """A staging that is ready; everything is stopped at the end. Raises StackError."""
    with _folder(options.data) as folder:
        lock = StackLock.acquire(folder)
        try:
            async with _running(options, folder, lock, report) as staging:
                yield staging
        finally:
            lock.release()


@contextlib.asynccontextmanager
async def _running(
    options: StagingOptions, folder: Path, lock: StackLock, report: Callable[[StackEvent], None]
) -> AsyncIterator[Staging]:
    environ = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | dict(options.settings)
    stack = build(StackOptions(data=folder), environ)
    plan = _plan(options, stack, folder)
    supervisor = Supervisor(
        plan, logs=Logs(folder / "logs"), report=report, policy=_AT_ONCE, inherited=(lock.fileno(),)
    )
    stop = asyncio.Event()
    staging = Staging(stack, supervisor)
    try:
        await supervisor.start()
        watching = asyncio.create_task(supervisor.run_until(stop))
        await staging.open()
        yield staging
        stop.set()
        await watching
    finally:
        supervisor.hurry()  # nothing in it is worth a drain
        try:
            async with asyncio.timeout(_CLOSE_S):
                await staging.close()
        finally:
            await supervisor.stop()


def _plan(options: StagingOptions, stack: Stack, folder: Path) -> StackPlan:
    plan = stack.plan
    if options.killable:
        plan = replace(plan, stages=tuple(tuple(_drilled(spec, folder) for spec in stage) for stage in plan.stages))
    if options.beside is not None:
        more = options.beside(stack)
        *earlier, last = plan.stages
        plan = replace(plan, stages=(*earlier, (*last, more)), stop_order=((more.name,), *plan.stop_order))
    return plan


def _drilled(spec: ProcessSpec | TaskSpec, folder: Path) -> ProcessSpec | TaskSpec:
    if spec.name not in _DRILLED:
        return spec
    points = {FOLDER_VARIABLE: str(_points_folder(folder, spec.name))}
    return replace(spec, argv=(sys.executable, "-P", "-m", *_DRILLED[spec.name]), env={**spec.env, **points})


def _points_folder(folder: Path, process: str) -> Path:
    return folder / "faults" / process


def _database_settings(environment: Mapping[str, str]) -> DatabaseSettings:
    names = ("database_url", "app_password", "relay_password", "segments_password")
    return DatabaseSettings(**{name: environment[f"WAYPOST_{name.upper()}"] for name in names})  # type: ignore[arg-type]  # pydantic reads text as secrets


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The given folder, which stays; or one that goes at the end."""
    if data is not None:
        yield make_data_folder(data)
        return
    folder = Path(tempfile.mkdtemp(prefix="waypost-drill-"))
    folder.chmod(0o711)  # PostgreSQL's user must get through it when we are root
    try:
        yield make_data_folder(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
