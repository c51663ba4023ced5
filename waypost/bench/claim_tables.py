"""The tables of the claim bench: months of closed messages of many tenants, and a run that is being sent.

Inserted set-wise by the owner, with triggers off: what comes after is measured. Ids are hashes, as the ledger's.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

TENANTS = 20
RUNS_A_TENANT = 12
HISTORY = timedelta(days=180)
_BATCH = 250_000
_SENT_AT_ONCE = 20_000

Owner = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """The tenant that sends now, and its run of one shard."""

    tenant: UUID
    account: UUID
    sender: UUID
    run: UUID
    template: UUID


_TENANT = """
INSERT INTO tenants (id, name) VALUES (%(tenant)s, 'bench claim')
"""
_SENDER = """
INSERT INTO senders (tenant_id, id, key, channel, address, account_id, mode)
VALUES (%(tenant)s, %(sender)s, 'email', 'email', 'news@bench.example', %(account)s, 'test')
"""
_ACCOUNT = """
INSERT INTO provider_accounts (id, name, kind, mode, credentials, feed)
VALUES (%(account)s, 'bench claim', 'ses', 'test', '{}', 'durable')
"""
_CAMPAIGN = """
INSERT INTO campaigns (tenant_id, id, key, name, mode, definition, state, last_run)
VALUES (%(tenant)s, %(campaign)s, %(campaign)s::text, 'News', 'test', '{}', %(state)s, 1)
"""
_RUN = """
INSERT INTO campaign_runs (tenant_id, id, campaign_id, number, kind, mode, definition, state, channel, sender_id,
                           account_id, scheduled_at, audience, shards)
VALUES (%(tenant)s, %(run)s, %(campaign)s, 1, 'first', 'test', %(definition)s, %(state)s, 'email', %(sender)s,
        %(account)s, waypost_now(), 0, 1)
"""

# Four of five are a campaign's. Tenants are of all sizes: the square of an even number favours the first.
_HISTORY = """
WITH made AS (
INSERT INTO messages (tenant_id, id, source, source_id, part, lane, class, mode, channel, contact_id, address,
                      sender_id, account_id, payload, phase, due_at, send_at, expires_at, dispatched_at, dispatches,
                      attempts, outcome, outcome_reason, outcome_at, delivery, created_at, run_id, shard, cohort,
                      variant)
SELECT w.tenant, md5('history ' || n)::uuid,
       CASE WHEN c.run IS NULL THEN 'transactional' ELSE 'campaign' END,
       COALESCE(c.run, md5('request ' || n)::uuid), CASE WHEN c.run IS NULL THEN 'primary' ELSE n::text END,
       CASE WHEN c.run IS NULL THEN 'fast' ELSE 'bulk' END,
       CASE WHEN c.run IS NULL THEN 'transactional' ELSE 'marketing' END, 'test', 'email',
       md5('contact ' || n %% %(contacts)s)::uuid, 'person' || n %% %(contacts)s || '@bench.example', w.sender,
       %(account)s, CASE WHEN c.run IS NULL THEN jsonb_build_object('data', jsonb_build_object('order', n)) END,
       'closed', t.at, t.at, t.at + interval '3 days', t.at, 1, 1,
       CASE WHEN n %% 33 = 0 THEN 'failed' ELSE 'sent' END, CASE WHEN n %% 33 = 0 THEN 'rejected' ELSE 'accepted' END,
       t.at + interval '1 second', CASE WHEN n %% 33 = 0 THEN 'none' WHEN n %% 4 = 0 THEN 'opened' ELSE 'delivered' END,
       t.at, c.run, CASE WHEN c.run IS NOT NULL THEN n %% 4 END, CASE WHEN c.run IS NOT NULL THEN 0 END,
       CASE WHEN c.run IS NOT NULL THEN 0 END
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
CROSS JOIN LATERAL (SELECT ((hashint8(n) & 1048575) / 1048576.0) AS draw) d
CROSS JOIN LATERAL (SELECT floor(d.draw * d.draw * %(tenants)s)::int AS owner,
                           floor((n - 1)::float8 / %(messages)s * %(runs)s)::int AS period) p
CROSS JOIN LATERAL (SELECT (%(tenant_ids)s::uuid[])[p.owner + 1] AS tenant,
                           (%(sender_ids)s::uuid[])[p.owner + 1] AS sender) w
CROSS JOIN LATERAL (SELECT waypost_now() - %(history)s * (1 - (n - 1)::float8 / %(messages)s) AS at) t
CROSS JOIN LATERAL (SELECT CASE WHEN n %% 5 > 0
                           THEN (%(run_ids)s::uuid[])[p.owner * %(runs)s + p.period + 1] END AS run) c
RETURNING tenant_id, id, account_id, outcome, due_at, outcome_at, created_at
)
INSERT INTO attempts (tenant_id, id, message_id, number, account_id, state, claimed_at, recorded_at,
                      provider_message_id, content_hash, process, send_event_at, month)
