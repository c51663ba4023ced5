"""A page of a campaign's recipients: read with all that the gate asks, claimed, recorded and ended set-wise.

As waypost_app for one tenant, inside the caller's transaction; nothing here commits. Locks in the order of everybody:
attempts by message, then messages by id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from waypost.messaging.ids import attempt_id
from waypost.store.attempts import Ending

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    """A run with what is the same for all its recipients. Times are the database's."""

    now: datetime
    tenant_id: UUID
    id: UUID
    mode: str
    state: str
    channel: str
    definition: dict[str, Any] = field(repr=False)
    topic_id: UUID | None
    topic_opt_in: bool | None
    open_cohort: int
    winner: int | None
    released_at: datetime | None
    audience: int
    throttle_per_minute: int | None
    tenant_name: str
    tenant_state: str
    tenant_weight: float
    tenant_time_zone: str
    quiet_hours: dict[str, Any] | None
    frequency_caps: list[dict[str, Any]]
    late_policy: str
    late_after: timedelta
    unknown_policy: str
    account_id: UUID
    account_state: str
    at_most_once: bool
    """The account's feed cannot prove that something was not sent: what is unknown is never tried again."""
    from_address: str
    from_name: str | None
    sender_reply_to: str | None
    configuration_set: str | None
    messaging_service: str | None


_RUN = """
SELECT waypost_now() AS now, r.tenant_id, r.id, r.mode, r.state, r.channel, r.definition, r.topic_id,
       p.opt_in AS topic_opt_in, r.open_cohort, r.winner, r.released_at, COALESCE(r.audience, 0) AS audience,
       r.throttle_per_minute,
       t.name AS tenant_name, t.state AS tenant_state, t.weight AS tenant_weight, t.time_zone AS tenant_time_zone,
       t.quiet_hours, t.frequency_caps, t.late_policy, t.late_after, t.unknown_policy,
       r.account_id, a.state AS account_state, a.feed <> 'durable' AS at_most_once,
       s.address AS from_address, s.name AS from_name, s.reply_to AS sender_reply_to,
       s.configuration_set, s.messaging_service
FROM campaign_runs r
JOIN tenants t ON t.id = r.tenant_id
JOIN provider_accounts a ON a.id = r.account_id
JOIN senders s ON s.tenant_id = r.tenant_id AND s.id = r.sender_id
LEFT JOIN topics p ON p.tenant_id = r.tenant_id AND p.id = r.topic_id
WHERE r.tenant_id = %s AND r.id = %s
"""


async def load_run(connection: Connection, *, tenant: UUID, run: UUID) -> LoadedRun | None:
    """A run; None when the tenant has no such run."""
    async with connection.cursor(row_factory=class_row(LoadedRun)) as cursor:
        await cursor.execute(_RUN, (tenant, run))
        return await cursor.fetchone()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One due row of a run, with what the gate and the renderer need of its contact."""

    id: UUID
    month: date
    """Its attempts' partition."""
    contact_id: UUID
    address: str = field(repr=False)
    attempts: int
    variant: int
    cohort: int
    due_at: datetime
    send_at: datetime
    expires_at: datetime
    late_approved_at: datetime | None
    cancel_requested: bool
    external_id: str | None
    email: str | None = field(repr=False)
    phone: str | None = field(repr=False)
    locale: str | None
    time_zone: str | None
    attributes: dict[str, Any] | None = field(repr=False)
    consent: bool | None
    contact_deleted: bool
    suppression: str | None
    subscription: str | None
    sent_at: list[datetime] | None
    cap_sent_at: list[datetime] | None


Place = tuple[datetime, UUID]
"""Where in a shard's order (due, id) to look on."""

