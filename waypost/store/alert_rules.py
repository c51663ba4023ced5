"""The alert rules: what is wrong now, as (subject, evidence), and what to do about it.

Evidence holds ids, codes and counts, never an address. docs/alerts.md has a section on each rule.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import LiteralString

from waypost.messaging.values import Lane


class Rule(StrEnum):
    """What is watched."""

    FEED_SILENT = "feed_silent"
    UNKNOWN_OLD = "unknown_old"
    DUP_ACCEPT = "dup_accept"
    LATE_ACCEPTANCE = "late_acceptance"
    EVENTS_UNUSABLE = "events_unusable"
    EVENTS_BEHIND = "events_behind"
    DISPATCHER_STALLED = "dispatcher_stalled"
    ACCOUNT_PAUSED = "account_paused"
    CAMPAIGN_EXPIRING = "campaign_expiring"
    OLDEST_AGE = "oldest_age"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long each thing may last before it is somebody's business."""

    margin: timedelta = timedelta(seconds=120)
    silence: timedelta = timedelta(seconds=60)
    behind: timedelta = timedelta(seconds=30)
    stalled: timedelta = timedelta(seconds=30)
    fast_age: timedelta = timedelta(seconds=60)
    bulk_age: timedelta = timedelta(minutes=15)
    expiring: timedelta = timedelta(hours=1)
    kept: timedelta = timedelta(days=1)
    """How long something that happened once (a duplicate) stays an alert."""

    @classmethod
    def of_margin(cls, margin: timedelta) -> "Bounds":
        """A feed is silent at half the time after which its silence would have to prove something."""
        return cls(margin=margin, silence=margin / 2)

    def age(self, lane: Lane) -> timedelta:
        """How long a due message of a lane may wait."""
        return self.fast_age if lane is Lane.FAST else self.bulk_age

    def values(self) -> dict[str, timedelta]:
        """By name, for the queries."""
        return asdict(self)


# Accepted attempts whose events should have come, and none of the account came since; or nobody reads its queue.
_FEED_SILENT = """
SELECT a.id::text, jsonb_build_object(
    'account_id', a.id, 'feed', a.feed, 'without_event', w.count, 'oldest_claimed_at', w.oldest,
    'last_event_at', f.last_event_at, 'last_polled_at', f.last_polled_at, 'last_error', f.last_error)
FROM provider_accounts a
LEFT JOIN feeds f ON f.account_id = a.id
CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(claimed_at) AS oldest FROM (
        SELECT claimed_at FROM attempts
        WHERE account_id = a.id AND state = 'accepted' AND send_event_at IS NULL
          AND claimed_at BETWEEN waypost_now() - interval '1 day' AND waypost_now() - %(silence)s
          AND claimed_at > COALESCE(f.last_event_at, '-infinity')
        LIMIT 1000) missing) w
WHERE w.count > 0
   OR (a.queue_url IS NOT NULL AND COALESCE(f.last_polled_at, a.created_at) < waypost_now() - %(silence)s
       AND EXISTS (SELECT FROM attempts u
                   WHERE u.account_id = a.id AND u.state IN ('in_flight', 'unknown', 'abandoned')))
"""

# In flight for longer than any call may last is unknown too: whoever made the call died, and was not missed yet.
_UNKNOWN_OLD = """
SELECT account_id::text, jsonb_build_object(
    'account_id', account_id, 'count', count(*), 'oldest_claimed_at', min(claimed_at),
    'attempt_ids', (array_agg(id ORDER BY claimed_at))[1:10])
FROM attempts
WHERE state IN ('in_flight', 'unknown', 'abandoned') AND state <> 'abandoned'
  AND claimed_at < waypost_now() - %(margin)s
GROUP BY account_id
"""

_DUP_ACCEPT = """
SELECT tenant_id::text, jsonb_build_object(
    'tenant_id', tenant_id, 'count', count(*), 'message_ids', (array_agg(message_id ORDER BY claimed_at DESC))[1:10])
FROM attempts
WHERE (dup_accept OR resolution = 'late_acceptance') AND dup_accept AND resolved_at > waypost_now() - %(kept)s
GROUP BY tenant_id
"""

# Held to be not sent, and sent after all: of a message that had another outcome, or that a proof had let go on.
_LATE_ACCEPTANCE = """
SELECT tenant_id::text, jsonb_build_object(
    'tenant_id', tenant_id, 'count', count(*), 'message_ids', (array_agg(message_id ORDER BY claimed_at DESC))[1:10])
FROM attempts
WHERE (dup_accept OR resolution = 'late_acceptance') AND NOT dup_accept AND resolved_at > waypost_now() - %(kept)s
GROUP BY tenant_id
"""

_EVENTS_UNUSABLE = """
SELECT account_id::text, jsonb_build_object(
    'account_id', account_id, 'count', count(*), 'event_ids', (array_agg(id ORDER BY id DESC))[1:10],
    'codes', array_agg(DISTINCT COALESCE(apply_error, code)))
FROM provider_events
WHERE (kind = 'unparsable' OR apply_error IS NOT NULL) AND received_at > waypost_now() - %(kept)s
GROUP BY account_id
"""

