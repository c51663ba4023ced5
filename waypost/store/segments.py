"""Segments as a tenant keeps them: rules that refer to one another and never in a circle. Nothing here commits."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import case, column, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.segments.references import (
    MAX_EXPANDED,
    expanded_size,
    find_cycle,
    list_keys,
    segment_keys,
    topic_keys,
)
from waypost.segments.rules import Rule, read_rule, write_rule
from waypost.store.campaign_tables import ListRow, SegmentRow, TopicRow
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError, StoreError
from waypost.store.journey_tables import JourneyRow
from waypost.store.pages import Page, Place, fetch_page


class RuleError(StoreError):
    """A rule that can be read but not used: what it refers to is not there, or refers back to it."""


# What a rule may refer to is decided by reading: writers of one tenant's rules go one after the other.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('segments', 0) # hashtextextended(:tenant, 1))")


async def put_segment(session: AsyncSession, tenant: UUID, key: str, *, name: str, rule: Rule) -> SegmentRow:
    """Make or replace a segment; its version counts the rules it had. Raises `RuleError`."""
    await (await session.connection()).execute(_LOCK, {"tenant": str(tenant)})
    await _check(session, tenant, key, rule)
    row = SegmentRow
    given = insert(row).values(
        tenant_id=tenant, id=ids.segment_id(tenant=tenant, key=key), key=key, name=name, rule=write_rule(rule)
    )
    # PostgreSQL compares the rules: to Python, 1 and true are the same.
    changed = case((col(row.rule).is_distinct_from(given.excluded.rule), 1), else_=0)
    new = {"name": name, "rule": given.excluded.rule, "version": col(row.version) + changed, "updated_at": NOW}
    await session.exec(given.on_conflict_do_update(index_elements=["tenant_id", "key"], set_=new))
    await _have_journeys_look(session, tenant)
    return await get_segment(session, tenant, key)


async def _have_journeys_look(session: AsyncSession, tenant: UUID) -> None:
    """Who comes to be in a segment by its new rule enters the journeys that begin with it soon, not at their next look.

    All journeys by segment are looked at: which rules refer to this one changes as well.
    """
    row = JourneyRow
    waiting = (col(row.tenant_id) == tenant, col(row.entry_kind) == "segment", col(row.next_entry_at).is_not(None))
    await session.exec(update(row).where(*waiting).values(next_entry_at=NOW))


async def get_segment(session: AsyncSession, tenant: UUID, key: str) -> SegmentRow:
    """One segment. Raises `NotFoundError`."""
    query = select(SegmentRow).where(col(SegmentRow.tenant_id) == tenant, col(SegmentRow.key) == key)
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError("segment")
    return row


async def list_segments(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[SegmentRow]:
    """A tenant's segments in the order they were made."""
    query = select(SegmentRow).where(col(SegmentRow.tenant_id) == tenant)
    return await fetch_page(session, query, SegmentRow, after=after, limit=limit)


async def delete_segment(session: AsyncSession, tenant: UUID, key: str) -> None:
    """Forget a segment. Raises `NotFoundError`, or `ConflictError` while something else refers to it."""
    row = await get_segment(session, tenant, key)
    await refuse_while_referred(session, tenant, kind="segment", key=key)
    await session.delete(row)


_REFERRING = text(
    "SELECT key FROM segments WHERE tenant_id = :tenant AND jsonb_path_exists(rule,"
    " '$.** ? (@.kind == $kind && @.key == $key)',"
    " jsonb_build_object('kind', CAST(:kind AS text), 'key', CAST(:key AS text))) ORDER BY key LIMIT 1"
).columns(column("key"))


# What a campaign is sent to is compiled when a run of it is prepared: until then, and before each further run.
_CAMPAIGNS = text(
    "SELECT c.key FROM campaigns c WHERE c.tenant_id = :tenant"
    " AND (c.state = 'draft' OR c.next_at IS NOT NULL OR EXISTS (SELECT FROM campaign_runs r"
    "      WHERE r.tenant_id = c.tenant_id AND r.campaign_id = c.id AND r.shards IS NULL"
    "      AND r.state NOT IN ('completed', 'cancelled')))"
    " AND (c.definition -> 'audience' ->> :kind = :key OR c.definition -> 'exclude' ->> :kind = :key"
    "      OR jsonb_path_exists("
    "          jsonb_build_array(c.definition -> 'audience' -> 'rule', c.definition -> 'exclude' -> 'rule'),"
    "          '$.** ? (@.kind == $kind && @.key == $key)',"
    "          jsonb_build_object('kind', CAST(:kind AS text), 'key', CAST(:key AS text))))"
    " ORDER BY c.key LIMIT :most"
).columns(column("key"))
# People may go on in any version that somebody is in, and enter the one published last.
_JOURNEYS = text(
    "SELECT j.key FROM journeys j WHERE j.tenant_id = :tenant AND EXISTS (SELECT FROM journey_versions v"
    "    WHERE v.tenant_id = j.tenant_id AND v.journey_id = j.id"
    "    AND ((j.state IN ('active', 'paused') AND v.number IN (j.version, j.entering)) OR EXISTS ("
    "        SELECT FROM enrollments e WHERE e.tenant_id = v.tenant_id AND e.version_id = v.id AND e.state = 'open'))"
    "    AND (v.definition -> 'entry' ->> :kind = :key"
    "        OR EXISTS (SELECT FROM jsonb_each(v.definition -> 'steps') s WHERE s.value ->> :kind = :key)"
    "        OR jsonb_path_exists(v.definition, '$.** ? (@.kind == $kind && @.key == $key)',"
    "            jsonb_build_object('kind', CAST(:kind AS text), 'key', CAST(:key AS text)))))"
    " ORDER BY j.key LIMIT :most"
).columns(column("key"))
_NAMED = 5
"""An answer names so many of them; of more it says so."""


