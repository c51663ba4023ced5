"""The loops' runner, the outbox, the watchdog and the probes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.providers.made import ses_account
from tests.relay.ledger import Attempt, Ledger, until
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import Credentials, ProviderAccount
from waypost.messaging.values import AttemptState, Lane
from waypost.providers.accounts import open_sender
from waypost.providers.deadlines import Deadlines
from waypost.relay.loops import Loop, run_loops
from waypost.relay.outbox import Outbox
from waypost.relay.probes import Prober
from waypost.relay.reconcile import Patience, Reach, reconcile_loops
from waypost.relay.watchdog import Watchdog
from waypost.simulators.running import RunningSimulator
from waypost.stack.temporal import TemporalServer
from waypost.store.database import Database
from waypost.store.outbox import drop_old_hints
from waypost.store.probes import accounts_to_probe

LONG_AGO = "2020-01-01"


async def test_a_loop_survives_errors_and_is_told_to_hurry() -> None:
    calls: list[float] = []
    told = asyncio.Event()

    async def work() -> bool:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            told.set()
            raise ValueError("ann@example.com")
        if len(calls) == 2:
            told.set()
            raise psycopg.OperationalError("away")
        return len(calls) < 5

    running = asyncio.create_task(run_loops([Loop(name="test", interval_s=0.01, work=work, told=told)]))

    async def enough() -> bool:
        return len(calls) >= 6

    await until(enough, seconds=2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@workflow.defn(name="waits")
class Waits:
    """Ends at its signal."""

    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.told)

    @workflow.signal(name="delivery-changed")
    def tell(self) -> None:
        self.told = True


@pytest.fixture
async def client(temporal_server: TemporalServer) -> AsyncIterator[Client]:
    client = await Client.connect(temporal_server.address)
    async with Worker(client, task_queue="relay-tests", workflows=[Waits], workflow_runner=UnsandboxedWorkflowRunner()):
        yield client


async def test_hints_are_delivered_and_those_for_nobody_dropped(
    store: Database, ledger: Ledger, client: Client
) -> None:
    waiting = f"message/{uuid4()}"
    handle = await client.start_workflow("waits", id=waiting, task_queue="relay-tests")
    for workflow_id in (waiting, f"message/{uuid4()}"):
        await ledger.insert("outbox", workflow_id=workflow_id, signal="delivery-changed")
    assert await Outbox(store, lambda: client).deliver() is False
    await asyncio.wait_for(handle.result(), 5)
    assert await ledger.rows("outbox") == []


async def test_hints_stay_while_temporal_is_away(store: Database, ledger: Ledger) -> None:
    await ledger.insert("outbox", workflow_id="message/x", signal="delivery-changed")
    assert await Outbox(store, lambda: None).deliver() is False
    assert len(await ledger.rows("outbox")) == 1
    await ledger.execute("DELETE FROM outbox")


async def test_a_hint_that_cannot_be_delivered_goes_to_the_tail(store: Database, ledger: Ledger) -> None:
    for workflow_id in ("message/first", "message/second"):
        await ledger.insert("outbox", workflow_id=workflow_id, signal="delivery-changed", created_at="2020-01-01")
    before = await ledger.execute("SELECT max(id) AS id FROM outbox")
    nowhere = await Client.connect("127.0.0.1:1", lazy=True)
    assert await Outbox(store, lambda: nowhere).deliver() is False
    rows = await ledger.execute("SELECT * FROM outbox ORDER BY id")
    assert [row["workflow_id"] for row in rows] == ["message/first", "message/second"]
    assert rows[0]["id"] > before[0]["id"]
    assert {row["created_at"].year for row in rows} <= {2019, 2020}
    await ledger.execute("DELETE FROM outbox")


async def test_hints_of_more_than_a_day_ago_are_dropped(store: Database, ledger: Ledger) -> None:
    for hours in (23, 25):
        at = (await ledger.execute("SELECT waypost_now() - %s AS at", (timedelta(hours=hours),)))[0]["at"]
        await ledger.insert("outbox", workflow_id=f"message/{hours}", signal="delivery-changed", created_at=at)
    async with store.transaction() as connection:
        assert await drop_old_hints(connection, limit=100) == 1
    assert [row["workflow_id"] for row in await ledger.rows("outbox")] == ["message/23"]
    await ledger.execute("DELETE FROM outbox")


async def test_only_what_temporal_says_is_gone_is_put_back(store: Database, ledger: Ledger, client: Client) -> None:
    open_one = await ledger.add_message(dispatched_at=LONG_AGO)
    terminated = await ledger.add_message(dispatched_at=LONG_AGO)
    unheard_of = await ledger.add_message(dispatched_at=LONG_AGO)
    for message in (open_one, terminated):
        await client.start_workflow("waits", id=f"message/{message}", task_queue="relay-tests")
    await client.get_workflow_handle(f"message/{terminated}").terminate()
    await Watchdog(store, lambda: client, Lane.FAST).look()
    phases = [(await ledger.message(message))["phase"] for message in (open_one, terminated, unheard_of)]
    assert phases == ["dispatched", "ready", "ready"]
    await client.get_workflow_handle(f"message/{open_one}").terminate()


async def test_a_round_comes_to_every_row_however_many_live(store: Database, ledger: Ledger, client: Client) -> None:
    await ledger.execute("UPDATE messages SET phase = 'held' WHERE phase = 'dispatched'")
    living = [await ledger.add_message(dispatched_at=LONG_AGO) for _ in range(4)]
    for message in living:
        await client.start_workflow("waits", id=f"message/{message}", task_queue="relay-tests")
    watchdog = Watchdog(store, lambda: client, Lane.FAST, batch=2)
    assert [await watchdog.look() for _ in range(3)] == [True, True, False]
    await client.get_workflow_handle(f"message/{living[0]}").terminate()
    lost = await ledger.add_message(dispatched_at="2020-01-02")
    assert await watchdog.look() is False
    phases = [(await ledger.message(message))["phase"] for message in (living[0], lost)]
    assert phases == ["dispatched", "ready"]
    for message in living[1:]:
        await client.get_workflow_handle(f"message/{message}").terminate()


async def test_who_became_an_orphan_is_found_in_the_next_round(
    store: Database, ledger: Ledger, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.relay.watchdog._ROUND", 0)
    message = await ledger.add_message(dispatched_at=LONG_AGO)
    await client.start_workflow("waits", id=f"message/{message}", task_queue="relay-tests")
    watchdog = Watchdog(store, lambda: client, Lane.FAST)
    await watchdog.look()
    await client.get_workflow_handle(f"message/{message}").terminate()
    await watchdog.look()
    assert (await ledger.message(message))["phase"] == "ready"


async def test_silence_of_temporal_puts_nothing_back(store: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(dispatched_at=LONG_AGO)
    nowhere = await Client.connect("127.0.0.1:1", lazy=True)
    await Watchdog(store, lambda: nowhere, Lane.FAST).look()
    await Watchdog(store, lambda: None, Lane.FAST).look()
    assert (await ledger.message(message))["phase"] == "dispatched"


async def quiet_account(ledger: Ledger, simulator: RunningSimulator) -> ProviderAccount:
    """A durable account with an unknown attempt and no other traffic."""
    key = f"AKIA{uuid4().hex[:12].upper()}"
    queue = simulator.queue_url(key)
    identity = await ledger.add_account(endpoint=simulator.url, queue_url=queue)
    await ledger.insert("feeds", account_id=identity)
    await ledger.execute("UPDATE senders SET account_id = %s WHERE tenant_id = %s", (identity, ledger.tenant))
    unknown = Attempt(AttemptState.UNKNOWN, age=timedelta(minutes=1), account=identity)
    await ledger.add_message(unknown, phase="held", account_id=identity)
    return ses_account(simulator.url, id=identity, credentials=Credentials(key=key, secret="secret"))


async def test_a_quiet_account_with_an_unknown_attempt_is_probed(
    store: Database, ledger: Ledger, simulator: RunningSimulator
) -> None:
    account = await quiet_account(ledger, simulator)

    async def load(_: UUID) -> ProviderAccount:
        return account

    prober = Prober(store, load=load, open_sender=partial(open_sender, deadlines=Deadlines()))
    await asyncio.gather(prober.probe(), prober.probe())  # as two processes would
    query = "SELECT id, state FROM probes WHERE account_id = %s"
    (probe,) = await ledger.execute(query, (account.id,))
    assert probe["state"] == "accepted"
    sent = [entry for entry in simulator.control.log() if entry.get("attempt_id") == str(probe["id"])]
    assert len(sent) == 1


async def test_a_probe_that_failed_is_replaced_soon_and_one_that_may_come_back_is_not(
    store: Database, ledger: Ledger, simulator: RunningSimulator
) -> None:
    account = await quiet_account(ledger, simulator)

    async def wanted(*states: str) -> bool:
        """Whether it is probed again two seconds after probes that came to this."""
        await ledger.execute("DELETE FROM probes WHERE account_id = %s", (account.id,))
        for state in states:
            await ledger.insert("probes", id=uuid4(), account_id=account.id, state=state)
        await ledger.execute(
            "UPDATE feeds SET last_probe_at = waypost_now() - interval '2 seconds' WHERE account_id = %s", (account.id,)
        )
        async with store.transaction() as connection:
            return account.id in await accounts_to_probe(connection)

    assert await wanted("accepted", "accepted")
    assert not await wanted("accepted", "accepted", "in_flight")
    assert await wanted("accepted", "unknown", "failed")
    assert not await wanted(*(9 * ["failed"]))


async def test_an_account_without_unknown_attempts_is_left_alone(store: Database, ledger: Ledger) -> None:
    identity = await ledger.add_account(queue_url="http://127.0.0.1:1/q")
    await ledger.insert("feeds", account_id=identity)

    async def load(_: UUID) -> ProviderAccount:
        raise AssertionError("not to be used")

    await Prober(store, load=load, open_sender=partial(open_sender, deadlines=Deadlines())).probe()
    assert await ledger.execute("SELECT id FROM probes WHERE account_id = %s", (identity,)) == []


async def test_all_loops_do_their_work_once(store: Database, ledger: Ledger, client: Client) -> None:
    """On the real schema and role: what a loop may not read or write fails here."""

    async def load(_: UUID) -> ProviderAccount:
        raise AssertionError("nothing to load")

    async def rerender(*_: UUID) -> None:
        return None

    reach = Reach(
        client=lambda: client,
        load_account=load,
        open_sender=partial(open_sender, deadlines=Deadlines()),
        open_look_up=lambda _: pytest.fail("nothing to look up"),
        rerender=rerender,
        fingerprint=lambda _: b"",
    )
    expired = await ledger.add_message(phase="ready", expires_at=LONG_AGO)
    await ledger.execute("UPDATE attempts SET state = 'void' WHERE state = 'unknown'")
    for loop in reconcile_loops(database=store, lane=Lane.FAST, patience=Patience(), reach=reach):
        assert await loop.work() is False, loop.name
    assert (await ledger.message(expired))["outcome"] == "expired"
    assert attempt_id(message=expired, number=1)
