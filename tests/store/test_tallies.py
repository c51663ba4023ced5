"""A run's counts: exact at any moment, whoever changes rows, folds and reads at the same time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.relay.ledger import Ledger
from tests.relay.runs import add_contacts, add_run, freeze_all, recipients
from waypost.store.database import Database
from waypost.store.tallies import Counts, counts_by_variant, fold_tallies, series, total


async def frozen(loops: Database, ledger: Ledger, count: int, **how: Any) -> tuple[UUID, list[UUID]]:
    """A run, and its recipients' messages."""
    await add_contacts(ledger, count)
    run = await add_run(ledger)
    await freeze_all(loops, ledger, run, **how)
    return run, [row["id"] for row in await recipients(ledger, run)]


async def counts(app: Database, ledger: Ledger, run: UUID) -> Counts:
    async with app.transaction(ledger.tenant) as connection:
        return total(await counts_by_variant(connection, tenant=ledger.tenant, run=run))


async def fold(loops: Database, limit: int = 1000) -> int:
    async with loops.transaction() as connection:
        return await fold_tallies(connection, limit=limit)


async def end(ledger: Ledger, messages: list[UUID], outcome: str = "sent") -> None:
    await ledger.execute(
        "UPDATE messages SET phase = 'closed', outcome = %s, outcome_reason = 'x' WHERE id = ANY(%s)",
        (outcome, messages),
    )


async def test_every_outcome_and_report_is_counted_once(app: Database, loops: Database, ledger: Ledger) -> None:
    run, messages = await frozen(loops, ledger, 7)
    outcomes = ("sent", "maybe_sent", "failed", "suppressed", "skipped", "expired", "cancelled")
    for message, outcome in zip(messages, outcomes, strict=True):
        await end(ledger, [message], outcome)
    reports = ("bounced", "complained", "undeliverable", "machine_opened", "unsubscribed", "converted")
    for report in reports:
        for _ in range(2):
            await ledger.execute(f"UPDATE messages SET {report} = true WHERE id = %s", (messages[0],))  # noqa: S608 - ours
    for delivery in ("delayed", "delivered", "opened", "opened", "clicked"):
        await ledger.execute("UPDATE messages SET delivery = %s WHERE id = %s", (delivery, messages[0]))
    ones = dict.fromkeys((*outcomes, *reports, "delivered", "opened", "clicked"), 1)
    assert await counts(app, ledger, run) == Counts(**ones)
    assert (await counts(app, ledger, run)).ended == 7


async def test_maybe_sent_that_turns_out_sent_moves_over(app: Database, loops: Database, ledger: Ledger) -> None:
    run, messages = await frozen(loops, ledger, 2)
    await end(ledger, messages, "maybe_sent")
    await fold(loops)
    await end(ledger, messages[:1], "sent")
    assert await counts(app, ledger, run) == Counts(sent=1, maybe_sent=1)


async def test_what_changes_nothing_that_is_counted_adds_nothing(loops: Database, ledger: Ledger) -> None:
    run, messages = await frozen(loops, ledger, 3)
    await ledger.execute("UPDATE messages SET due_at = due_at + interval '1 h' WHERE id = ANY(%s)", (messages,))
    transactional = await ledger.add_message()
    await end(ledger, [transactional])
    assert await ledger.execute("SELECT FROM run_tally_additions WHERE run_id = %s", (run,)) == []


async def test_one_statement_is_one_addition_a_variant(loops: Database, ledger: Ledger) -> None:
    run, messages = await frozen(loops, ledger, 40)
    await ledger.execute("UPDATE messages SET variant = 1 WHERE id = ANY(%s)", (messages[:10],))
    await end(ledger, messages)
    rows = await ledger.execute(
        "SELECT variant, sent FROM run_tally_additions WHERE run_id = %s ORDER BY variant", (run,)
    )
    assert [(row["variant"], row["sent"]) for row in rows] == [(0, 30), (1, 10)]


async def test_a_change_that_is_rolled_back_was_never_counted(app: Database, loops: Database, ledger: Ledger) -> None:
    run, messages = await frozen(loops, ledger, 3)
    async with ledger.connection.transaction(force_rollback=True):
        await end(ledger, messages)
    assert await counts(app, ledger, run) == Counts()


async def test_folding_changes_no_count_and_leaves_no_addition(app: Database, loops: Database, ledger: Ledger) -> None:
    run, messages = await frozen(loops, ledger, 12)
    for message in messages:
        await end(ledger, [message])
    while await fold(loops, 5):
        assert await counts(app, ledger, run) == Counts(sent=12)
    assert await ledger.execute("SELECT FROM run_tally_additions WHERE run_id = %s", (run,)) == []
    (row,) = await ledger.execute("SELECT sent FROM run_tallies WHERE run_id = %s AND bucket = 'epoch'", (run,))
    assert row["sent"] == 12


async def test_the_time_series_adds_up_to_the_totals_folded_or_not(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    run, messages = await frozen(loops, ledger, 9)
    await end(ledger, messages[:6])
    await ledger.execute("UPDATE run_tally_additions SET at = at - interval '11 minutes' WHERE run_id = %s", (run,))
    await fold(loops)
    await end(ledger, messages[6:])
    async with app.transaction(ledger.tenant) as connection:
        buckets = await series(connection, tenant=ledger.tenant, run=run, limit=100)
    assert [bucket.sent for bucket in buckets] == [6, 3]
    gap = buckets[1].bucket - buckets[0].bucket
    assert gap in (timedelta(minutes=10), timedelta(minutes=15))


async def test_nobody_sees_another_tenants_counts(app: Database, loops: Database, ledger: Ledger) -> None:
    run, messages = await frozen(loops, ledger, 3)
    await end(ledger, messages)
    other, _ = await ledger.add_tenant(ledger.account)
    async with app.transaction(other) as connection:
        assert await counts_by_variant(connection, tenant=ledger.tenant, run=run) == []


async def test_exact_while_rows_change_folds_run_and_readers_look(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    """Four writers, two folders and a reader at once: each look is some moment's truth, and the last is everybody's."""
    run, messages = await frozen(loops, ledger, 160)
    wanted: Counter[str] = Counter()
    over = asyncio.Event()

    async def write(number: int) -> None:
        chance = random.Random(number)
        mine = messages[number::4]
        for start in range(0, len(mine), 4):
            outcome = chance.choice(("sent", "sent", "failed", "skipped"))
            page = mine[start : start + 4]
            async with app.transaction(ledger.tenant) as connection:
                await connection.execute(
                    "UPDATE messages SET phase = 'closed', outcome = %s, outcome_reason = 'x' WHERE id = ANY(%s)",
                    (outcome, page),
                )
            wanted[outcome] += len(page)
            await asyncio.sleep(chance.random() / 200)

    async def folds() -> None:
        while not over.is_set():
            await fold(loops, 3)
            await asyncio.sleep(0.002)

    async def look() -> None:
        before = 0
        while not over.is_set():
            now = (await counts(app, ledger, run)).ended
            assert before <= now <= 160, "counts never go back, and never beyond the audience"
            before = now

    helpers = [asyncio.create_task(each) for each in (folds(), folds(), look())]
    await asyncio.gather(*(write(number) for number in range(4)))
    over.set()
    await asyncio.gather(*helpers)
    assert await counts(app, ledger, run) == Counts(**wanted)
    while await fold(loops):
        pass
    assert await counts(app, ledger, run) == Counts(**wanted)
