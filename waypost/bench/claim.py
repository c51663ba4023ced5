"""`waypost bench claim`: a claim costs the same in a large ledger, and under a long transaction."""

import asyncio
import contextlib
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from uuid import UUID

import psycopg
from pydantic import SecretStr

from activities.campaign_places import Places
from waypost.bench.claim_tables import Tables
from waypost.drills.report import Check, Report, at_least, at_most, environment, equals
from waypost.settings import DatabaseSettings
from waypost.stack import postgres
from waypost.stack.ports import free_port
from waypost.stack.postgres import PostgresServer
from waypost.store import migrate
from waypost.store.attempts import claim
from waypost.store.campaign_open import still_open
from waypost.store.campaign_pages import Ask, LoadedRun, Place, claim_many, load_run
from waypost.store.database import Database, Role

SMALL = 10_000
BULK = 50
"""Recipients of one provider call, as activities.campaign_pages has it."""
BOUND = 1.5
LEAST_CLAIMS = 1_500
_ROUNDS = 10

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    messages: int = 5_000_000
    sent: int = 300_000
    """Recipients of the run that were sent to since the open transaction began."""
    claims: int = 1_500
    """Of each kind, a pair of arms."""


@dataclass(slots=True)
class Times:
    """Seconds, of each kind of statement."""

    single: list[float] = field(default_factory=list)
    look: list[float] = field(default_factory=list)
    bulk: list[float] = field(default_factory=list)
    call: list[float] = field(default_factory=list)
    """The look and the claim of fifty together."""
    first_look: list[float] = field(default_factory=list)
    """The first look of each page, by its hint."""

    def figures(self) -> Mapping[str, float]:
        """Medians and 99th percentiles, in milliseconds."""
        kinds = {"single": self.single, "look": self.look, "claim_of_50": self.bulk}
        return {
            f"{name}_{figure}": round(_quantile(seconds, percent) * 1000, 2)
            for name, seconds in kinds.items()
            for figure, percent in (("p50", 50), ("p99", 99))
        }


class Arm:
    """One database: its tables, and a pool of the role that claims."""

    def __init__(self, tables: Tables, app: Database) -> None:
        self.tables = tables
        self.times = Times()
        self.missed = 0
        self._app = app
        self._places = Places()
        self._after: Place | None = None
        self._singles: list[UUID] = []
        self._run: LoadedRun | None = None

    async def prepare(self, claims: int) -> None:
        """A round's messages: so many single ones, and so many times fifty recipients. A page begins."""
        self.tables.add_recipients(claims * BULK)
        self._singles = self.tables.add_singles(claims)
        self._after = None
        sending = self.tables.sending
        async with self._app.transaction(sending.tenant) as connection:
            self._run = await load_run(connection, tenant=sending.tenant, run=sending.run)

    async def claim_single(self, number: int) -> None:
        """The claim of a message of its own."""
        began = time.perf_counter()
        tenant, message = self.tables.sending.tenant, self._singles[number]
        async with self._app.transaction(tenant) as connection:
            claimed = await claim(
                connection, tenant=tenant, message=message, number=1, content_hash=b"x" * 32, process="bench claim"
            )
        self.times.single.append(time.perf_counter() - began)
        self.missed += claimed is None

    async def claim_fifty(self) -> None:
        """The next due recipients, then their claim, each in a transaction as a page makes them."""
        run, tenant = self._run, self.tables.sending.tenant
        assert run is not None
        began = time.perf_counter()
        async with self._app.transaction(tenant) as connection:
            found = await self._places.look(connection, run=run, shard=0, after=self._after, limit=BULK)
        looked = time.perf_counter()
        asks = [_ask(one.id, self.tables.sending.template) for one in found.recipients]
        asked = time.perf_counter()
        async with self._app.transaction(tenant) as connection:
            claimed = await claim_many(connection, tenant=tenant, run=run.id, asks=asks, process="bench claim")
        done = time.perf_counter()
        (self.times.first_look if self._after is None else self.times.look).append(looked - began)
        self.times.bulk.append(done - asked)
        self.times.call.append(looked - began + done - asked)
        self.missed += BULK - len(claimed)
        self._after = (found.recipients[-1].due_at, found.recipients[-1].id)
        self._places.passed(run=run, shard=0, place=self._after)

    async def look_from_the_start(self) -> float:
        """Seconds that a page's first look takes that has no hint, and the one for anything open after it."""
        run, tenant = self._run, self.tables.sending.tenant
        assert run is not None
        began = time.perf_counter()
        async with self._app.transaction(tenant) as connection:
            await Places().look(connection, run=run, shard=0, after=None, limit=BULK)
            await still_open(connection, run=run, shard=0)
        return time.perf_counter() - began

    def finish(self, *, forget: bool) -> None:
        """The round's messages were sent; or they are forgotten, where the table must keep its size."""
        if forget:
            self.tables.forget(self._singles)
        else:
            self.tables.end()


