"""Twilio's list decides about attempts whose reply was lost."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.ingest.conftest import sealed
from tests.providers.made import sms, twilio_account
from tests.relay.ledger import Attempt, Ledger
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import Credentials, FoundMessage, ProviderAccount, RenderedMessage
from waypost.messaging.values import AttemptState
from waypost.providers.accounts import open_look_up
from waypost.providers.deadlines import Deadlines
from waypost.providers.twilio.sender import TwilioSender
from waypost.relay.look_ups import LookUps
from waypost.simulators.running import RunningSimulator
from waypost.store.database import Database
from waypost.store.events import apply_events
from waypost.store.look_ups import LookUpTask, Verdict, conclude, lease_look_ups

HASH = b"the same content"
SIGNAL = "x"


async def unknown(ledger: Ledger, account: UUID, *, state: AttemptState = AttemptState.UNKNOWN) -> UUID:
    attempt = Attempt(state, age=timedelta(minutes=10), account=account, content_hash=HASH)
    return await ledger.add_message(
        attempt, phase="held", account_id=account, channel="sms", address="+15551112222", expires_at="2999-01-01"
    )


async def twilio(ledger: Ledger, **columns: Any) -> UUID:
    return await ledger.add_account(**({"kind": "twilio", "feed": "lossy"} | columns))


async def task_of(ledger: Ledger, message: UUID) -> LookUpTask:
    (row,) = await ledger.attempts(message)
    return LookUpTask(
        tenant_id=row["tenant_id"],
        message_id=message,
        attempt_id=row["id"],
        account_id=row["account_id"],
        claimed_at=row["claimed_at"],
        content_hash=HASH,
    )


async def decide(store: Database, task: LookUpTask, *found: tuple[str, datetime]) -> Verdict:
    listed = [FoundMessage(provider_message_id=sid, created_at=at, status="sent") for sid, at in found]
    async with store.transaction() as connection:
        verdict = await conclude(connection, task, listed, signal=SIGNAL)
    async with store.transaction() as connection:
        await apply_events(connection, limit=100, signal=SIGNAL)
    return verdict


async def test_a_listed_message_that_nobody_else_has_is_ours(store: Database, ledger: Ledger) -> None:
    message = await unknown(ledger, await twilio(ledger))
    task = await task_of(ledger, message)
    assert await decide(store, task, ("SM1", task.claimed_at)) is Verdict.ACCEPTED
    (attempt,) = await ledger.attempts(message)
    assert (attempt["state"], attempt["resolution"], attempt["provider_message_id"]) == ("accepted", "evidence", "SM1")
    assert (await ledger.message(message))["outcome"] == "sent"


async def test_an_empty_list_is_proof_of_absence(store: Database, ledger: Ledger) -> None:
    message = await unknown(ledger, await twilio(ledger))
    assert await decide(store, await task_of(ledger, message)) is Verdict.ABSENT
    assert (await ledger.message(message))["phase"] == "ready"
    assert await decide(store, await task_of(ledger, message)) is Verdict.RESOLVED


async def test_matches_that_are_other_attempts_prove_absence_too(store: Database, ledger: Ledger) -> None:
    account = await twilio(ledger)
    first, second = await unknown(ledger, account), await unknown(ledger, account)
    task = await task_of(ledger, first)
    assert await decide(store, task, ("SM2", task.claimed_at)) is Verdict.ACCEPTED
    assert await decide(store, await task_of(ledger, second), ("SM2", task.claimed_at)) is Verdict.ABSENT
    assert (await ledger.message(second))["phase"] == "ready"


async def test_nothing_is_decided_while_the_same_content_is_in_flight(store: Database, ledger: Ledger) -> None:
    account = await twilio(ledger)
    message = await unknown(ledger, account)
    await unknown(ledger, account, state=AttemptState.IN_FLIGHT)
    task = await task_of(ledger, message)
    assert await decide(store, task, ("SM3", task.claimed_at)) is Verdict.UNDECIDED
    assert [row["state"] for row in await ledger.attempts(message)] == ["unknown"]


async def test_an_attempt_is_asked_about_by_one_process_and_not_too_soon(store: Database, ledger: Ledger) -> None:
    message = await unknown(ledger, await twilio(ledger))
    young = timedelta(hours=1)
    for age, expected in ((young, False), (timedelta(minutes=1), True), (timedelta(minutes=1), False)):
        async with store.transaction() as connection:
            tasks = await lease_look_ups(connection, age=age, again=timedelta(minutes=1), limit=100)
        assert (message in {task.message_id for task in tasks}) is expected


@pytest.mark.parametrize("arrived", [True, False])
async def test_the_list_of_the_simulated_twilio_is_asked(
    store: Database, ledger: Ledger, simulator: RunningSimulator, arrived: bool
) -> None:
    credentials = Credentials(key=f"AC{uuid4().hex}", secret="token")
    identity = await twilio(ledger, endpoint=simulator.url, credentials=sealed(credentials.key, credentials.secret))
    account = twilio_account(simulator.url, id=identity, credentials=credentials)
    message = await unknown(ledger, identity)
    await ledger.execute(
        "UPDATE attempts SET claimed_at = waypost_now() - interval '1 s' WHERE message_id = %s", (message,)
    )
    text = f"Your code is {uuid4().hex[:8]}"
    if arrived:
        await asyncio.to_thread(_send, account, text, attempt_id(message=message, number=1))

    async def load(_: UUID) -> ProviderAccount:
        return account

    async def rerender(_: UUID, __: UUID, attempt: UUID) -> RenderedMessage:
        return sms(attempt_id=attempt, text=text)

    look_ups = LookUps(
        store,
        age=timedelta(),
        signal=SIGNAL,
        load=load,
        open_look_up=lambda each: open_look_up(each, Deadlines()),
        rerender=rerender,
        fingerprint=lambda _: HASH,
    )
    await look_ups.ask()
    async with store.transaction() as connection:
        await apply_events(connection, limit=100, signal=SIGNAL)
    row = await ledger.message(message)
    assert (row["phase"], row["outcome"]) == (("closed", "sent") if arrived else ("ready", None))


def _send(account: ProviderAccount, text: str, attempt: UUID) -> None:
    sender = TwilioSender(account, Deadlines())
    sender.send(sms(attempt_id=attempt, text=text))
    sender.close()