# Recipients in the order of their index, cohort by cohort, each of the looked up rows by its whole key. `after` is only
# where the shard's open rows begin as far as was seen: what is put back behind it has a later due time. Not
# "IS NULL OR": in a generic plan that would be a filter, and no place to begin at.
_PAGE = """
WITH due AS MATERIALIZED (
    SELECT d.* FROM generate_series(0, %(cohort)s) AS c (cohort) CROSS JOIN LATERAL (
        SELECT m.*, CASE m.channel WHEN 'email' THEN lower(m.address) ELSE m.address END AS address_key
        FROM messages m
        WHERE m.run_id = %(run)s AND m.shard = %(shard)s AND m.cohort = c.cohort AND m.tenant_id = %(tenant)s
          AND m.phase <> 'closed' AND m.phase = 'ready' AND m.due_at <= waypost_now()
          AND (m.due_at, m.id) > (COALESCE(%(at)s::timestamptz, '-infinity'), %(after)s::uuid)
        ORDER BY m.due_at, m.id LIMIT %(limit)s) d
    ORDER BY d.due_at, d.id LIMIT %(limit)s
)
SELECT d.id, waypost_month(d.created_at) AS month, d.contact_id, d.address, d.attempts,
       COALESCE(d.variant, -1) AS variant, d.cohort, d.due_at,
       COALESCE(d.send_at, d.due_at) AS send_at, d.expires_at, d.late_approved_at,
       d.cancel_requested_at IS NOT NULL AS cancel_requested,
       c.external_id, c.email, c.phone, c.locale, c.time_zone, c.attributes,
       (c.consent ->> d.channel)::boolean AS consent, c.id IS NULL AS contact_deleted,
       x.reason AS suppression, t.state AS subscription, u.sent_at_channel AS sent_at, u.sent_at AS cap_sent_at
FROM due d
LEFT JOIN LATERAL (SELECT * FROM contacts WHERE tenant_id = d.tenant_id AND id = d.contact_id LIMIT 1) c ON true
LEFT JOIN LATERAL (
    SELECT reason FROM suppressions
    WHERE tenant_id = d.tenant_id AND channel = d.channel AND address = d.address_key LIMIT 1) x ON true
LEFT JOIN LATERAL (
    SELECT state FROM topic_subscriptions
    WHERE tenant_id = d.tenant_id AND topic_id = %(topic)s AND contact_id = d.contact_id LIMIT 1) t ON true
LEFT JOIN LATERAL (
    SELECT sent_at, ARRAY(SELECT o.at FROM unnest(sent_at, channels) AS o (at, channel)
                          WHERE o.channel = d.channel) AS sent_at_channel
    FROM cap_usage WHERE %(capped)s AND tenant_id = d.tenant_id AND contact_id = d.contact_id LIMIT 1) u ON true
ORDER BY d.due_at, d.id
"""


async def due_recipients(
    connection: Connection, *, run: LoadedRun, shard: int, after: Place | None, limit: int
) -> list[Recipient]:
    """The next due recipients of a shard."""
    values = {
        "tenant": run.tenant_id,
        "run": run.id,
        "shard": shard,
        "cohort": run.open_cohort,
        "topic": run.topic_id,
        "capped": bool(run.frequency_caps),
        "at": after[0] if after else None,
        "after": after[1] if after else UUID(int=0),
        "limit": limit,
    }
    async with connection.cursor(row_factory=class_row(Recipient)) as cursor:
        await cursor.execute(_PAGE, values)
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A recipient that is about to be handed over. `number` of its attempt, counted from 1."""

    message: UUID
    number: int
    content_hash: bytes
    variant: int
    template_id: UUID
    template_version: int
    attempt: UUID = field(init=False)
    """The attempt's id."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attempt", attempt_id(message=self.message, number=self.number))


