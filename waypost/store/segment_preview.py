"""Looking at a rule before it is used: how many, who for instance, and why somebody. Role waypost_segments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import sql
from psycopg.errors import QueryCanceled

from waypost.messaging import ids
from waypost.segments.evaluate import Explanation, explain
from waypost.segments.rules import Leaf, Rule, SegmentRule, children
from waypost.store.audiences import compiler_of
from waypost.store.database import Connection, Database
from waypost.store.errors import NotFoundError, StoreError
from waypost.store.segment_sql import RuleCompiler

SAMPLE = 10


class CostlyRuleError(StoreError):
    """A rule that is not looked at because it would hold the database up."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="segment_too_costly", field="rule")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """How many contacts a rule has, the external ids of some, and what PostgreSQL thinks that counting costs."""

    count: int
    sample: Sequence[str]
    cost: float


_SAMPLE = "SELECT c.external_id FROM contacts c WHERE c.tenant_id = {} AND {} ORDER BY c.id LIMIT {}"


async def preview(database: Database, *, tenant: UUID, rule: Rule, max_cost: float) -> Preview:
    """Count a rule's contacts. Raises `CostlyRuleError`, or `AudienceError` for a segment that is not there."""
    try:
        async with database.transaction() as connection:
            compiler = await compiler_of(connection, tenant=tenant, rule=rule)
            condition = compiler.condition(rule)
            counting = sql.SQL("SELECT count(*) FROM contacts c WHERE c.tenant_id = {} AND {}").format(
                sql.Literal(tenant), condition
            )
            cost = await _cost(connection, counting)
            if cost > max_cost:
                raise CostlyRuleError(
                    f"Counting this rule would cost {cost:,.0f} of PostgreSQL's units; {max_cost:,.0f} is the bound "
                    "(WAYPOST_SEGMENT_MAX_COST). Narrow it by an equality, a list or a shorter period."
                )
            counted = await (await connection.execute(counting)).fetchone()
            sampling = sql.SQL(_SAMPLE).format(sql.Literal(tenant), condition, sql.Literal(SAMPLE))
            sample = await (await connection.execute(sampling)).fetchall()
    except QueryCanceled:
        raise CostlyRuleError(
            "Counting this rule took longer than a statement may. Narrow it by an equality, a list or a shorter period."
        ) from None
    assert counted is not None
    return Preview(count=counted[0], sample=[row[0] for row in sample], cost=cost)


async def _cost(connection: Connection, statement: sql.Composed) -> float:
    row = await (await connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(statement))).fetchone()
    assert row is not None
    return float(row[0][0]["Plan"]["Total Cost"])


async def explain_membership(database: Database, *, tenant: UUID, key: str, external_id: str) -> Explanation:
    """Whether a contact is in a segment, rule by rule, as PostgreSQL decides it. Raises `NotFoundError`."""
    rule = SegmentRule(kind="segment", key=key)
    async with database.transaction() as connection:
        compiler = await compiler_of(connection, tenant=tenant, rule=rule)
        # By identity: rules of 1 and of true are equal to Python.
        leaves = list({id(leaf): leaf for leaf in _leaves(rule, compiler)}.values())
        statement = sql.SQL("SELECT ARRAY[{}]::boolean[] FROM contacts c WHERE c.tenant_id = {} AND c.id = {}").format(
            sql.SQL(", ").join([compiler.condition(leaf) for leaf in leaves]),
            sql.Literal(tenant),
            sql.Literal(ids.contact_id(tenant=tenant, external_id=external_id)),
        )
        row = await (await connection.execute(statement)).fetchone()
    if row is None:
        raise NotFoundError("contact")
    verdicts = {id(leaf): verdict for leaf, verdict in zip(leaves, row[0], strict=True)}
    return explain(rule, lambda leaf: verdicts[id(leaf)], segments=compiler.segments).parts[0]


def _leaves(rule: Rule, compiler: RuleCompiler) -> Iterator[Leaf]:
    if isinstance(rule, SegmentRule):
        yield from _leaves(compiler.segments[rule.key], compiler)
    elif below := children(rule):
        for one in below:
            yield from _leaves(one, compiler)
    else:
        yield rule  # type: ignore[misc]  # what has no rules below it and is no segment looks at the contact