def run(plan: Plan, tell: Tell) -> Report:
    """Measure on a server of its own, with the stack's settings, that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as own:
        tell("starting PostgreSQL")
        with _server(Path(own)) as server, contextlib.ExitStack() as owners:
            passwords = {role.value: token_hex(16) for role in Role}
            return asyncio.run(measure(server, passwords, owners, plan, tell))


async def measure(
    server: PostgresServer, passwords: Mapping[str, str], owners: contextlib.ExitStack, plan: Plan, tell: Tell
) -> Report:
    """Measure in two databases of this server, which are left there; `owners` holds their owners' connections.

    The roles, which are the whole server's, get these passwords.
    """
    about = environment(messages=plan.messages, sent=plan.sent, claims=plan.claims, postgres=server.major)
    async with contextlib.AsyncExitStack() as pools:
        arms = []
        for name, messages in (("small", SMALL), ("large", plan.messages)):
            tell(f"{messages:,} messages")
            tables = Tables(_owner(server, name, owners, passwords))
            tables.fill(messages)
            arms.append(Arm(tables, await _pool(server, name, passwords, pools)))
        small, large = arms
        tell("claims beside each other: few messages and many")
        many = await _rounds(small, large, plan.claims)
        tell(f"a transaction is opened, and {plan.sent:,} recipients are sent to")
        with psycopg.connect(server.url(database="large")) as snapshot:
            snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            snapshot.execute("SELECT count(*) FROM tenants")
            large.tables.send(plan.sent)
            tell("claims beside each other: few messages, and many under the open transaction")
            held = await _rounds(small, large, plan.claims)
            await large.prepare(1)
            from_start = await large.look_from_the_start()
    return _report(many, held, small.missed + large.missed, from_start, plan, about)


async def _rounds(small: Arm, large: Arm, claims: int) -> tuple[Times, Times]:
    """Both arms in turn, claim by claim: a noisy machine is noisy for both."""
    small.times, large.times = Times(), Times()
    for number in range(_ROUNDS):
        size = claims * (number + 1) // _ROUNDS - claims * number // _ROUNDS
        await _round(small, large, size)
    return small.times, large.times


async def _round(small: Arm, large: Arm, claims: int) -> None:
    for arm in (small, large):
        await arm.prepare(claims)
    for number in range(claims):
        for arm in (small, large) if number % 2 else (large, small):
            await arm.claim_single(number)
            await arm.claim_fifty()
    small.finish(forget=True)
    large.finish(forget=False)


def _report(
    many: tuple[Times, Times],
    held: tuple[Times, Times],
    missed: int,
    from_start: float,
    plan: Plan,
    about: Mapping[str, object],
) -> Report:
    checks: list[Check] = [
        equals("messages that were not claimed", missed, 0),
        at_least("claims of each kind and arm", len(many[1].single), min(LEAST_CLAIMS, plan.claims)),
    ]
    for what, (few, much) in ((f"{plan.messages:,} messages", many), ("an open transaction", held)):
        checks += [
            at_most(f"single claim with {what}, p99 over {SMALL:,}'s", _p99_ratio(much.single, few.single), BOUND),
            at_most(f"claim of {BULK} with {what}, p99 over {SMALL:,}'s", _p99_ratio(much.bulk, few.bulk), BOUND),
            at_most(f"look and claim with {what}, p99 over {SMALL:,}'s", _p99_ratio(much.call, few.call), BOUND),
        ]
    figures: dict[str, object] = {
        f"{SMALL}_ms": many[0].figures(),
        f"{plan.messages}_ms": many[1].figures(),
        f"{SMALL}_ms_again": held[0].figures(),
        f"{plan.messages}_ms_open_transaction": held[1].figures(),
        "first_look_of_a_page_ms": {
            name: [round(seconds * 1000, 1) for seconds in times.first_look]
            for name, times in (("few", held[0]), ("open_transaction", held[1]))
        },
        "look_from_the_start_ms_open_transaction": round(from_start * 1000, 1),
    }
    return Report(name="bench claim", checks=tuple(checks), figures=figures, environment=about)


def _ask(message: UUID, template: UUID) -> Ask:
    return Ask(message=message, number=1, content_hash=b"x" * 32, variant=0, template_id=template, template_version=1)


def _p99_ratio(ours: Sequence[float], control: Sequence[float]) -> float:
    return round(_quantile(ours, 99) / _quantile(control, 99), 2)


def _quantile(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[PostgresServer]:
    folder.chmod(0o711)  # for the user that PostgreSQL runs as, where we are root
    server = postgres.prepare(folder=folder / "postgres", port=free_port(), password=token_hex(16))
    process = postgres.start(server, log=folder / "postgres.log")
    try:
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)  # nothing in it is worth a checkpoint
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def _owner(
    server: PostgresServer, name: str, owners: contextlib.ExitStack, passwords: Mapping[str, str]
) -> psycopg.Connection[tuple[object, ...]]:
    server.create_database(name)
    migrate.upgrade(server.url(database=name), passwords)
    return owners.enter_context(psycopg.connect(server.url(database=name), autocommit=True))


async def _pool(
    server: PostgresServer, name: str, passwords: Mapping[str, str], pools: contextlib.AsyncExitStack
) -> Database:
    settings = DatabaseSettings(
        database_url=SecretStr(server.url(database=name, user=None)),
        app_password=SecretStr(passwords[Role.APP]),
        relay_password=SecretStr(passwords[Role.RELAY]),
        segments_password=SecretStr(passwords[Role.SEGMENTS]),
        database_timeout_s=5,
    )
    app = Database(settings, Role.APP, size=1)
    pools.push_async_callback(app.close)
    await app.open()
    return app