SELECT tenant_id, md5('attempt ' || id)::uuid, id, 1, account_id,
       CASE WHEN outcome = 'failed' THEN 'rejected' ELSE 'accepted' END, due_at, outcome_at,
       md5('provider ' || id), decode(md5('content ' || id), 'hex'), 'bench',
       CASE WHEN outcome = 'sent' THEN outcome_at END, waypost_month(created_at)
FROM made
"""

# As the freeze makes them (campaign_freeze), of contacts that are made with them; all due at once.
_CONTACTS = """
INSERT INTO contacts (tenant_id, id, external_id, email, consent, attributes)
SELECT %(tenant)s, md5('recipient ' || n)::uuid, 'customer-' || n, 'customer' || n || '@bench.example',
       '{"email": true}', jsonb_build_object('first_name', 'First ' || n, 'city', 'Wien')
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
_RECIPIENTS = """
INSERT INTO messages (tenant_id, id, source, source_id, part, lane, class, mode, channel, contact_id, address,
                      sender_id, account_id, template_id, template_version, phase, due_at, send_at, expires_at,
                      run_id, shard, cohort, variant)
SELECT %(tenant)s, overlay(overlay(md5(%(run)s::text || c.id) placing '8' from 13) placing '8' from 17)::uuid,
       'campaign', %(run)s, c.id::text, 'bulk', 'marketing', 'test', 'email', c.id,
       'customer' || n || '@bench.example', %(sender)s, %(account)s, %(template)s, 1, 'ready', waypost_now(),
       waypost_now(), waypost_now() + interval '3 days', %(run)s, 0, 0, 0
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
CROSS JOIN LATERAL (SELECT md5('recipient ' || n)::uuid AS id) c
"""
_SINGLES = """
INSERT INTO messages (tenant_id, id, source, source_id, lane, class, mode, channel, address, sender_id, account_id,
                      payload, phase, due_at, expires_at, dispatched_at, dispatches)
SELECT %(tenant)s, gen_random_uuid(), 'transactional', gen_random_uuid(), 'fast', 'transactional', 'test', 'email',
       'customer' || n || '@bench.example', %(sender)s, %(account)s, '{}', 'dispatched', waypost_now(),
       waypost_now() + interval '1 day', waypost_now(), 1
FROM generate_series(1, %(count)s) AS n RETURNING id
"""

# What the page's claims and records come to, thousands at a time, in the order that pages have.
_DISPATCH = """
UPDATE messages SET phase = 'dispatched', attempts = 1, dispatched_at = waypost_now()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND phase = 'ready'
"""
_ATTEMPT = """
INSERT INTO attempts (tenant_id, id, message_id, number, account_id, claimed_at, content_hash, process, month)
SELECT tenant_id, gen_random_uuid(), id, 1, account_id, waypost_now(), '', 'bench claim', waypost_month(created_at)
FROM messages
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND phase = 'dispatched' ON CONFLICT DO NOTHING
"""
_RECORD = """
UPDATE attempts SET state = 'accepted', recorded_at = waypost_now() WHERE tenant_id = %(tenant)s AND state = 'in_flight'
"""
_END = """
UPDATE messages SET phase = 'closed', outcome = 'sent', outcome_reason = 'accepted', outcome_at = waypost_now()
WHERE tenant_id = %(tenant)s AND outcome_reason IS NULL
"""
_FORGET: tuple[LiteralString, ...] = (
    "DELETE FROM attempts WHERE tenant_id = %(tenant)s AND process = 'bench claim'",
    "DELETE FROM messages WHERE tenant_id = %(tenant)s AND (run_id = %(run)s OR id = ANY(%(singles)s::uuid[]))",
    "DELETE FROM contacts WHERE tenant_id = %(tenant)s",
    "DELETE FROM run_tally_additions",
    "VACUUM (ANALYZE) messages, attempts, contacts, run_tally_additions",
)


