"""Rules as SQL: conditions on a contact, none of them ever null, each scan naming the tenant.

Everything a rule says is a literal in the statement (psycopg quotes it), so that a condition can stand in any other
statement; run such a statement without parameters, or a % in a literal would be taken for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from waypost.messaging import ids
from waypost.segments.rules import (
    AllOf,
    AnyOf,
    AttributeRule,
    ConsentRule,
    EventRule,
    FieldRule,
    ListRule,
    MessageRule,
    Not,
    Rule,
    SegmentRule,
    TopicRule,
)
from waypost.store.segment_values import InJson, Operand, TextColumn, TimeColumn, compile_comparison, within

CONTACT = sql.SQL("c")
"""The alias of `contacts` that conditions speak of."""

_ATTRIBUTES = sql.SQL("c.attributes")
_CREATED_AT = sql.SQL("c.created_at")
_FIELDS = {name: sql.SQL(f"c.{name}") for name in ("email", "phone", "locale", "time_zone", "external_id")}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCompiler:
    """Compiles rules of one tenant. `segments` has every segment that the rules refer to, directly or not."""

    tenant: UUID
    segments: Mapping[str, Rule]

    def condition(self, rule: Rule) -> sql.Composable:
        """The rule as a condition on `contacts c`. Raises KeyError for a segment that is not among `segments`."""
        match rule:
            case AllOf():
                return self._joined(" AND ", rule.rules)
            case AnyOf():
                return self._joined(" OR ", rule.rules)
            case Not():
                return sql.SQL("(NOT {})").format(self.condition(rule.rule))
            case SegmentRule():
                return self.condition(self.segments[rule.key])
            case AttributeRule():
                return _grouped(compile_comparison(InJson(_ATTRIBUTES, rule.name.split(".")), rule.is_))
            case FieldRule():
                return _grouped(compile_comparison(_field(rule.name), rule.is_))
            case ConsentRule():
                return _consent(rule)
            case ListRule():
                return self._list(rule)
            case TopicRule():
                return self._topic(rule)
            case EventRule():
                return self._event(rule)
            case MessageRule():
                return self._message(rule)
            case _:
                assert_never(rule)

    def contact_ids(self, rule: Rule) -> sql.Composed:
        """A SELECT of the ids of the tenant's contacts for whom the rule holds."""
        return sql.SQL("SELECT c.id FROM contacts c WHERE c.tenant_id = {} AND {}").format(
            self._tenant, self.condition(rule)
        )

    @property
    def _tenant(self) -> sql.Literal:
        return sql.Literal(self.tenant)

    def _joined(self, operator: str, rules: tuple[Rule, ...]) -> sql.Composable:
        return _grouped(sql.SQL(operator).join([self.condition(rule) for rule in rules]))

    def _list(self, rule: ListRule) -> sql.Composed:
        return sql.SQL(
            "EXISTS (SELECT FROM list_members x WHERE x.tenant_id = {} AND x.list_id = {} AND x.contact_id = c.id)"
        ).format(self._tenant, sql.Literal(ids.list_id(tenant=self.tenant, key=rule.key)))

    def _topic(self, rule: TopicRule) -> sql.Composed:
        asked = rule.is_ != "unknown"
        return sql.SQL(
            "{} (SELECT FROM topic_subscriptions x"
            " WHERE x.tenant_id = {} AND x.topic_id = {} AND x.contact_id = c.id{})"
        ).format(
            sql.SQL("EXISTS" if asked else "NOT EXISTS"),
            self._tenant,
            sql.Literal(ids.topic_id(tenant=self.tenant, key=rule.key)),
            sql.SQL(" AND x.state = {}").format(sql.Literal(rule.is_)) if asked else sql.SQL(""),
        )

    def _event(self, rule: EventRule) -> sql.Composed:
        found: list[sql.Composable] = [sql.SQL("x.tenant_id = {} AND x.contact_id = c.id").format(self._tenant)]
        found.append(sql.SQL("x.name = {}").format(sql.Literal(rule.name)))
        if rule.within is not None:
            found.append(within(sql.SQL("x.occurred_at"), rule.within, ahead=False))
        properties = sql.SQL("x.properties")
        for each in rule.where:
            found.append(_grouped(compile_comparison(InJson(properties, each.property.split(".")), each.is_)))
        return _counted(sql.SQL("FROM contact_events x WHERE {}").format(sql.SQL(" AND ").join(found)), rule)

    def _message(self, rule: MessageRule) -> sql.Composed:
        found = [sql.SQL("x.tenant_id = {} AND x.contact_id = c.id").format(self._tenant), _HAPPENED[rule.event]]
        if rule.within is not None:
            found.append(within(sql.SQL("x.outcome_at"), rule.within, ahead=False))
        if rule.template is not None:
            template = ids.template_id(tenant=self.tenant, key=rule.template)
            found.append(sql.SQL("x.template_id = {}").format(sql.Literal(template)))
        if rule.campaign is not None:
            found.append(
                sql.SQL(
                    "x.run_id IN (SELECT r.id FROM campaigns k JOIN campaign_runs r ON r.tenant_id = k.tenant_id"
                    " AND r.campaign_id = k.id WHERE k.tenant_id = {} AND k.key = {})"
                ).format(self._tenant, sql.Literal(rule.campaign))
            )
        return sql.SQL("EXISTS (SELECT FROM messages x WHERE {})").format(sql.SQL(" AND ").join(found))


_HAPPENED = {
    # A message that was perhaps sent counts: who asks wants to know whom not to write to again.
    "sent": sql.SQL("x.outcome IN ('sent', 'maybe_sent')"),
    "delivered": sql.SQL("x.delivery IN ('delivered', 'opened', 'clicked')"),
    "opened": sql.SQL("x.delivery IN ('opened', 'clicked')"),
    "clicked": sql.SQL("x.delivery = 'clicked'"),
    "bounced": sql.SQL("x.bounced"),
}


def _grouped(condition: sql.Composable) -> sql.Composed:
    return sql.SQL("({})").format(condition)


def _field(name: str) -> Operand:
    return TimeColumn(_CREATED_AT) if name == "created_at" else TextColumn(_FIELDS[name])


def _consent(rule: ConsentRule) -> sql.Composed:
    said = sql.SQL("c.consent @> {}").format
    given = said(sql.Literal(Jsonb({rule.channel.value: True})))
    refused = said(sql.Literal(Jsonb({rule.channel.value: False})))
    match rule.is_:
        case "given":
            return _grouped(given)
        case "refused":
            return _grouped(refused)
        case "unknown":
            return sql.SQL("(NOT {} AND NOT {})").format(_grouped(given), _grouped(refused))
        case _:
            assert_never(rule.is_)


def _counted(found: sql.Composed, rule: EventRule) -> sql.Composed:
    """Counting stops at the bound that decides."""
    if rule.at_most is None and rule.least == 1:
        return sql.SQL("EXISTS (SELECT {})").format(found)
    if rule.at_most == 0:
        return sql.SQL("NOT EXISTS (SELECT {})").format(found)
    most = rule.least if rule.at_most is None else rule.at_most + 1
    count = sql.SQL("(SELECT count(*) FROM (SELECT {} LIMIT {}) n)").format(found, sql.Literal(most))
    if rule.at_most is None:
        return sql.SQL("({} >= {})").format(count, sql.Literal(rule.least))
    return sql.SQL("({} BETWEEN {} AND {})").format(count, sql.Literal(rule.least), sql.Literal(rule.at_most))