# The claim of one provider call. KEY SHARE on the tenant's row and on the run's conflicts with the FOR UPDATE of those
# who close, suspend, pause, halt or cancel: no claim commits after theirs. Rows that another claim holds are its own.
# (phase || ''): as attempts.claim says, so that a row is found by its key and not in an index of open rows.
_CLAIM = """
WITH owner AS (
    SELECT id FROM tenants WHERE id = %(tenant)s AND state = 'active' FOR KEY SHARE
), run AS (
    SELECT r.id, r.account_id FROM campaign_runs r JOIN owner o ON o.id = r.tenant_id
    WHERE r.tenant_id = %(tenant)s AND r.id = %(run)s AND r.state = 'sending' FOR KEY SHARE OF r
), open AS (
    SELECT r.id, r.account_id FROM run r JOIN provider_accounts a ON a.id = r.account_id AND a.state = 'open'
), asked AS MATERIALIZED (
    SELECT * FROM unnest(%(messages)b::uuid[], %(numbers)b::int[], %(attempts)b::uuid[], %(hashes)b::bytea[],
                         %(variants)b::smallint[], %(templates)b::uuid[], %(versions)b::int[])
        AS a (message, number, attempt, content_hash, variant, template_id, template_version)
), held AS MATERIALIZED (
    SELECT m.id FROM asked a CROSS JOIN LATERAL (
        SELECT id FROM messages WHERE tenant_id = %(tenant)s AND id = a.message AND (phase || '') = 'ready'
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) m
), mine AS (
    UPDATE messages m SET attempts = a.number, phase = 'dispatched', dispatched_at = waypost_now(), hold_reason = NULL,
           variant = a.variant, template_id = a.template_id, template_version = a.template_version
    FROM open o, asked a JOIN held h ON h.id = a.message
    WHERE m.tenant_id = %(tenant)s AND m.id = a.message AND m.run_id = o.id AND (m.phase || '') = 'ready'
      AND m.attempts = a.number - 1 AND m.outcome IS NULL AND m.cancel_requested_at IS NULL
      AND m.expires_at > waypost_now()
    RETURNING m.id, o.account_id, m.created_at
)
INSERT INTO attempts (tenant_id, id, message_id, number, account_id, claimed_at, content_hash, process, month)
SELECT %(tenant)s, a.attempt, a.message, a.number, m.account_id, waypost_now(), a.content_hash, %(process)s,
       waypost_month(m.created_at)
FROM mine m JOIN asked a ON a.message = m.id
ON CONFLICT DO NOTHING
RETURNING message_id, claimed_at
"""


async def claim_many(
    connection: Connection, *, tenant: UUID, run: UUID, asks: Sequence[Ask], process: str
) -> dict[UUID, datetime]:
    """Open an attempt of each; the messages that are ours to hand over now, and when each was claimed."""
    values = {
        "tenant": tenant,
        "run": run,
        "messages": [ask.message for ask in asks],
        "numbers": [ask.number for ask in asks],
        "attempts": [ask.attempt for ask in asks],
        "hashes": [ask.content_hash for ask in asks],
        "variants": [ask.variant for ask in asks],
        "templates": [ask.template_id for ask in asks],
        "versions": [ask.template_version for ask in asks],
        "process": process,
    }
    cursor = await connection.execute(_CLAIM, values, binary=True)
    return dict(await cursor.fetchall())


# The record of one provider call, as attempts.record says it for one message. A campaign's message has no fallback and
# no second try, so nothing else follows.
_RECORD = """
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%(attempts)b::uuid[], %(states)b::text[], %(codes)b::text[], %(provider_ids)b::text[],
                         %(phases)b::text[], %(outcomes)b::text[], %(reasons)b::text[], %(waits)b::interval[])
        AS g (attempt, state, code, provider_message_id, phase, outcome, reason, wait)
), before AS MATERIALIZED (
    SELECT a.id, a.message_id FROM given g CROSS JOIN LATERAL (
        SELECT id, message_id FROM attempts
        WHERE tenant_id = %(tenant)s AND id = g.attempt AND month = ANY(%(months)b::date[])
          AND (state || '') IN ('in_flight', 'unknown')
        LIMIT 1 FOR NO KEY UPDATE) a
), ended AS (
    UPDATE attempts a SET state = g.state, recorded_at = waypost_now(), code = g.code,
           provider_message_id = COALESCE(g.provider_message_id, a.provider_message_id)
    FROM before b JOIN given g ON g.attempt = b.id
    WHERE a.tenant_id = %(tenant)s AND a.id = b.id AND a.month = ANY(%(months)b::date[])
    RETURNING a.id, a.message_id
)
UPDATE messages m SET phase = g.phase, outcome = g.outcome,
       outcome_reason = CASE WHEN g.outcome IS NOT NULL THEN g.reason END,
       outcome_at = CASE WHEN g.outcome IS NOT NULL THEN waypost_now() END,
       hold_reason = CASE WHEN g.outcome IS NULL THEN g.reason END,
       due_at = CASE WHEN g.phase = 'ready' THEN waypost_now() + GREATEST(g.wait, interval '200 ms') ELSE m.due_at END,
       dispatched_at = CASE WHEN g.phase = 'ready' THEN NULL ELSE m.dispatched_at END
FROM ended e JOIN given g ON g.attempt = e.id
WHERE m.tenant_id = %(tenant)s AND m.id = e.message_id AND m.outcome IS NULL
RETURNING m.id
"""

