"""The steps of a campaign's page on the store: load, due, claim, record, settle; each in a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.relay.ledger import Ledger
from tests.relay.runs import add_contacts, add_run, freeze_all
from waypost.messaging.values import AttemptState, Outcome, Phase
from waypost.store.attempts import Ending
from waypost.store.campaign_pages import (
    Ask,
    Judged,
    LoadedRun,
    Recipient,
    claim_many,
    due_recipients,
    load_run,
    record_many,
    settle_many,
)
from waypost.store.database import Database

ACCEPTED = Ending(
    state=AttemptState.ACCEPTED, phase=Phase.CLOSED, provider_message_id="p", outcome=Outcome.SENT, reason="accepted"
)
UNKNOWN = Ending(state=AttemptState.UNKNOWN, phase=Phase.HELD, code="timed_out", reason="attempt_unknown")
VOID = Ending(
    state=AttemptState.VOID, phase=Phase.READY, code="Throttling", reason="throttled", retry_after=timedelta(seconds=2)
)


async def sending(loops: Database, ledger: Ledger, count: int, **how: Any) -> UUID:
    """A run that is sending to so many."""
    await add_contacts(ledger, count)
    run = await add_run(ledger)
    await freeze_all(loops, ledger, run, **how)
    return run


async def load(app: Database, ledger: Ledger, run: UUID) -> LoadedRun:
    async with app.transaction(ledger.tenant) as connection:
        found = await load_run(connection, tenant=ledger.tenant, run=run)
    assert found is not None
    return found


async def due(app: Database, ledger: Ledger, run: UUID, *, limit: int = 1000, **more: Any) -> list[Recipient]:
    loaded = await load(app, ledger, run)
    async with app.transaction(ledger.tenant) as connection:
        return await due_recipients(connection, run=loaded, **({"shard": 0, "after": None, "limit": limit} | more))


def asks_for(people: Sequence[Recipient]) -> list[Ask]:
    return [
        Ask(
            message=one.id,
            number=one.attempts + 1,
            content_hash=b"x",
            variant=max(one.variant, 0),
            template_id=uuid4(),
            template_version=1,
        )
        for one in sorted(people, key=lambda one: one.id)
    ]


async def claim(app: Database, ledger: Ledger, run: UUID, asks: Sequence[Ask]) -> dict[UUID, datetime]:
    async with app.transaction(ledger.tenant) as connection:
        return await claim_many(connection, tenant=ledger.tenant, run=run, asks=asks, process="test")


async def record(app: Database, ledger: Ledger, asks: Sequence[Ask], ending: Ending) -> int:
    async with app.transaction(ledger.tenant) as connection:
        endings = [(ask.attempt, ending) for ask in asks]
        months = [await ledger.month()]
        return await record_many(connection, tenant=ledger.tenant, months=months, endings=endings)


async def settle(app: Database, ledger: Ledger, judged: Sequence[Judged]) -> int:
    async with app.transaction(ledger.tenant) as connection:
        return await settle_many(connection, tenant=ledger.tenant, judged=judged)