_EVENTS_BEHIND = """
SELECT 'ingest', jsonb_build_object('oldest_received_at', received_at) FROM (
    SELECT received_at FROM provider_events WHERE applied_at IS NULL AND apply_error IS NULL ORDER BY id LIMIT 1) oldest
WHERE received_at < waypost_now() - %(behind)s
"""

_ACCOUNT_PAUSED = """
SELECT id::text, jsonb_build_object('account_id', id, 'reason', pause_reason, 'paused_at', paused_at,
                                    'resume_at', resume_at)
FROM provider_accounts WHERE state = 'paused'
"""

# A run stands still, and who is due in it will expire. The first due one of each shard speaks for it: looking for the
# very first to expire would read through the whole of a paused run.
_CAMPAIGN_EXPIRING = """
SELECT r.id::text, jsonb_build_object(
    'tenant_id', r.tenant_id, 'campaign_id', r.campaign_id, 'run_id', r.id, 'reason', r.state_reason,
    'first_expires_at', f.expires_at)
FROM campaign_runs r
CROSS JOIN LATERAL (
    SELECT min(d.expires_at) AS expires_at
    FROM generate_series(0, r.shards - 1) AS s (shard) CROSS JOIN generate_series(0, r.open_cohort) AS c (cohort)
    CROSS JOIN LATERAL (
        SELECT expires_at FROM messages m
        WHERE m.run_id = r.id AND m.shard = s.shard AND m.cohort = c.cohort
          AND m.phase <> 'closed' AND m.phase = 'ready' AND m.due_at <= waypost_now()
        ORDER BY m.due_at LIMIT 1) d) f
WHERE r.state IN ('scheduled', 'preparing', 'sending', 'paused') AND r.state = 'paused'
  AND f.expires_at < waypost_now() + %(expiring)s
"""

QUERIES: Mapping[Rule, LiteralString] = {
    Rule.FEED_SILENT: _FEED_SILENT,
    Rule.UNKNOWN_OLD: _UNKNOWN_OLD,
    Rule.DUP_ACCEPT: _DUP_ACCEPT,
    Rule.LATE_ACCEPTANCE: _LATE_ACCEPTANCE,
    Rule.EVENTS_UNUSABLE: _EVENTS_UNUSABLE,
    Rule.EVENTS_BEHIND: _EVENTS_BEHIND,
    Rule.ACCOUNT_PAUSED: _ACCOUNT_PAUSED,
    Rule.CAMPAIGN_EXPIRING: _CAMPAIGN_EXPIRING,
}
"""The rules that are a query each; those of lanes are decided from `alerts.lanes`."""

ADVICE: Mapping[Rule, str] = {
    Rule.FEED_SILENT: "Events of accepted messages do not come. Check that ingest runs and reads this account's queue, "
    "that the configuration set publishes to the topic, and the topic's subscription: `waypost accounts check ID`. "
    "Nothing unknown is sent again meanwhile.",
    Rule.UNKNOWN_OLD: "Attempts whose result nobody knows are older than the margin. Nothing to do while their feed "
    "recovers; at the horizon they end as maybe_sent. Look at the feed's alert and at the provider's status page.",
    Rule.DUP_ACCEPT: "A message was accepted twice: an attempt that was held to be not sent was accepted after all. "
    "Look at each message's attempts; raise WAYPOST_UNKNOWN_MARGIN_S if the provider's events came late.",
    Rule.LATE_ACCEPTANCE: "An attempt that was held to be not sent was accepted after all; nothing was sent twice. "
    "Look at each message's attempts; raise WAYPOST_UNKNOWN_MARGIN_S if the provider's events came late.",
    Rule.EVENTS_UNUSABLE: "Events came that could not be read or applied; they are kept in provider_events. While one "
    "is younger than an account's unknown attempts, nothing proves their absence. Report the code with the raw event.",
    Rule.EVENTS_BEHIND: "Stored events are not being applied, so statuses lag. Check that ingest runs, and its log.",
    Rule.DISPATCHER_STALLED: "Due messages are not started although the window has room. Check that a worker of this "
    "lane runs and that Temporal answers; the rows are safe.",
    Rule.ACCOUNT_PAUSED: "The account takes no messages; its rows wait. The reason says why: quota (wait), credentials "
    "(renew them), sending paused (ask the provider). It resumes by itself where resume_at is set.",
    Rule.CAMPAIGN_EXPIRING: "A campaign stands paused while recipients are due who expire within the hour: they "
    "will end as expired and never get it. Resume it, approve it where it waits for that, or cancel it.",
    Rule.OLDEST_AGE: "The oldest due message of this lane waits for longer than it should. Compare the account's rate "
    "with what is being sent, the tenant's window, and the number of workers.",
}
