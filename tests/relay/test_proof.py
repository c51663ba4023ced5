"""The proof of absence from end to end: real boto3 clients, simulated SES and SQS, ingest and the loops."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from tests import services
from tests.ingest.conftest import sealed, serving
from tests.providers.made import email, ses_account
from tests.relay.ledger import Attempt, Ledger, until
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import Credentials, ProviderAccount, RenderedMessage, ReplyKind
from waypost.messaging.values import AttemptState, Lane
from waypost.providers.accounts import open_look_up, open_sender
from waypost.providers.deadlines import Deadlines
from waypost.relay.loops import run_loops
from waypost.relay.reconcile import Patience, Reach, reconcile_loops
from waypost.simulators.running import RunningSimulator
from waypost.store.database import Database

PATIENCE = Patience(call=timedelta(seconds=1), margin=timedelta(seconds=1), horizon=timedelta(hours=24))


@pytest.fixture
def faults(simulator: RunningSimulator) -> Iterator[RunningSimulator]:
    yield simulator
    simulator.control.faults()


@asynccontextmanager
async def running(store: Database, account: ProviderAccount) -> AsyncIterator[None]:
    """The loops of one worker process."""

    async def load(_: UUID) -> ProviderAccount:
        return account

    async def rerender(*_: UUID) -> RenderedMessage | None:
        return None

    reach = Reach(
        client=lambda: None,
        load_account=load,
        open_sender=partial(open_sender, deadlines=Deadlines()),
        open_look_up=partial(open_look_up, deadlines=Deadlines()),
        rerender=rerender,
        fingerprint=lambda _: b"",
    )
    loops = reconcile_loops(database=store, lane=Lane.FAST, patience=PATIENCE, reach=reach)
    task = asyncio.create_task(run_loops(loops))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def simulated(ledger: Ledger, simulator: RunningSimulator) -> ProviderAccount:
    key = f"AKIA{uuid4().hex[:12].upper()}"
    topic = f"arn:aws:sns:us-east-1:000000000000:waypost-{key}"
    identity = await ledger.add_account(
        endpoint=simulator.url, topic_arn=topic, queue_url=simulator.queue_url(key), credentials=sealed(key, "secret")
    )
    await ledger.execute(
        "UPDATE senders SET account_id = %s, configuration_set = 'waypost' WHERE tenant_id = %s",
        (identity, ledger.tenant),
    )
    return ses_account(simulator.url, id=identity, credentials=Credentials(key=key, secret="secret"), topic_arn=topic)


async def unknown(ledger: Ledger, account: ProviderAccount) -> UUID:
    attempt = Attempt(AttemptState.UNKNOWN, age=timedelta(seconds=5), account=account.id)
    return await ledger.add_message(attempt, phase="held", account_id=account.id)


async def test_silence_is_proof_only_once_the_feed_is_known_to_work(
    module_database: services.Database, store: Database, ledger: Ledger, faults: RunningSimulator
) -> None:
    account = await simulated(ledger, faults)
    never_arrived, arrived = await unknown(ledger, account), await unknown(ledger, account)
    faults.control.faults({"fault": "stop_feed", "account": account.credentials.key})
    sender = open_sender(account, Deadlines())
    accepted = email(attempt_id=attempt_id(message=arrived, number=1))
    assert (await asyncio.to_thread(sender.send, accepted)).kind is ReplyKind.ACCEPTED
    sender.close()

    async with serving(module_database), running(store, account):
        await until(partial(_fires, ledger, account), seconds=15)
        phases = [(await ledger.message(each))["phase"] for each in (never_arrived, arrived)]
        assert phases == ["held", "held"]  # nothing is concluded from a feed that is down
        faults.control.faults()
        await until(partial(_settled, ledger, never_arrived, arrived), seconds=15)
    assert (await ledger.message(arrived))["outcome"] == "sent"
    (attempt,) = await ledger.attempts(never_arrived)
    assert (attempt["state"], attempt["resolution"]) == ("void", "absence")


async def _fires(ledger: Ledger, account: ProviderAccount) -> bool:
    query = "SELECT rule FROM alerts WHERE subject = %s AND ended_at IS NULL"
    return "unknown_old" in {row["rule"] for row in await ledger.execute(query, (str(account.id),))}


async def _settled(ledger: Ledger, never_arrived: UUID, arrived: UUID) -> bool:
    first, second = await ledger.message(never_arrived), await ledger.message(arrived)
    return (first["phase"], second["phase"]) == ("ready", "closed")
