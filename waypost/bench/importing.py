"""`waypost bench import`: a file of contacts in bounded memory; killed half-way, run again, the table is the same."""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import psycopg

from waypost.bench import import_file
from waypost.bench.arms import until
from waypost.bench.statements import owner_conninfo
from waypost.drills.report import Report, at_least, at_most, environment, equals
from waypost.stack.running import RunningStack, ensured

RSS_BOUND_MB = 200
CONTROL_ROWS = 10_000
CONTROL_BATCH = 1_000
CLI_KILLED_AT, API_KILLED_AT = 0.4, 0.7
_SAMPLE_S = 0.05
_ASK_S = 0.2
_PATIENCE_S = 1800.0
_COUNTS = ("read", "created", "updated", "repeated", "refused", "blank")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A tenant, its key, and the contacts that an arm makes."""

    tenant: UUID
    key: str


@dataclass(slots=True)
class Watched:
    """What was seen of one run: peak memory in bytes, and how the API answered others meanwhile, in seconds."""

    api_rss: int = 0
    cli_rss: int = 0
    seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)


def run(rows: int, tell: Tell) -> Report:
    """Measure on a stack of its own that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        file = Path(own) / "contacts.csv"
        tell(f"writing a file of {rows:,} rows")
        import_file.write_file(file, rows)
        tell("starting the stack")
        with ensured(Path(own) / "stack") as stack:
            return asyncio.run(_Bench(stack, file, rows, tell).measure())


class _Bench:
    def __init__(self, stack: RunningStack, file: Path, rows: int, tell: Tell) -> None:
        self._stack = stack
        self._file = file
        self._rows = rows
        self._tell = tell
        self._environment = environment(rows=rows, file_mb=round(file.stat().st_size / 1e6, 1))

    async def measure(self) -> Report:
        async with httpx.AsyncClient(base_url=self._stack.urls["api"], timeout=30, trust_env=False) as http:
            idle = _api(self._stack).memory_info().rss
            clean, broken, control = [await self._arm(http) for _ in range(3)]
            self._tell("a clean run")
            whole, once = await self._import(http, clean)
            self._tell("a run that is killed, and one that goes on through a kill of the API")
            await self._import(http, broken, kill_cli_at=int(self._rows * CLI_KILLED_AT))
            stood = await self._read_rows(http, broken)
            rest, again = await self._import(http, broken, kill_api_at=int(self._rows * API_KILLED_AT))
            self._tell("a control: the same rows by POST /v1/contacts/batch")
            bare = await self._control(http, control)
        tables = [_table(self._stack, arm.tenant) for arm in (clean, broken)]
        checks = (
            at_most("memory of the API, peak MB", _mb(max(once.api_rss, again.api_rss)), RSS_BOUND_MB),
            at_most("memory of the command, peak MB", _mb(max(once.cli_rss, again.cli_rss)), RSS_BOUND_MB),
            equals("rows read by the clean run", whole["rows_read"], self._rows),
            equals("rows refused", whole["rows_refused"], import_file.wrong(self._rows)),
            equals("rows repeated", whole["rows_repeated"], import_file.repeated(self._rows)),
            at_least("rows that the killed run had put in", stood, 1),
            at_most("rows that the killed run had put in", stood, self._rows - 1),
            equals("contacts differ between the clean and the killed run", tables[0] != tables[1], False),
            equals("contacts", tables[0]["contacts"], whole["rows_created"]),
            equals("counts differ between them", _counts(whole) != _counts(rest), False),
            at_least("rows a second, over POST /v1/contacts/batch", self._rows / once.seconds / bare, 1),
        )
        figures = {
            "rows_per_s": round(self._rows / once.seconds),
            "seconds": round(once.seconds, 1),
            "by_contacts_batch_per_s": round(bare),
            "api_idle_mb": _mb(idle),
            "api_peak_mb": {"clean": _mb(once.api_rss), "killed": _mb(again.api_rss)},
            "command_peak_mb": {"clean": _mb(once.cli_rss), "killed": _mb(again.cli_rss)},
            "killed_at_rows": stood,
            "another_request_meanwhile_ms": _pauses(once.pauses),
            "tables": tables[0],
        }
        return Report(name="bench import", checks=checks, figures=figures, environment=self._environment)

    async def _arm(self, http: httpx.AsyncClient) -> Arm:
        admin = {"authorization": f"Bearer {self._stack.admin_key}"}
        settings = {"name": "bench import", "requests_per_second": 10_000}
        tenant = (await http.post("/v1/tenants", json=settings, headers=admin)).raise_for_status().json()["id"]
        body = {"name": "bench", "mode": "test", "scopes": ["*"]}
        made = (await http.post(f"/v1/tenants/{tenant}/keys", json=body, headers=admin)).raise_for_status().json()
        return Arm(tenant=UUID(tenant), key=made["key"])

    async def _import(
        self, http: httpx.AsyncClient, arm: Arm, *, kill_cli_at: int | None = None, kill_api_at: int | None = None
    ) -> tuple[Mapping[str, Any], Watched]:
        """The command in a process of its own; what it printed, and what was seen of it."""
        seen, began = Watched(), time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "waypost.cli.main", "contacts", "import", str(self._file), "--json",
            env={**os.environ, "WAYPOST_URL": self._stack.urls["api"], "WAYPOST_KEY": arm.key},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with _watching(self._stack, process.pid, http, arm, seen):
            if kill_cli_at is not None:
                await self._until_rows(http, arm, kill_cli_at)
                process.send_signal(signal.SIGKILL)
            if kill_api_at is not None:
                await self._until_rows(http, arm, kill_api_at)
                _api(self._stack).send_signal(signal.SIGKILL)
            printed, _ = await process.communicate()
        seen.seconds = time.perf_counter() - began
        if kill_cli_at is None and process.returncode != 0:
            raise RuntimeError(f"waypost contacts import ended with {process.returncode}")
        return (json.loads(printed) if kill_cli_at is None else {}), seen

    async def _until_rows(self, http: httpx.AsyncClient, arm: Arm, rows: int) -> None:
        async def read() -> bool:
            return await self._read_rows(http, arm) >= rows

        await until(read, timeout_s=_PATIENCE_S, every_s=0.02)

    async def _read_rows(self, http: httpx.AsyncClient, arm: Arm) -> int:
        answer = (await http.get("/v1/imports", headers=_bearer(arm))).raise_for_status()
        return sum(one["rows_read"] for one in answer.json()["data"])

    async def _control(self, http: httpx.AsyncClient, arm: Arm) -> float:
        """Rows a second where a caller parses the file and posts batches, one after the other."""
        rows = min(CONTROL_ROWS, self._rows)
        began = time.perf_counter()
        for first in range(0, rows, CONTROL_BATCH):
            batch = [_contact(number) for number in range(first, min(rows, first + CONTROL_BATCH))]
            await http.post("/v1/contacts/batch", json={"contacts": batch}, headers=_bearer(arm))
        return rows / (time.perf_counter() - began)


