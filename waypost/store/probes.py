"""Probes: messages to SES's mailbox simulator that show what a quiet account's feed would bring (waypost_relay)."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from waypost.store.reconcile import LATER_ATTEMPTS

Connection = AsyncConnection[Any]

# Accounts whose newest unknown attempt lacks later traffic that came back. The mark is a lease over all processes: a
# probe every second until K may come back, then one a minute for as long as they don't. One that failed will not, so
# another takes its place; where many fail, the account has other worries.
_LEASE = """
WITH quiet AS (
    SELECT a.id, u.claimed_at FROM provider_accounts a
    JOIN feeds f ON f.account_id = a.id
    CROSS JOIN LATERAL (
        SELECT max(claimed_at) AS claimed_at FROM attempts
        WHERE account_id = a.id AND state IN ('in_flight', 'unknown', 'abandoned') AND state = 'unknown'
          AND claimed_at < waypost_now() - interval '3 seconds') u
    WHERE a.kind = 'ses' AND a.feed = 'durable' AND a.queue_url IS NOT NULL AND a.state = 'open'
      AND u.claimed_at IS NOT NULL
), wanting AS (
    SELECT q.id,
           (SELECT count(*) FROM (SELECT FROM attempts b WHERE b.account_id = q.id AND b.claimed_at > q.claimed_at
                                  AND b.send_event_at IS NOT NULL LIMIT %(later)s) x)
           + (SELECT count(*) FROM probes p WHERE p.account_id = q.id AND p.claimed_at > q.claimed_at
              AND p.send_event_at IS NOT NULL) AS returned,
           (SELECT count(*) FROM probes p WHERE p.account_id = q.id AND p.claimed_at > q.claimed_at) AS sent,
           (SELECT count(*) FROM probes p WHERE p.account_id = q.id AND p.claimed_at > q.claimed_at
              AND p.state IN ('in_flight', 'accepted')) AS hopeful
    FROM quiet q
)
UPDATE feeds f SET last_probe_at = waypost_now() FROM wanting w
WHERE f.account_id = w.id AND w.returned < %(later)s
  AND (f.last_probe_at IS NULL OR f.last_probe_at < waypost_now()
       - CASE WHEN w.hopeful < %(later)s AND w.sent < 3 * %(later)s
              THEN interval '1 second' ELSE interval '1 minute' END)
RETURNING f.account_id
"""


async def accounts_to_probe(connection: Connection) -> list[UUID]:
    """The accounts that want a probe now; each is told to one caller only."""
    cursor = await connection.execute(_LEASE, {"later": LATER_ATTEMPTS})
    return [row[0] for row in await cursor.fetchall()]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSender:
    """From whom a probe comes; events come back through the configuration set."""

    address: str = field(repr=False)
    configuration_set: str | None


_SENDER = """
SELECT address, configuration_set FROM senders WHERE account_id = %s AND channel = 'email'
ORDER BY configuration_set IS NULL, created_at LIMIT 1
"""


async def probe_sender(connection: Connection, *, account: UUID) -> ProbeSender | None:
    """An email sender of the account, one with a configuration set first; None where it has none."""
    row = await (await connection.execute(_SENDER, (account,))).fetchone()
    return ProbeSender(address=row[0], configuration_set=row[1]) if row else None


_CLAIM = "INSERT INTO probes (id, account_id) VALUES (%s, %s)"


async def claim_probe(connection: Connection, *, probe: UUID, account: UUID) -> None:
    """Write a probe down before it is sent."""
    await connection.execute(_CLAIM, (probe, account))


# Its event may have come first.
_RECORD = "UPDATE probes SET state = %s, code = %s WHERE id = %s AND state = 'in_flight'"


async def record_probe(connection: Connection, *, probe: UUID, state: str, code: str | None) -> None:
    """Write down how it went: accepted, unknown or failed."""
    await connection.execute(_RECORD, (state, code, probe))
