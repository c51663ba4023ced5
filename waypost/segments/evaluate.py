"""The reference: whether a rule holds of a person, and why. What PostgreSQL says must be the same, member by member."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from waypost.messaging.values import Delivery, Outcome
from waypost.segments.comparing import holds, value_at
from waypost.segments.people import Deed, PastMessage, Person
from waypost.segments.rules import (
    AllOf,
    AnyOf,
    AttributeRule,
    ConsentRule,
    EventRule,
    FieldRule,
    Leaf,
    ListRule,
    MessageRule,
    Not,
    Rule,
    SegmentRule,
    TopicRule,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A rule, whether it holds, and the same of each rule within it. A segment's is its rule."""

    rule: Rule
    holds: bool
    parts: tuple["Explanation", ...] = ()


def evaluate(rule: Rule, person: Person, *, now: datetime, segments: Mapping[str, Rule] | None = None) -> bool:
    """Whether the rule holds of the person. `segments` are the rules of those that it refers to."""
    return explain(rule, lambda leaf: leaf_holds(leaf, person, now=now), segments=segments or {}).holds


def explain(rule: Rule, leaf: Callable[[Leaf], bool], *, segments: Mapping[str, Rule]) -> Explanation:
    """Whether a rule holds, rule by rule, where `leaf` says it of those that look at the contact."""
    match rule:
        case AllOf():
            parts = tuple(explain(one, leaf, segments=segments) for one in rule.rules)
            return Explanation(rule=rule, holds=all(part.holds for part in parts), parts=parts)
        case AnyOf():
            parts = tuple(explain(one, leaf, segments=segments) for one in rule.rules)
            return Explanation(rule=rule, holds=any(part.holds for part in parts), parts=parts)
        case Not():
            part = explain(rule.rule, leaf, segments=segments)
            return Explanation(rule=rule, holds=not part.holds, parts=(part,))
        case SegmentRule():
            part = explain(segments[rule.key], leaf, segments=segments)
            return Explanation(rule=rule, holds=part.holds, parts=(part,))
        case _:
            return Explanation(rule=rule, holds=leaf(rule))


def leaf_holds(rule: Leaf, person: Person, *, now: datetime) -> bool:
    """Whether a rule that looks at the contact holds."""
    match rule:
        case AttributeRule():
            return holds(value_at(person.attributes, rule.name), rule.is_, now=now)
        case FieldRule():
            return holds(getattr(person, rule.name), rule.is_, now=now)
        case ConsentRule():
            return _consent(person, rule)
        case ListRule():
            return rule.key in person.lists
        case TopicRule():
            return person.topics.get(rule.key, "unknown") == rule.is_
        case EventRule():
            count = sum(_counts(event, rule, now) for event in person.events)
            return rule.least <= count and (rule.at_most is None or count <= rule.at_most)
        case MessageRule():
            return any(_is_meant(message, rule, now) for message in person.messages)
        case _:
            assert_never(rule)


def _consent(person: Person, rule: ConsentRule) -> bool:
    word = person.consent.get(rule.channel.value)
    match rule.is_:
        case "given":
            return word is True
        case "refused":
            return word is False
        case "unknown":
            return not isinstance(word, bool)
        case _:
            assert_never(rule.is_)


def _counts(event: Deed, rule: EventRule, now: datetime) -> bool:
    return (
        event.name == rule.name
        and (rule.within is None or now - rule.within <= event.occurred_at <= now)
        and all(holds(value_at(event.properties, one.property), one.is_, now=now) for one in rule.where)
    )


def _is_meant(message: PastMessage, rule: MessageRule, now: datetime) -> bool:
    at = message.outcome_at
    return (
        _happened(message, rule)
        and (rule.within is None or (at is not None and now - rule.within <= at <= now))
        and rule.template in (None, message.template)
        and rule.campaign in (None, message.campaign)
    )


_OPENED = frozenset({Delivery.OPENED, Delivery.CLICKED})


def _happened(message: PastMessage, rule: MessageRule) -> bool:
    match rule.event:
        case "sent":
            return message.outcome in (Outcome.SENT, Outcome.MAYBE_SENT)
        case "delivered":
            return message.delivery is Delivery.DELIVERED or message.delivery in _OPENED
        case "opened":
            return message.delivery in _OPENED
        case "clicked":
            return message.delivery is Delivery.CLICKED
        case "bounced":
            return message.bounced
        case _:
            assert_never(rule.event)