@contextlib.asynccontextmanager
async def _watching(
    stack: RunningStack, cli: int, http: httpx.AsyncClient, arm: Arm, seen: Watched
) -> AsyncIterator[None]:
    """Samples both processes, and asks the API something small all the while."""

    async def sample() -> None:
        command, api = psutil.Process(cli), _api(stack)
        while True:
            with contextlib.suppress(psutil.Error):
                seen.cli_rss = max(seen.cli_rss, command.memory_info().rss)
            try:
                seen.api_rss = max(seen.api_rss, api.memory_info().rss)
            except psutil.Error:
                with contextlib.suppress(LookupError):
                    api = _api(stack)  # another one, or none yet
            await asyncio.sleep(_SAMPLE_S)

    async def ask() -> None:
        while True:
            began = time.perf_counter()
            with contextlib.suppress(httpx.TransportError):
                await http.get("/v1/contacts", params={"limit": 1}, headers=_bearer(arm))
                seen.pauses.append(time.perf_counter() - began)
            await asyncio.sleep(_ASK_S)

    tasks = [asyncio.create_task(sample()), asyncio.create_task(ask())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _api(stack: RunningStack) -> psutil.Process:
    """The API's process. Raises LookupError while it is away."""
    for process in psutil.Process(stack.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).endswith("main api"):
                return process
    raise LookupError("no API runs")


# What there is of each contact, in whatever order: the sum of the rows' hashes. Ids are a tenant's own, times a run's.
_TABLE = """
SELECT count(*), COALESCE(sum(hashtextextended(
    jsonb_build_array(external_id, email, phone, time_zone, locale, attributes, consent)::text, 0)::numeric), 0)::text
FROM contacts WHERE tenant_id = %s
"""


def _table(stack: RunningStack, tenant: UUID) -> dict[str, object]:
    """How many contacts, and their hash."""
    with psycopg.connect(owner_conninfo(stack)) as connection:
        row = connection.execute(_TABLE, (tenant,)).fetchone()
    assert row is not None
    return {"contacts": row[0], "hash": row[1]}


def _contact(number: int) -> dict[str, object]:
    return {
        "external_id": f"customer-{number}",
        "email": f"person{number}@d{number % 500}.example",
        "phone": f"+43664{number:07}",
        "time_zone": "Europe/Vienna",
        "locale": "de-AT",
        "consent": {"email": True, "sms": False},
        "attributes": {"first_name": f"First {number}", "last_name": f"Last, {number}", "city": "Wien", "plan": "gold"},
    }


def _bearer(arm: Arm) -> dict[str, str]:
    return {"authorization": f"Bearer {arm.key}"}


def _counts(shown: Mapping[str, Any]) -> dict[str, int]:
    return {name: shown[f"rows_{name}"] for name in _COUNTS}


def _pauses(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    hundredths = statistics.quantiles(seconds, n=100, method="inclusive")
    found = {"p50": hundredths[49], "p99": hundredths[98], "max": max(seconds)}
    return {name: round(value * 1000, 1) for name, value in found.items()}


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
