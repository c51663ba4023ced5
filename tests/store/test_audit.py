"""The ledger as an audit reads it."""

from datetime import timedelta

from tests.relay.ledger import Attempt, Ledger
from waypost.messaging.audit import Acceptance
from waypost.messaging.values import AttemptState
from waypost.store.audit import audited_attempts, compare
from waypost.store.database import Database


async def test_the_ledger_is_read_piece_by_piece_with_time_enough(loops: Database, ledger: Ledger) -> None:
    await ledger.execute(
        "WITH m AS (INSERT INTO messages (tenant_id, id, source, source_id, lane, class, mode, channel, address, "
        "sender_id, account_id, phase, due_at, expires_at) SELECT %(tenant)s, gen_random_uuid(), 'transactional', "
        "gen_random_uuid(), 'fast', 'transactional', 'test', 'email', 'ann@example.com', %(sender)s, %(account)s, "
        "'dispatched', waypost_now(), waypost_now() FROM generate_series(1, 5001) RETURNING tenant_id, id, account_id) "
        "INSERT INTO attempts (tenant_id, id, message_id, number, account_id, state, claimed_at, process, month) "
        "SELECT tenant_id, gen_random_uuid(), id, 1, account_id, 'void', waypost_now(), 'test', "
        "waypost_month(waypost_now()) FROM m",
        {"tenant": ledger.tenant, "sender": ledger.sender, "account": ledger.account},
    )
    known = {row["id"] for row in await ledger.execute("SELECT id FROM attempts")}
    async with loops.transaction() as connection:
        read = [attempt.id async for attempt in audited_attempts(connection)]
        timeout = await (await connection.execute("SHOW statement_timeout")).fetchone()
    assert len(read) == len(known)
    assert set(read) == known
    assert timeout == ("30min",)
    async with loops.transaction() as connection:
        assert await (await connection.execute("SHOW statement_timeout")).fetchone() == ("5s",)


async def test_the_ledger_is_compared_with_a_log(loops: Database, ledger: Ledger) -> None:
    message = await ledger.add_message(Attempt(AttemptState.ACCEPTED, age=timedelta(seconds=5)))
    lost = await ledger.add_message(Attempt(AttemptState.ACCEPTED))
    (attempt,), (missing,) = await ledger.attempts(message), await ledger.attempts(lost)
    entry = Acceptance(
        number=1,
        attempt_id=attempt["id"],
        provider_message_id=None,
        recipient="ann@example.com",
        content="c",
    )
    async with loops.transaction() as connection:
        found = await compare(connection, [entry])
    assert (found.agreed, set(found.lost)) == (1, {missing["id"]})