# Evidence that came before the record left the provider's id unknown; that much is still told.
_RECORD_LATE = """
UPDATE attempts a SET recorded_at = waypost_now(),
       provider_message_id = COALESCE(a.provider_message_id, g.provider_message_id)
FROM unnest(%(attempts)b::uuid[], %(provider_ids)b::text[]) AS g (attempt, provider_message_id)
WHERE a.tenant_id = %(tenant)s AND a.id = g.attempt AND a.month = ANY(%(months)b::date[]) AND a.recorded_at IS NULL
"""


async def record_many(
    connection: Connection, *, tenant: UUID, months: Iterable[date], endings: Sequence[tuple[UUID, Ending]]
) -> int:
    """Write down how the attempts of one call ended, as (attempt, ending); how many messages moved by it.

    `months` are all those that their recipients are of.
    """
    values = {
        "tenant": tenant,
        "months": sorted(set(months)),
        "attempts": [attempt for attempt, _ in endings],
        "states": [ending.state.value for _, ending in endings],
        "codes": [ending.code for _, ending in endings],
        "provider_ids": [ending.provider_message_id for _, ending in endings],
        "phases": [ending.phase.value for _, ending in endings],
        "outcomes": [ending.outcome.value if ending.outcome else None for _, ending in endings],
        "reasons": [ending.reason for _, ending in endings],
        "waits": [ending.retry_after or timedelta() for _, ending in endings],
    }
    moved = len(await (await connection.execute(_RECORD, values)).fetchall())
    if moved < len(endings):
        await connection.execute(_RECORD_LATE, values)
    return moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A recipient that is not sent to now. `outcome` None: it waits until `until`."""

    message: UUID
    attempts: int
    reason: str
    outcome: str | None = None
    until: datetime | None = None


# As send.put_back and send.refuse say it for one message: only what nobody has claimed since it was loaded.
_SETTLE = """
WITH given AS (
    SELECT * FROM unnest(%(messages)s::uuid[], %(attempts)s::int[], %(reasons)s::text[], %(outcomes)s::text[],
                         %(untils)s::timestamptz[]) AS g (message, attempts, reason, outcome, until)
), held AS MATERIALIZED (
    SELECT m.id FROM given g CROSS JOIN LATERAL (
        SELECT id FROM messages WHERE tenant_id = %(tenant)s AND id = g.message AND (phase || '') = 'ready'
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) m
), settled AS (
    UPDATE messages m
    SET phase = CASE WHEN g.outcome IS NULL THEN 'ready' ELSE 'closed' END, outcome = g.outcome,
        outcome_reason = CASE WHEN g.outcome IS NOT NULL THEN g.reason END,
        outcome_at = CASE WHEN g.outcome IS NOT NULL THEN waypost_now() END,
        hold_reason = CASE WHEN g.outcome IS NULL THEN g.reason END,
        due_at = CASE WHEN g.outcome IS NULL THEN GREATEST(g.until, waypost_now() + interval '200 ms') ELSE m.due_at END
    FROM given g JOIN held h ON h.id = g.message
    WHERE m.tenant_id = %(tenant)s AND m.id = g.message AND m.outcome IS NULL AND (m.phase || '') = 'ready'
      AND m.attempts = g.attempts
    RETURNING m.tenant_id, m.id, m.due_at, g.outcome, g.reason
)
INSERT INTO verdicts (tenant_id, message_id, verdict, reason, outcome, until)
SELECT tenant_id, id, CASE WHEN outcome IS NULL THEN 'defer' ELSE 'refuse' END, reason, outcome,
       CASE WHEN outcome IS NULL THEN due_at END
FROM settled
RETURNING outcome
"""


async def settle_many(connection: Connection, *, tenant: UUID, judged: Sequence[Judged]) -> int:
    """Let recipients wait or end, and store the verdicts; how many have their outcome now."""
    values = {
        "tenant": tenant,
        "messages": [one.message for one in judged],
        "attempts": [one.attempts for one in judged],
        "reasons": [one.reason for one in judged],
        "outcomes": [one.outcome for one in judged],
        "untils": [one.until for one in judged],
    }
    rows = await (await connection.execute(_SETTLE, values)).fetchall()
    return sum(row[0] is not None for row in rows)
