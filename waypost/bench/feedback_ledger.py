"""What the feedback bench puts into the ledger and reads from it: messages that were sent, and what events made of it.

As the database's owner, whom row security does not bind; no process of the product is one.
"""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

# As a campaign leaves them: accepted, and no event has come yet.
_SENT = """
WITH made AS (
    INSERT INTO messages (tenant_id, id, source, source_id, lane, class, mode, channel, address, sender_id, account_id,
                          phase, due_at, expires_at, attempts, outcome, outcome_reason, outcome_at)
    SELECT %(tenant)s, md5(word || '/' || n)::uuid, 'transactional', md5(word || '/' || n)::uuid, 'bulk',
           'transactional', 'test', 'email', word || '-' || n || '@crowd.test', s.id, %(account)s,
           'closed', waypost_now(), waypost_now() + interval '1 day', 1, 'sent', 'accepted', waypost_now()
    FROM (VALUES (%(word)s::text)) AS w (word), generate_series(0, %(count)s::int - 1) AS n,
         LATERAL (SELECT id FROM senders WHERE tenant_id = %(tenant)s LIMIT 1) AS s
    RETURNING tenant_id, id, account_id, created_at
)
INSERT INTO attempts (tenant_id, id, message_id, number, account_id, state, claimed_at, recorded_at, process, month)
SELECT tenant_id, md5(id::text)::uuid, id, 1, account_id, 'accepted', waypost_now(), waypost_now(), 'bench',
       waypost_month(created_at)
FROM made
"""

_LAST = "SELECT COALESCE(max(id), 0) FROM provider_events"

_APPLIED = (
    "SELECT count(*) FILTER (WHERE applied_at IS NOT NULL) FROM provider_events WHERE account_id = %s AND id > %s"
)

# Transactions are told apart by their time: the middle begins and ends with one.
_RATE = """
WITH applied AS (
    SELECT applied_at, count(*) AS events FROM provider_events
    WHERE account_id = %s AND id > %s AND applied_at IS NOT NULL GROUP BY applied_at
), climbing AS (
    SELECT applied_at, events, sum(events) OVER (ORDER BY applied_at) / sum(events) OVER () AS share FROM applied
), middle AS (
    SELECT min(applied_at) FILTER (WHERE share >= 0.1) AS began, min(applied_at) FILTER (WHERE share >= 0.9) AS ended
    FROM climbing
)
SELECT sum(events) / EXTRACT(epoch FROM ended - began) FROM climbing, middle
WHERE applied_at > began AND applied_at <= ended GROUP BY began, ended
"""

_LAGS = """
SELECT count(*), percentile_disc(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (
           ORDER BY EXTRACT(epoch FROM applied_at - occurred_at)::float8)
FROM provider_events WHERE account_id = %s AND id > %s AND applied_at IS NOT NULL
"""

_DELIVERED = """
SELECT count(*) FROM messages m JOIN attempts a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
WHERE m.tenant_id = %s AND starts_with(m.address, %s::text || '-') AND m.delivery = 'delivered'
  AND a.send_event_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lags:
    """From when the provider dates an event to the transaction that applied it; seconds."""

    count: int
    p50: float
    p99: float
    longest: float


def message_id(word: str, number: int) -> UUID:
    """The n-th message of a word."""
    return UUID(hashlib.md5(f"{word}/{number}".encode(), usedforsecurity=False).hexdigest())


def attempt_id(word: str, number: int) -> UUID:
    """Its attempt, which events are tagged with."""
    return UUID(hashlib.md5(str(message_id(word, number)).encode(), usedforsecurity=False).hexdigest())


class Ledger:
    """The stack's database, seen from outside. Blocking."""

    def __init__(self, owner: str, *, tenant: UUID, account: UUID) -> None:
        self._connection = psycopg.connect(owner, autocommit=True)
        self._tenant = tenant
        self._account = account

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def make_sent(self, word: str, count: int) -> None:
        """So many messages that were accepted by the provider just now, at `{word}-n@crowd.test`."""
        values = {"tenant": self._tenant, "account": self._account, "word": word, "count": count}
        self._connection.execute(_SENT, values)
        self._connection.execute("ANALYZE messages")
        self._connection.execute("ANALYZE attempts")

    def last_event(self) -> int:
        """The number of the newest event: those after it are a round's own."""
        return int(self._one(_LAST)[0])

    def applied(self, since: int) -> int:
        """How many events of the account after this number are applied."""
        return int(self._one(_APPLIED, self._account, since)[0])

    def rate(self, since: int) -> float:
        """Events applied a second, over the middle 80 % of the account's after this number."""
        return float(self._one(_RATE, self._account, since)[0])

    def delivered(self, word: str) -> int:
        """How many of a word's messages know of their acceptance and their delivery."""
        return int(self._one(_DELIVERED, self._tenant, word)[0])

    def lags(self, since: int) -> Lags:
        """Of the account's events after this number."""
        count, (p50, p99, longest) = self._one(_LAGS, self._account, since)
        return Lags(count=count, p50=p50, p99=p99, longest=longest)

    def _one(self, query: str, *values: object) -> tuple[Any, ...]:
        row = self._connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row