async def refuse_while_referred(session: AsyncSession, tenant: UUID, *, kind: str, key: str) -> None:
    """Raises `ConflictError` while this list, topic or segment is named by a segment's rule, by a campaign's audience
    or exclusion that is still to be looked up, or by a journey that people enter or are in.

    Until the transaction ends no segment's rule is changed, so that what is deleted in it is not referred to meanwhile.
    """
    connection = await session.connection()
    await connection.execute(_LOCK, {"tenant": str(tenant)})
    values = {"tenant": tenant, "kind": kind, "key": key}
    found = (await connection.execute(_REFERRING, values)).scalar_one_or_none()
    if found is not None:
        raise ConflictError(
            f"The segment {found} refers to this {kind}: change or delete that one first.", code="referred_to"
        )
    campaigns = (await connection.execute(_CAMPAIGNS, values | {"most": _NAMED + 1})).scalars().all()
    if campaigns:
        raise ConflictError(_sent_to(kind, campaigns), code="referred_to")
    journeys = (await connection.execute(_JOURNEYS, values | {"most": _NAMED + 1})).scalars().all()
    if journeys:
        advice = "Publish them without it, and wait until nobody is in an older version; or archive them."
        raise ConflictError(f"Journeys use this {kind}: {_some(journeys)}. {advice}", code="referred_to")


def _sent_to(kind: str, campaigns: Sequence[str]) -> str:
    return (
        f"Campaigns that have yet to begin use this {kind}: {_some(campaigns)}. Give a draft another audience first, "
        "and cancel one that is scheduled or recurs."
    )


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (" and others" if len(keys) > _NAMED else "")


async def check_rule(session: AsyncSession, tenant: UUID, rule: Rule) -> None:
    """Raises `RuleError` where a rule speaks of a segment, list or topic that is not there."""
    await _check(session, tenant, None, rule)


async def _check(session: AsyncSession, tenant: UUID, key: str | None, rule: Rule) -> None:
    rules = await _rules_below(session, tenant, rule)
    if key is not None:
        rules[key] = rule
        cycle = find_cycle(key, rules)
        if cycle is not None:
            raise RuleError(
                f"The rule refers back to this segment: {' → '.join(cycle)}.", code="segment_cycle", field="rule"
            )
    if expanded_size(rule, rules) > MAX_EXPANDED:
        raise RuleError(
            f"With the segments that it refers to, the rule has more than {MAX_EXPANDED} rules in it.",
            code="segment_too_large",
            field="rule",
        )
    await _check_keys(session, tenant, ListRow, list_keys(rule), "list")
    await _check_keys(session, tenant, TopicRow, topic_keys(rule), "topic")


async def _rules_below(session: AsyncSession, tenant: UUID, rule: Rule) -> dict[str, Rule]:
    """The segments that a rule refers to, directly or not."""
    found: dict[str, Rule] = {}
    wanted = segment_keys(rule)
    while wanted:
        query = select(SegmentRow).where(col(SegmentRow.tenant_id) == tenant, col(SegmentRow.key).in_(sorted(wanted)))
        found |= {row.key: read_rule(row.rule) for row in (await session.exec(query)).all()}
        if wanted - found.keys():
            raise _unknown("segment", wanted - found.keys())
        wanted = frozenset[str]().union(*(segment_keys(found[each]) for each in wanted)) - found.keys()
    return found


async def _check_keys(
    session: AsyncSession, tenant: UUID, table: type[ListRow] | type[TopicRow], keys: frozenset[str], what: str
) -> None:
    if not keys:
        return
    query = select(table.key).where(col(table.tenant_id) == tenant, col(table.key).in_(sorted(keys)))
    missing = keys - set((await session.exec(query)).all())
    if missing:
        raise _unknown(what, missing)


def _unknown(what: str, keys: Sequence[str] | frozenset[str]) -> RuleError:
    return RuleError(f"There is no {what} {min(keys)}.", code=f"unknown_{what}", field="rule")
