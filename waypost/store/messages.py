"""Taking messages in: one statement resolves, checks and inserts any number of requests; its commit rides along.

The hottest path of the API. What it must hold: an answer of 2xx is a committed row (DESIGN 1), one request a key
(DESIGN 3), nothing after the closing commit (DESIGN 10).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson

from waypost.messaging import ids
from waypost.messaging.values import Part
from waypost.store.database import Database
from waypost.store.requests import PartAsked, RememberedRequest, RequestAsked, ask_remembered

TENANT_CLOSED = "tenant_closed"
TEMPLATE_MOVED = "template_moved"
"""The template got a new version since the request was validated: validate again and ask again."""
KEY_USED = "key_used"
"""The idempotency key has an answer; accept() never gives this back."""

# Everything in one statement, so that one snapshot and one lock decide. KEY SHARE on the tenant's row waits for a
# closer's FOR UPDATE and then reads what it committed. ON CONFLICT waits for a concurrent twin; the loser stores
# nothing and asks for the winner's answer. It names no index: twins share the id as well as the key, and either index
# may see the other first. A key whose retention is over is overwritten by its next generation; one whose row was swept
# away is known by its message's id (looked up, not by EXISTS: the planner would hash all of the tenant's ids). Sorted
# by key, so that two batches with the same keys lock them in the same order.
_ACCEPT = """
WITH tenant AS MATERIALIZED (
    SELECT id, state, idempotency_retention, waypost_now() AS now FROM tenants WHERE id = %(tenant)s FOR KEY SHARE
), asked AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(parts)s::jsonb) AS asked (
        place integer, part text, request_id uuid, generation integer, key text, body_hash text, id uuid,
        primary_id uuid, mode text, class text, channel text, contact_id uuid, address text, sender_id uuid,
        template_id uuid, version integer, pinned boolean, payload jsonb, tags text[], metadata jsonb,
        unknown_policy text, fallback_after double precision, send_at timestamptz, expires_in double precision)
), resolved AS MATERIALIZED (
    SELECT asked.*, tenant.now, tenant.idempotency_retention, GREATEST(asked.send_at, tenant.now) AS due_at,
           COALESCE(asked.address, contact.address) AS to_address, sender.id AS from_id, sender.account_id,
           CASE
               WHEN tenant.state IN ('closing', 'closed') THEN 'tenant_closed'
               WHEN asked.contact_id IS NOT NULL AND contact.id IS NULL THEN 'contact_not_found'
               WHEN asked.address IS NULL AND contact.address IS NULL THEN 'contact_without_address'
               WHEN asked.template_id IS NOT NULL AND NOT asked.pinned
                   AND template.current_version IS DISTINCT FROM asked.version THEN 'template_moved'
               WHEN sender.id IS NULL AND asked.sender_id IS NOT NULL THEN 'sender_not_found'
               WHEN sender.id IS NULL AND asked.mode = 'test' THEN 'no_test_account'
               WHEN sender.id IS NULL THEN 'no_sender'
               WHEN sender.channel <> asked.channel THEN 'sender_channel_mismatch'
               WHEN sender.mode <> asked.mode THEN 'sender_mode_mismatch'
               WHEN asked.send_at > tenant.now + interval '366 days' THEN 'send_at_too_far'
               WHEN (SELECT true FROM messages m WHERE m.tenant_id = tenant.id AND m.id = asked.id LIMIT 1)
                   THEN 'key_used'
           END AS problem
    FROM asked CROSS JOIN tenant
    LEFT JOIN LATERAL (
        SELECT c.id, CASE asked.channel WHEN 'email' THEN c.email ELSE c.phone END AS address
        FROM contacts c WHERE c.tenant_id = tenant.id AND c.id = asked.contact_id LIMIT 1
    ) contact ON true
    LEFT JOIN LATERAL (
        SELECT t.current_version FROM templates t WHERE t.tenant_id = tenant.id AND t.id = asked.template_id LIMIT 1
    ) template ON true
    LEFT JOIN LATERAL (
        SELECT s.id, s.account_id, s.channel, a.mode FROM senders s JOIN provider_accounts a ON a.id = s.account_id
        WHERE s.tenant_id = tenant.id AND s.id = asked.sender_id
        UNION ALL
        SELECT s.id, s.account_id, s.channel, a.mode FROM senders s JOIN provider_accounts a ON a.id = s.account_id
        WHERE asked.sender_id IS NULL AND s.tenant_id = tenant.id AND s.channel = asked.channel AND s.is_default
            AND s.mode = asked.mode AND a.mode = asked.mode
        LIMIT 1
    ) sender ON true
), sound AS (
    SELECT * FROM resolved WHERE place NOT IN (SELECT place FROM resolved WHERE problem IS NOT NULL)
), remembered AS (
    INSERT INTO requests (tenant_id, id, idempotency_key, generation, body_hash, message_id, created_at, expires_at)
    SELECT %(tenant)s, request_id, key, generation, decode(body_hash, 'hex'), id, now, now + idempotency_retention
    FROM sound WHERE part = 'primary' AND key IS NOT NULL ORDER BY key
    ON CONFLICT DO NOTHING
    RETURNING id
), renewed AS (
    UPDATE requests r SET id = s.request_id, generation = s.generation, body_hash = decode(s.body_hash, 'hex'),
        message_id = s.id, created_at = s.now, expires_at = s.now + s.idempotency_retention
    FROM sound s
    WHERE s.generation > 0 AND s.part = 'primary' AND r.tenant_id = %(tenant)s AND r.idempotency_key = s.key
        AND r.expires_at <= s.now AND r.generation < s.generation
    RETURNING r.id
), stored AS (
    INSERT INTO messages (tenant_id, id, source, source_id, part, primary_id, lane, class, mode, channel, contact_id,
        address, sender_id, account_id, template_id, template_version, payload, tags, metadata, fallback_after,
        unknown_policy, phase, due_at, send_at, expires_at, created_at)
    SELECT %(tenant)s, id, 'transactional', request_id, part, primary_id, 'fast', class, mode, channel, contact_id,
        to_address, from_id, account_id, template_id, version, payload, tags, metadata,
        make_interval(secs => fallback_after), unknown_policy,
        CASE part WHEN 'primary' THEN 'ready' ELSE 'waiting' END, CASE part WHEN 'primary' THEN due_at END, send_at,
        due_at + make_interval(secs => expires_in), now
    FROM sound
    WHERE key IS NULL OR request_id IN (SELECT id FROM remembered UNION ALL SELECT id FROM renewed)
    RETURNING id
)
SELECT resolved.place, resolved.part, resolved.problem, stored.id IS NOT NULL
FROM resolved LEFT JOIN stored USING (id)
"""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request's messages are committed rows. `replayed`: an earlier call with the same key and body made them."""

    message_id: UUID
    fallback_id: UUID | None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was stored. `problem` is a Refusal's value, TENANT_CLOSED or TEMPLATE_MOVED; `part` is where."""

    problem: str
    part: Part = Part.PRIMARY


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The key is known with another body. Nothing was stored."""


Verdict = Accepted | Refused | KeyReused


@dataclass(frozen=True, slots=True)
class Keyed:
    """What tells a request from others with its idempotency key."""

    key: str = field(repr=False)
    body_hash: bytes
    has_fallback: bool


async def accept(database: Database, *, tenant: UUID, requests: Sequence[RequestAsked]) -> list[Verdict]:
    """Commit the requests' messages and say for each what came of it. `database` is the app role's.

    A key may stand only once in `requests`. Raises what psycopg raises while PostgreSQL is away; then nothing is known
    of the requests, and those with a key may be asked again.
    """
    settled: dict[int, Verdict] = {}
    left = dict(enumerate(requests))
    generations: dict[int, int] = {}
    while left:
        tried = await _try(database, tenant, left, generations)
        settled |= {place: verdict for place, verdict in tried.items() if _final(verdict, left[place])}
        doubtful = {place: left[place] for place in left if place not in settled}
        known = await _remembered(database, tenant, [request.idempotency_key for request in doubtful.values()])
        for place, request in doubtful.items():
            earlier = known.get(request.idempotency_key)
            if earlier is not None and not earlier.expired:
                settled[place] = _answer(tenant, _keyed(request), earlier)
            elif (verdict := tried[place]) != Refused(KEY_USED):
                settled[place] = verdict
            else:  # the key's retention is over: its next generation
                generations[place] = max(generations.get(place, 0), earlier.generation if earlier else 0) + 1
        left = {place: request for place, request in left.items() if place not in settled}
    return [settled[place] for place in range(len(requests))]


async def recall(database: Database, *, tenant: UUID, requests: Sequence[Keyed]) -> list[Accepted | KeyReused | None]:
    """The answers that keys already have; None where there is none. For requests that were refused before `accept`."""
    known = await _remembered(database, tenant, [request.key for request in requests])
    answers = ((request, known.get(request.key)) for request in requests)
    return [
        _answer(tenant, request, earlier) if earlier and not earlier.expired else None for request, earlier in answers
    ]


def _final(verdict: Verdict, request: RequestAsked) -> bool:
    """Whether no earlier answer can stand against this one: a repeated request is answered before it is refused."""
    return isinstance(verdict, Accepted) or request.idempotency_key is None


async def _try(
    database: Database, tenant: UUID, requests: Mapping[int, RequestAsked], generations: Mapping[int, int]
) -> dict[int, Verdict]:
    ids_of = {place: _identify(tenant, request, generations.get(place, 0)) for place, request in requests.items()}
    parts = [
        row
        for place, request in requests.items()
        for row in _rows(place, request, ids_of[place], generations.get(place, 0))
    ]
    values = {"tenant": tenant, "parts": orjson.dumps(parts).decode()}
    async with database.transaction(tenant) as connection:
        cursor = await connection.execute(_ACCEPT, values, prepare=True)
    # Asked for only now: the pipeline carried statement and commit in one round trip.
    return _verdicts(await cursor.fetchall(), ids_of)


def _verdicts(answers: Sequence[tuple[int, str, str | None, bool]], ids_of: "Mapping[int, _Ids]") -> dict[int, Verdict]:
    # Without a row there is no such tenant, so far as the role may see.
    verdicts: dict[int, Verdict] = dict.fromkeys(ids_of, Refused(TENANT_CLOSED))
    verdicts |= {
        place: Accepted(ids_of[place].message, ids_of[place].fallback) if stored else Refused(KEY_USED)
        for place, part, _, stored in answers
        if part == Part.PRIMARY
    }
    return verdicts | {
        place: Refused(problem, Part(part)) for place, part, problem, _ in answers if problem is not None
    }


@dataclass(frozen=True, slots=True)
class _Ids:
    request: UUID
    message: UUID
    fallback: UUID | None


def _identify(tenant: UUID, request: RequestAsked, generation: int) -> _Ids:
    key = request.idempotency_key
    source = uuid4() if key is None else ids.request_id(tenant=tenant, idempotency_key=key, generation=generation)
    return _ids_of(tenant, source, has_fallback=len(request.parts) > 1)


def _ids_of(tenant: UUID, source: UUID, *, has_fallback: bool) -> _Ids:
    primary = ids.message_id(tenant=tenant, source_id=source, part=Part.PRIMARY)
    fallback = ids.message_id(tenant=tenant, source_id=source, part=Part.FALLBACK) if has_fallback else None
    return _Ids(source, primary, fallback)


def _rows(place: int, request: RequestAsked, known: _Ids, generation: int) -> Iterable[dict[str, Any]]:
    shared = {
        "place": place,
        "request_id": known.request,
        "generation": generation,
        "key": request.idempotency_key,
        "body_hash": request.body_hash.hex(),
        "mode": request.mode,
        "class": request.message_class,
        "tags": request.tags or None,
        "metadata": orjson.Fragment(request.metadata) if request.metadata else None,
        "unknown_policy": request.unknown_policy,
        "send_at": request.send_at,
        "expires_in": request.expires_in.total_seconds(),
    }
    after = request.fallback_after
    for part in request.parts:
        if part.part is Part.PRIMARY:
            own = {"id": known.message, "fallback_after": after.total_seconds() if after else None}
        else:
            own = {"id": known.fallback, "primary_id": known.message}
        yield {**shared, **own, **_columns(part)}


def _columns(part: PartAsked) -> dict[str, Any]:
    return {
        "part": part.part,
        "channel": part.channel,
        "contact_id": part.contact_id,
        "address": part.address,
        "sender_id": part.sender_id,
        "template_id": part.template_id,
        "version": part.template_version,
        "pinned": part.template_pinned,
        "payload": orjson.Fragment(part.payload),
    }


async def _remembered(
    database: Database, tenant: UUID, keys: Sequence[str | None]
) -> dict[str | None, RememberedRequest]:
    wanted = [key for key in keys if key is not None]
    if not wanted:
        return {}
    async with database.transaction(tenant) as connection:
        cursor = await ask_remembered(connection, tenant=tenant, keys=wanted)
    return {request.idempotency_key: request for request in await cursor.fetchall()}


def _keyed(request: RequestAsked) -> Keyed:
    return Keyed(request.idempotency_key or "", request.body_hash, has_fallback=len(request.parts) > 1)


def _answer(tenant: UUID, request: Keyed, earlier: RememberedRequest) -> Accepted | KeyReused:
    if earlier.body_hash != request.body_hash:
        return KeyReused()
    known = _ids_of(tenant, earlier.id, has_fallback=request.has_fallback)
    return Accepted(known.message, known.fallback, replayed=True)
