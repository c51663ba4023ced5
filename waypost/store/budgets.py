"""An account's send budget in PostgreSQL: one row that every process leases from (role waypost_relay)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.messaging.values import Lane

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Lease:
    """What was granted, and if nothing was: how long until asking again makes sense."""

    granted: int
    wait: timedelta
    quota_left: int | None


# A token bucket of one second's burst. The bulk lane may not dip into the share that is kept for the fast lane, which
# always leaves room for one send: an account of one a second would otherwise be shut for the bulk lane.
# `slow_factor` < 1 holds after a throttle until `slow_until`. A new UTC day starts a new count.
_LEASE = """
WITH state AS (
    SELECT b.account_id, a.fast_share, a.daily_quota, b.tokens, b.filled_at,
           a.rate_per_second * CASE WHEN b.slow_until > waypost_now() THEN b.slow_factor ELSE 1 END AS rate,
           (waypost_now() AT TIME ZONE 'UTC')::date AS today,
           CASE WHEN b.day = (waypost_now() AT TIME ZONE 'UTC')::date THEN b.used_today ELSE 0 END AS used
    FROM account_budgets b JOIN provider_accounts a ON a.id = b.account_id
    WHERE b.account_id = %(account)s FOR NO KEY UPDATE OF b
), filled AS (
    SELECT *, GREATEST(%(wanted)s, floor(rate * 0.1)) AS slice,
           CASE WHEN %(lane)s = 'bulk' THEN LEAST(fast_share * GREATEST(rate, 1), GREATEST(rate, 1) - 1)
           ELSE 0 END AS kept,
           LEAST(GREATEST(rate, 1),
                 tokens + GREATEST(EXTRACT(epoch FROM waypost_now() - filled_at), 0) * rate) AS level
    FROM state
), granting AS (
    SELECT *, GREATEST(0, LEAST(slice, floor(level - kept), COALESCE(daily_quota - used, slice)))::int AS granted
    FROM filled
), written AS (
    UPDATE account_budgets b SET tokens = g.level - g.granted, filled_at = waypost_now(), day = g.today,
           used_today = g.used + g.granted
    FROM granting g WHERE b.account_id = g.account_id
)
SELECT granted,
       make_interval(secs => GREATEST(0, 1 + kept - level) / rate) AS wait,
       (daily_quota - used - granted)::bigint AS quota_left
FROM granting
"""


async def lease(connection: Connection, *, account: UUID, lane: Lane, wanted: int) -> Lease:
    """Take `wanted` sends, or a tenth of a second's if that is more, as far as they last; LookupError without a row."""
    async with connection.cursor(row_factory=class_row(Lease)) as cursor:
        await cursor.execute(_LEASE, {"account": account, "lane": lane, "wanted": wanted})
        found = await cursor.fetchone()
    if found is None:
        raise LookupError(f"account {account} has no budget")
    return found


_GIVE_BACK = """
UPDATE account_budgets SET tokens = tokens + %(count)s, used_today = GREATEST(0, used_today - %(count)s)
WHERE account_id = %(account)s
"""


async def give_back(connection: Connection, *, account: UUID, count: int) -> None:
    """Return what was leased and not used."""
    await connection.execute(_GIVE_BACK, {"account": account, "count": count})


# A throttle halves the rate, down to a tenth; ten quiet seconds restore it. Calls that were out together are throttled
# together, so those of the same second count once.
_SLOW_DOWN = """
UPDATE account_budgets SET tokens = 0, filled_at = waypost_now(),
       slow_factor = CASE WHEN slow_until > waypost_now() + interval '9 seconds' THEN slow_factor
                          WHEN slow_until > waypost_now() THEN GREATEST(0.1, slow_factor / 2) ELSE 0.5 END,
       slow_until = CASE WHEN slow_until > waypost_now() + interval '9 seconds' THEN slow_until
                         ELSE waypost_now() + interval '10 seconds' END
WHERE account_id = %s
"""


async def slow_down(connection: Connection, *, account: UUID) -> None:
    """The provider throttled: everybody slows down for a while."""
    await connection.execute(_SLOW_DOWN, (account,))


_PAUSE = """
UPDATE provider_accounts SET state = 'paused', pause_reason = %(reason)s, paused_at = waypost_now(),
       resume_at = waypost_now() + %(retry)s, version = version + 1, updated_at = waypost_now()
WHERE id = %(account)s AND state = 'open'
"""


async def pause_account(connection: Connection, *, account: UUID, reason: str, retry: timedelta) -> None:
    """The provider takes nothing from this account: hold its rows, try again after `retry`."""
    await connection.execute(_PAUSE, {"account": account, "reason": reason, "retry": retry})


# An account that a person paused has no resume_at and stays paused.
_REOPEN = """
UPDATE provider_accounts SET state = 'open', pause_reason = NULL, paused_at = NULL, resume_at = NULL,
       version = version + 1, updated_at = waypost_now()
WHERE id IN (SELECT id FROM provider_accounts WHERE state = 'paused' AND resume_at <= waypost_now()
             LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id
"""


async def reopen_accounts(connection: Connection, *, limit: int) -> int:
    """Open up to `limit` accounts whose pause is over; how many."""
    # In pipeline mode a cursor's rowcount is not known before its result is asked for.
    return len(await (await connection.execute(_REOPEN, (limit,))).fetchall())
