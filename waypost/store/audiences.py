"""From what a campaign says of its audience to SQL that can stand in a larger statement."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql

from waypost.messaging import ids
from waypost.segments.references import MAX_EXPANDED, expanded_size, segment_keys
from waypost.segments.rules import Rule, SegmentRule, read_rule
from waypost.store.errors import StoreError
from waypost.store.segment_sql import RuleCompiler

Connection = AsyncConnection[Any]
Query = sql.Composed
"""SQL that can stand in a larger statement."""


class AudienceError(StoreError):
    """An audience names a segment or list that is not there, or one that is too large."""


_ALL = "SELECT c.id FROM contacts c WHERE c.tenant_id = {}"

# Without the contacts: the foreign key says that members are there, of the same tenant.
_LIST = "SELECT x.contact_id FROM list_members x WHERE x.tenant_id = {} AND x.list_id = {}"

_LIST_EXISTS = "SELECT id FROM lists WHERE tenant_id = %s AND id = %s"

_SEGMENTS = "SELECT key, rule FROM segments WHERE tenant_id = %s AND key = ANY(%s)"


async def audience_query(connection: Connection, *, tenant: UUID, audience: Mapping[str, Any]) -> sql.Composed:
    """A SELECT of the ids of the contacts in an audience, each once; run what it stands in without parameters.

    The audience is one of {"all": true}, {"list": key}, {"segment": key}, {"rule": rule}. Any role but a tenant's can
    run it: the tenant is named in every scan. Raises `AudienceError`, or pydantic's ValidationError for a rule that is
    none.
    """
    ((kind, said),) = ((kind, said) for kind, said in audience.items() if said is not None)
    match kind:
        case "all":
            return sql.SQL(_ALL).format(sql.Literal(tenant))
        case "list":
            row = ids.list_id(tenant=tenant, key=said)
            if await (await connection.execute(_LIST_EXISTS, (tenant, row))).fetchone() is None:
                raise AudienceError(f"There is no list {said}.", code="unknown_list", field="audience.list")
            return sql.SQL(_LIST).format(sql.Literal(tenant), sql.Literal(row))
        case "segment":
            rule: Rule = SegmentRule(kind="segment", key=said)
        case "rule":
            rule = read_rule(said)
        case _:
            raise ValueError(f"an audience has no {kind}")
    return (await compiler_of(connection, tenant=tenant, rule=rule)).contact_ids(rule)


async def compiler_of(connection: Connection, *, tenant: UUID, rule: Rule) -> RuleCompiler:
    """What compiles a rule, with the segments that it refers to. Raises `AudienceError`."""
    segments = await referred_segments(connection, tenant=tenant, rule=rule)
    if expanded_size(rule, segments) > MAX_EXPANDED:
        raise AudienceError(
            f"With the segments that it refers to, the rule has more than {MAX_EXPANDED} rules in it.",
            code="segment_too_large",
            field="rule",
        )
    return RuleCompiler(tenant=tenant, segments=segments)


async def referred_segments(connection: Connection, *, tenant: UUID, rule: Rule) -> dict[str, Rule]:
    """The segments that a rule refers to, directly or not. Raises `AudienceError` for one that is not there."""
    found: dict[str, Rule] = {}
    wanted = segment_keys(rule)
    while wanted:
        rows = await (await connection.execute(_SEGMENTS, (tenant, sorted(wanted)))).fetchall()
        found |= {key: read_rule(said) for key, said in rows}
        missing = wanted - found.keys()
        if missing:
            raise AudienceError(f"There is no segment {min(missing)}.", code="unknown_segment", field="rule")
        wanted = frozenset().union(*(segment_keys(found[key]) for key in wanted)) - found.keys()
    return found