# What no constraint is made of: faster built anew than kept while millions of rows come in.
_INDEXES = """
SELECT format('DROP INDEX %I', indexname), indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename IN ('messages', 'attempts')
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexname::regclass)
"""


class Tables:
    """One database and its owner's connection (autocommit)."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._recipients = 0
        self.sending: Sending

    def fill(self, messages: int) -> None:
        """Months of closed messages with their attempts, and a run that sends; vacuumed and analysed."""
        with self._owner.transaction():
            self._owner.execute("SET LOCAL session_replication_role = replica")
            self._owner.execute("SET LOCAL maintenance_work_mem = '512MB'")
            indexes = self._owner.execute(_INDEXES).fetchall()
            for drop, _ in indexes:
                self._owner.execute(str(drop).encode())
            self._fill(messages)
            for _, create in indexes:
                self._owner.execute(str(create).encode())
        self._owner.execute("VACUUM (ANALYZE)")

    def _fill(self, messages: int) -> None:
        account, template = uuid4(), uuid4()
        self._owner.execute(_ACCOUNT, {"account": account})
        owners = [self._add_tenant(account) for _ in range(TENANTS)]
        runs = [self._add_run(t, s, account, "completed") for t, s in owners for _ in range(RUNS_A_TENANT)]
        values: dict[str, object] = {
            "account": account,
            "tenants": TENANTS,
            "runs": RUNS_A_TENANT,
            "tenant_ids": [tenant for tenant, _ in owners],
            "sender_ids": [sender for _, sender in owners],
            "run_ids": runs,
            "contacts": max(1, messages // 10),
            "messages": messages,
            "history": HISTORY,
        }
        for first in range(1, messages + 1, _BATCH):
            batch = values | {"first": first, "last": min(messages, first + _BATCH - 1)}
            self._owner.execute(_HISTORY, batch)
        # The largest tenant of the history sends now.
        tenant, sender = owners[0]
        run = self._add_run(tenant, sender, account, "sending")
        self.sending = Sending(tenant=tenant, account=account, sender=sender, run=run, template=template)

    def _add_tenant(self, account: UUID) -> tuple[UUID, UUID]:
        values = {"tenant": uuid4(), "sender": uuid4(), "account": account}
        self._owner.execute(_TENANT, values)
        self._owner.execute(_SENDER, values)
        return values["tenant"], values["sender"]

    def _add_run(self, tenant: UUID, sender: UUID, account: UUID, state: str) -> UUID:
        run = uuid4()
        values = {"tenant": tenant, "sender": sender, "account": account, "run": run, "campaign": uuid4()}
        more = {"state": state, "definition": Jsonb({})}
        self._owner.execute(_CAMPAIGN, values | more)
        self._owner.execute(_RUN, values | more)
        return run

    def add_recipients(self, count: int) -> None:
        """Freeze so many more recipients of the run, due now."""
        values = {**self._values(), "first": self._recipients + 1, "last": self._recipients + count}
        self._recipients += count
        self._as_owner(_CONTACTS, values)
        self._as_owner(_RECIPIENTS, values)

    def add_singles(self, count: int) -> list[UUID]:
        """So many transactional messages that their executions are about to claim."""
        rows = self._owner.execute(_SINGLES, {**self._values(), "count": count}).fetchall()
        return [row[0] for row in rows if isinstance(row[0], UUID)]

    def send(self, count: int) -> None:
        """Send to so many more recipients of the run, and close their rows."""
        for first in range(0, count, _SENT_AT_ONCE):
            self.add_recipients(min(_SENT_AT_ONCE, count - first))
            self._owner.execute(_DISPATCH, self._values())
            self._owner.execute(_ATTEMPT, self._values())
            self.end()
        self._owner.execute("ANALYZE messages, attempts, contacts")

    def end(self) -> None:
        """Whatever was claimed was sent: its rows are closed."""
        self._owner.execute(_RECORD, self._values())
        self._owner.execute(_END, self._values())

    def forget(self, singles: list[UUID]) -> None:
        """Take back what the rounds added, so that the table keeps its size; vacuumed."""
        for statement in _FORGET:
            self._owner.execute(statement, {**self._values(), "singles": singles} if "%" in statement else None)

    def _as_owner(self, statement: LiteralString, values: dict[str, object]) -> None:
        with self._owner.transaction():
            self._owner.execute("SET LOCAL session_replication_role = replica")
            self._owner.execute(statement, values)

    def _values(self) -> dict[str, object]:
        return asdict(self.sending)
